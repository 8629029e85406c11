//! `GET` and `POST /api/invitations`: codes for hosts that no file of the settings names.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderMap};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::SharedApp;
use super::json::parsed;
use super::reader::Admin;
use super::refusal::Refusal;
use super::way::Way;
use crate::collector::now::now_ms;
use crate::collector::store::Unavailable;
use crate::collector::store::invitation::{self, Invited};

/// A code of the page is good for this many hosts at most.
pub const MAX_TIMES: u32 = 10_000;

/// And for so long at most, in seconds.
const MAX_VALID_S: u32 = 2_592_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    group: Option<String>,
    times: Option<u32>,
    valid_for_s: Option<u32>,
}

/// Which groups there are to choose from.
pub async fn groups(Admin { rules, .. }: Admin) -> Json<Value> {
    let groups: Vec<&String> = rules.groups.keys().collect();
    Json(json!({ "groups": groups, "enroll_into": rules.enroll_into }))
}

/// Answers with a new code, which is shown only once.
pub async fn invite(
    State(app): SharedApp,
    Admin { rules, .. }: Admin,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let wanted: Wanted = parsed(&app, &headers, body, "{\"group\": \"…\", \"times\": 1}").await?;
    let Some(group) = wanted.group.or_else(|| rules.enroll_into.clone()) else {
        let sentence = "for which group? The settings name none as enroll_into";
        return Err(Refusal::bad(sentence));
    };
    if !rules.groups.contains_key(&group) {
        let sentence = format!("there is no group {group:?} in the settings");
        return Err(Refusal::new(StatusCode::NOT_FOUND, sentence));
    }
    let times = wanted.times.unwrap_or(1);
    let valid_for_s = wanted.valid_for_s.unwrap_or(3600);
    if !(1..=MAX_TIMES).contains(&times) || !(1..=MAX_VALID_S).contains(&valid_for_s) {
        let sentence =
            format!("times is within 1 to {MAX_TIMES}, valid_for_s within 1 to {MAX_VALID_S}");
        return Err(Refusal::bad(sentence));
    }
    let (code, digest) = invitation::new_code().map_err(|_| Unavailable)?;
    let now_ms = now_ms();
    let expires_ms = invitation::expiry(now_ms, Duration::from_secs(valid_for_s.into()));
    let invited = Invited::Fleet {
        group: group.clone(),
        times,
    };
    let change = app.store.change(move |connection| {
        invitation::open_code(connection, &invited, &digest, now_ms, expires_ms)
    });
    change.await?;
    let expires = expires_ms as f64 / 1000.0;
    let mut told = json!({ "code": code, "group": group, "times": times, "expires": expires });
    // Hosts that come through a proxy meet its certificate.
    if let Some(certificate) = rules.certificate.as_deref().filter(|_| !way.is_by_proxy) {
        told["certificate"] = certificate.into();
    }
    Ok(([(CACHE_CONTROL, "no-store")], Json(told)).into_response())
}
