//! `GET /api/accounting`: what has become of the reports of each host.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;

use super::app::Shared;
use super::refusal::Refusal;
use crate::collector::settings::host::HostId;
use crate::collector::store::runs::Accounting;

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
}

/// Answers with the accounts of all hosts of the settings, or of one client, which need not be one
/// of them any more.
pub async fn accounting(
    State(app): Shared,
    headers: HeaderMap,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Accounting>, Refusal> {
    app.guard
        .admit_reader(&headers)
        .await
        .map_err(Refusal::reader)?;
    let Query(query) = query.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let clients = match query.client_id.filter(|id| !id.is_empty()) {
        Some(id) => vec![HostId::new(&id)],
        None => app.hosts.keys().cloned().collect(),
    };
    let mut accounting = app.store.accounting(clients).await?;
    accounting
        .clients
        .retain(|account| !account.runs.is_empty() || app.hosts.contains_key(&account.client_id));
    Ok(Json(accounting))
}
