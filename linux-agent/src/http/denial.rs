//! Whether a refusal is about this client's token: not every 403 is.

use ureq::http::{HeaderMap, StatusCode, header};

/// What a refusal is about, as far as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The token that the request had, or one that it should have.
    Token,
    /// The server takes the request for one that a web page forged.
    Forgery,
    /// The path, the address, something in between: who knows.
    Unknown,
}

/// Words of servers about tokens, in small letters.
const OF_TOKENS: [&str; 4] = ["token", "bearer", "credential", "authenticat"];

/// What a refusal with this beginning of a body is about. `has_token`: the request had one.
pub fn about(status: StatusCode, headers: &HeaderMap, body: &[u8], has_token: bool) -> About {
    let said = String::from_utf8_lossy(body).to_ascii_lowercase();
    let is_of_tokens = || OF_TOKENS.iter().any(|it| said.contains(it));
    match status {
        StatusCode::UNAUTHORIZED => About::Token,
        StatusCode::FORBIDDEN if said.contains("csrf") => About::Forgery,
        StatusCode::FORBIDDEN
            if has_token || headers.contains_key(header::WWW_AUTHENTICATE) || is_of_tokens() =>
        {
            About::Token
        }
        _ => About::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_a_token_is_about_it() {
        let django =
            "<title>403 Forbidden</title><p>CSRF verification failed. Request aborted.</p>";
        let framework = r#"{"detail":"CSRF Failed: CSRF token missing."}"#;
        let nginx = "<html><head><title>403 Forbidden</title></head></html>";
        for (status, challenge, body, without, with) in [
            (401, "", "", About::Token, About::Token),
            (403, "", "", About::Unknown, About::Token),
            (403, "", nginx, About::Unknown, About::Token),
            (403, "", django, About::Forgery, About::Forgery),
            (403, "", framework, About::Forgery, About::Forgery),
            (403, "Bearer", "", About::Token, About::Token),
            (403, "", "Invalid Token", About::Token, About::Token),
            (
                403,
                "",
                r#"{"detail":"Authentication credentials were not provided."}"#,
                About::Token,
                About::Token,
            ),
            (404, "Bearer", "token", About::Unknown, About::Unknown),
            (407, "Basic", "token", About::Unknown, About::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            if !challenge.is_empty() {
                headers.insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let found = |has_token| about(status, &headers, body.as_bytes(), has_token);
            assert_eq!(
                (found(false), found(true)),
                (without, with),
                "{status} {body}"
            );
        }
    }
}
