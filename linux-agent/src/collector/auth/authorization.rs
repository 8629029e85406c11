//! The header `Authorization` of a request: a bearer token (RFC 6750) or, from a browser, a password (RFC 7617).

use axum::http::header::{AUTHORIZATION, HeaderMap};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::collector::digest::Digest;
use crate::system::secret;

/// What a request shows.
#[derive(Debug)]
pub enum Presented {
    /// No such header.
    Nothing,
    /// A text that can be a token.
    Token(Digest),
    /// Something else. It counts as a wrong token.
    Other,
}

impl Presented {
    /// A bearer token: what agents have.
    pub fn by_agent(headers: &HeaderMap) -> Presented {
        Presented::with(headers, |scheme, rest| {
            is(scheme, "Bearer").then(|| rest.to_vec())
        })
    }

    /// A bearer token, or a password with any user name: what people have.
    pub fn by_reader(headers: &HeaderMap) -> Presented {
        Presented::with(headers, |scheme, rest| {
            if is(scheme, "Basic") {
                let mut pair = BASE64_STANDARD.decode(rest).ok()?;
                let colon = pair.iter().position(|byte| *byte == b':')?;
                Some(pair.split_off(colon + 1))
            } else {
                is(scheme, "Bearer").then(|| rest.to_vec())
            }
        })
    }

    fn with(headers: &HeaderMap, token: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>) -> Presented {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Presented::Nothing,
            (Some(value), None) => value.as_bytes(),
            // With two headers it is not clear which is meant.
            _ => return Presented::Other,
        };
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let scheme = parts.next().unwrap_or_default();
        let rest = parts.next().unwrap_or_default().trim_ascii();
        match token(scheme, rest).filter(|token| secret::is_token(token)) {
            Some(token) => Presented::Token(Digest::of(&token)),
            None => Presented::Other,
        }
    }
}

fn is(scheme: &[u8], name: &str) -> bool {
    scheme.eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const TOKEN: &str = "sixteen-letters!";

    fn is_token(presented: &Presented) -> bool {
        matches!(presented, Presented::Token(digest) if digest.matches(&Digest::of(TOKEN.as_bytes())))
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case() {
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let headers = headers(&[&format!("{scheme} {TOKEN}")]);
            assert!(is_token(&Presented::by_agent(&headers)), "{scheme}");
            assert!(is_token(&Presented::by_reader(&headers)), "{scheme}");
        }
        assert!(matches!(
            Presented::by_agent(&headers(&[])),
            Presented::Nothing
        ));
    }

    #[test]
    fn a_password_is_for_people() {
        // From the coreutils: printf ada:sixteen-letters! | base64
        let basic = headers(&["Basic YWRhOnNpeHRlZW4tbGV0dGVycyE="]);
        assert!(is_token(&Presented::by_reader(&basic)));
        assert!(matches!(Presented::by_agent(&basic), Presented::Other));
        for broken in [
            "Basic",
            "Basic =",
            "Basic YWRh",
            "Basic YWRhOnNpeHRlZW4tbGV0dGVycyE=x",
        ] {
            let presented = Presented::by_reader(&headers(&[broken]));
            assert!(matches!(presented, Presented::Other), "{broken}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        let bearer = format!("Bearer {TOKEN}");
        for values in [
            &["Bearer"][..],
            &["Bearer short"],
            &["Bearer two words of text"],
            &["Digest sixteen-letters!"],
            &[TOKEN],
            &[""],
            &[&bearer, &bearer],
        ] {
            let presented = Presented::by_agent(&headers(values));
            assert!(matches!(presented, Presented::Other), "{values:?}");
        }
    }
}
