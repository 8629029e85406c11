//! `GET /api/client/config/{id}`: the services of a host.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::app::Shared;
use super::refusal::Refusal;
use crate::client_name::ClientName;

/// Answers with the services document.
pub async fn services(
    State(app): Shared,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let rules = app.rules();
    let Path(id) = id.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let id = ClientName::from_text(&id);
    let caller = rules.guard.caller(&headers).await;
    caller
        .and_then(|caller| caller.admit(&id))
        .map_err(|denied| Refusal::from(denied).of(&id))?;
    match rules.hosts.get(&id) {
        Some(host) => Ok(Json(host).into_response()),
        None => Err(Refusal::unknown_client(&id)),
    }
}
