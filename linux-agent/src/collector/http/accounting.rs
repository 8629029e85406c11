//! `GET /api/accounting`: what has become of the reports of each host.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::app::SharedApp;
use super::parameters::only;
use super::reader::{Reader, UrlQuery};
use super::refusal::Refusal;
use crate::collector::alarms::losses;
use crate::collector::now::now_ms;
use crate::collector::store::runs::ClientRuns;
use crate::collector::watch::Twin;

/// The accounts of the clients that were asked for.
#[derive(Serialize)]
pub struct Answer {
    /// In the order of the settings.
    clients: Vec<ClientAccount>,
}

#[derive(Serialize)]
struct ClientAccount {
    #[serde(flatten)]
    runs: ClientRuns,
    /// The two agents that report with this id, if there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    twins: Option<[Twin; 2]>,
    /// The last alarm about lost reports, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Lost>,
}

/// Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Serialize)]
struct Lost {
    since: f64,
    /// Not before it is an hour since the last loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<f64>,
}

impl Lost {
    fn of(&(since_ms, until_ms): &(i64, Option<i64>)) -> Lost {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        Lost {
            since: seconds(since_ms),
            until: until_ms.map(seconds),
        }
    }
}

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
}

/// Answers with the accounts of all hosts of the settings, or of one client, which may be gone from the settings.
pub async fn accounting(
    State(app): SharedApp,
    Reader { rules }: Reader,
    UrlQuery(query): UrlQuery<Parameters>,
) -> Result<Json<Answer>, Refusal> {
    let clients = match only(query.client_id) {
        Some(client) => vec![client],
        None => rules.hosts.keys().cloned().collect(),
    };
    let accounting = app.store.accounting(clients).await?;
    let lost = app.store.look_up(losses::read_last).await?;
    let now_ms = now_ms();
    let is_known = |it: &ClientRuns| {
        !it.runs.is_empty() || it.unnumbered > 0 || rules.hosts.contains_key(&it.client_id)
    };
    let clients = accounting
        .into_iter()
        .filter(is_known)
        .map(|runs| ClientAccount {
            twins: app.watch.twins(&runs.client_id, now_ms),
            lost: lost.get(&runs.client_id).map(Lost::of),
            runs,
        });
    Ok(Json(Answer {
        clients: clients.collect(),
    }))
}
