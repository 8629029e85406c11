//! Logging in and out.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, RETRY_AFTER, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::SharedApp;
use super::json::parsed;
use super::refusal::Refusal;
use super::way::Way;
use super::who::{self, By, Person};
use crate::collector::auth::sessions;
use crate::collector::digest::Digest;
use crate::collector::now::now_ms;
use crate::collector::password::PasswordHash;
use crate::collector::settings::access::Role;

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

#[derive(Deserialize)]
struct Entry {
    code: String,
}

/// `POST /api/login`: a name and a password for a session.
pub async fn login(
    State(app): SharedApp,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Login { user, password } = parsed(
        &app,
        &headers,
        body,
        "{\"user\": \"…\", \"password\": \"…\"}",
    )
    .await?;
    let rules = app.rules();
    if rules.access.users.is_empty() {
        let sentence = "there are no users; `mote passwd NAME` makes one";
        return Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
    }
    if let Err(wait) = app.attempts.begin(way.client, Instant::now()) {
        let seconds = wait.as_millis().div_ceil(1000);
        let sentence = format!("too many wrong passwords; try again in {seconds} s");
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, sentence);
        return Err(refusal.with(RETRY_AFTER, HeaderValue::from(seconds as u64)));
    }
    let known = rules.access.users.get(&user);
    let hash = known.and_then(|it| it.password.clone());
    let proof = hash.as_ref().map(PasswordHash::digest);
    let is_right = app.hashing.is_right(hash, password).await?;
    let (true, Some(known), Some(proof)) = (is_right, known, proof) else {
        let sentence = "the name or the password is wrong";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, sentence));
    };
    app.attempts.right(way.client);
    let token = app.sessions.open(Some(&user), proof, now_ms()).await?;
    log::info!("{user:?} has logged in from {}", way.client);
    let (user, role, by) = (Some(user), known.role, By::Session);
    Ok(opened(&token, &way, Person { user, role, by }))
}

/// `POST /api/enter`: the code in the link of the start for a session.
pub async fn enter(
    State(app): SharedApp,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Entry { code } = parsed(&app, &headers, body, "{\"code\": \"…\"}").await?;
    if !app.rules().access.users.is_empty() || !app.link.take(&code) {
        app.guesses.slow_down(way.client).await;
        let sentence = "the link was used, or is too old, or there are users meanwhile; restart the collector for a new one, \
                        or log in";
        return Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
    }
    let token = app
        .sessions
        .open(None, Digest::of(b"link"), now_ms())
        .await?;
    log::info!("the link of the start was used from {}", way.client);
    let (user, role, by) = (None, Role::Admin, By::Link);
    Ok(opened(&token, &way, Person { user, role, by }))
}

/// `POST /api/logout`: ends the session, if there is one.
pub async fn logout(
    State(app): SharedApp,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.sessions.close(&headers).await?;
    let cookie = sessions::no_cookie(way.is_secure);
    Ok(with_cookie(&cookie, json!({"status": "ok"})))
}

/// `GET /api/me`: who asks, and if that is nobody, how to become somebody.
pub async fn me(
    State(app): SharedApp,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let rules = app.rules();
    let log_in = rules.access.users.values().any(|it| it.password.is_some());
    let told = match who::person(&app, &rules, &headers, &way).await {
        Ok(person) => json!({ "log_in": log_in, "me": person }),
        Err(refusal) if refusal.status.is_client_error() => {
            json!({ "log_in": log_in, "why": refusal.sentence })
        }
        Err(refusal) => return Err(refusal),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(told)).into_response())
}

fn opened(token: &str, way: &Way, person: Person) -> Response {
    with_cookie(
        &sessions::cookie(token, way.is_secure),
        json!({ "me": person }),
    )
}

fn with_cookie(cookie: &str, told: Value) -> Response {
    let headers = [(SET_COOKIE, cookie), (CACHE_CONTROL, "no-store")];
    (headers, Json(told)).into_response()
}
