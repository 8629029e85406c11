//! `GET /api/client/config/{id}`: the services of a host.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::app::SharedApp;
use super::parameters::in_path;
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::now::now_ms;
use crate::collector::tag;
use crate::protocol::BATCH;

/// Answers with the services document, or 304 to who has it.
pub async fn services(
    State(app): SharedApp,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let rules = app.rules();
    let id = ClientName::from_text(&in_path(id)?);
    let caller = rules.guard.caller(&headers).await;
    caller
        .and_then(|caller| caller.admit(&id))
        .map_err(|denied| Refusal::from(denied).of(&id))?;
    let Some(host) = rules.hosts.get(&id) else {
        return Err(Refusal::unknown_client(&id));
    };
    app.watch.note_orders(&id, now_ms());
    // Nothing in it can fail to be written.
    let document = serde_json::to_vec(host).unwrap_or_default();
    let tag = tag::of(&document);
    let always = [
        (ETAG, tag.clone()),
        (
            HeaderName::from_static(BATCH),
            HeaderValue::from_static("1"),
        ),
    ];
    if tag::is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, always).into_response());
    }
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((always, json, document).into_response())
}
