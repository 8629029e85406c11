//! `GET /api/client/config/{id}`: the services of a host.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::app::Shared;
use super::refusal::Refusal;
use crate::collector::settings::host::HostId;

/// Answers with the services document.
pub async fn services(
    State(app): Shared,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let caller = app.guard.caller(&headers).await?;
    let Path(id) = id.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let id = HostId::new(&id);
    caller.admit(&id)?;
    match app.hosts.get(&id) {
        Some(host) => Ok(Json(host).into_response()),
        None => Err(Refusal::unknown_client(&id)),
    }
}
