//! `POST /api/enroll`: a one-time code for a token.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::app::Shared;
use super::refusal::Refusal;
use crate::collector::digest::{self, Digest};
use crate::collector::report;
use crate::collector::store::Unavailable;
use crate::collector::store::invitation::{self, Redeemed};

/// Largest body of an enrolment, in bytes.
pub const MAX_BODY_BYTES: usize = 4 << 10;

#[derive(Deserialize)]
struct Enrolment {
    code: String,
}

/// Answers with the host's id and its new token, which is shown only once.
pub async fn enroll(
    State(app): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let held = app.room.read(&headers, body, MAX_BODY_BYTES).await?;
    // The parser's own words might quote the code.
    let request = Some(&held.bytes).filter(|it| report::is_object(it));
    let request = request.and_then(|it| serde_json::from_slice(it).ok());
    let Enrolment { code } = request.ok_or_else(|| {
        Refusal::bad("the body is not an enrolment such as {\"code\": \"…\"} in JSON")
    })?;
    let token = new_token()?;
    app.guesses.take(Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs().saturating_add(1);
        let sentence = format!("too many wrong codes; try again in {seconds} s");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, sentence)
            .with(RETRY_AFTER, HeaderValue::from(seconds))
    })?;
    let refused = || {
        let sentence = "the code is unknown, used or expired; ask for a new one (mote invite)";
        Refusal::new(StatusCode::FORBIDDEN, sentence)
    };
    let code = invitation::digest_of(&code).ok_or_else(refused)?;
    let rules = app.rules();
    let digest = Digest::of(token.as_bytes());
    let hosts = Arc::clone(&rules.hosts);
    let redeemed = app.store.redeem(code, digest, hosts).await;
    if !matches!(redeemed, Ok(Redeemed::Nothing)) {
        app.guesses.give_back();
    }
    let client = match redeemed? {
        Redeemed::By(client) => client,
        Redeemed::NoHost(client) => {
            let sentence = format!(
                "the code is for the host with the id {:?}, which the collector's settings do not have; add it to them and \
                 use the code again",
                client.to_string()
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, sentence).of(&client));
        }
        Redeemed::Nothing => return Err(refused()),
    };
    rules.guard.renew().await;
    let answer = Json(json!({ "client_id": client, "token": token }));
    Ok(([(CACHE_CONTROL, "no-store")], answer).into_response())
}

/// 256 random bits in hexadecimal.
fn new_token() -> Result<String, Unavailable> {
    let bytes = digest::random::<32>().map_err(|_| Unavailable)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_a_token() {
        let token = new_token().unwrap();
        assert!(
            token.len() == 64 && crate::system::secret::is_token(token.as_bytes()),
            "{token}"
        );
        assert_ne!(token, new_token().unwrap());
    }
}
