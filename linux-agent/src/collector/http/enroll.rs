//! `POST /api/enroll`: a one-time code for a token.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Refusal, Shared};
use crate::collector::auth::digest::{self, Digest};
use crate::collector::report;
use crate::collector::store::Unavailable;
use crate::collector::store::invitation;

/// Largest body of an enrolment, in bytes.
pub const MAX_BODY_BYTES: usize = 4 << 10;

/// So many wrong codes are looked at in a [`WINDOW`], whoever they come from.
pub const MAX_WRONG: u32 = 10;

/// Over how long wrong codes are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Counts wrong codes. One count for all: one for each address would be memory for whoever has many
/// addresses to spend.
#[derive(Default)]
pub struct Guesses(Mutex<Option<Window>>);

struct Window {
    began: Instant,
    wrong: u32,
}

impl Guesses {
    /// Counts a code as wrong before it is looked at, so that many at the same instant are counted
    /// too. If it may not be looked at now, the error says when the next may be.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut window = self.lock();
        match &mut *window {
            Some(Window { began, wrong }) if now.duration_since(*began) < WINDOW => {
                if *wrong >= MAX_WRONG {
                    return Err(WINDOW.saturating_sub(now.duration_since(*began)));
                }
                *wrong += 1;
            }
            _ => {
                *window = Some(Window {
                    began: now,
                    wrong: 1,
                })
            }
        }
        Ok(())
    }

    /// That code was not wrong.
    pub fn give_back(&self) {
        if let Some(window) = &mut *self.lock() {
            window.wrong = window.wrong.saturating_sub(1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Window>> {
        // Nothing that holds it can panic, and a count is right whatever happened.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Request {
    code: String,
}

/// Answers with the host's id and its new token, which nobody sees again.
pub async fn enroll(
    State(app): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let held = app.room.read(&headers, body, MAX_BODY_BYTES).await?;
    // The parser's own words might quote the code.
    let request = Some(&held.bytes).filter(|it| report::is_object(it));
    let request = request.and_then(|it| serde_json::from_slice(it).ok());
    let Request { code } = request.ok_or_else(|| {
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
    let redeemed = app.store.redeem(code, Digest::of(token.as_bytes())).await;
    if !matches!(redeemed, Ok(None)) {
        app.guesses.give_back();
    }
    // A host that the settings do not have any more stays out.
    let client = redeemed?
        .filter(|client| app.hosts.contains_key(client))
        .ok_or_else(refused)?;
    app.guard.renew().await;
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
    fn after_ten_wrong_codes_the_next_waits_for_the_minute() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for s in 0..10 {
            guesses.take(at(s)).unwrap();
        }
        assert_eq!(guesses.take(at(20)), Err(Duration::from_secs(40)));
        guesses.give_back();
        assert_eq!(guesses.take(at(59)), Ok(()));
        assert_eq!(guesses.take(at(59)), Err(Duration::from_secs(1)));
        assert_eq!(guesses.take(at(60)), Ok(()));
        // The minute begins anew with the first code after it.
        for _ in 1..10 {
            guesses.take(at(119)).unwrap();
        }
        assert_eq!(guesses.take(at(119)), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_new_token_is_a_token() {
        let token = new_token().unwrap();
        assert!(
            token.len() == 64 && digest::is_token(token.as_bytes()),
            "{token}"
        );
        assert_ne!(token, new_token().unwrap());
    }
}
