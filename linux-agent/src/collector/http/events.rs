//! `GET /api/events`: what happened, to hosts and to the collector.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::app::SharedApp;
use super::parameters::{client_of, given, instant};
use super::reader::{Reader, UrlQuery};
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::alarms::records::{self, Kept, WantedEvents};
use crate::collector::now::now_ms;

/// At most this many events in an answer.
pub const MAX_EVENTS: u32 = 1000;

const DEFAULT_EVENTS: u32 = 200;

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Serialize)]
pub struct Answer {
    now: f64,
    /// The newest first.
    events: Vec<EventState>,
    /// Where they go on, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[derive(Serialize)]
struct EventState {
    id: i64,
    at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientName>,
    host: String,
    kind: String,
    text: String,
}

/// Answers with the events of a time; of one host those of the collector come with its own.
pub async fn events(
    State(app): SharedApp,
    Reader { rules }: Reader,
    UrlQuery(query): UrlQuery<Parameters>,
) -> Result<Json<Answer>, Refusal> {
    let limit = given("limit", query.limit.as_deref())?.unwrap_or(DEFAULT_EVENTS);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(Refusal::bad(format!(
            "limit is not within 1 to {MAX_EVENTS}"
        )));
    }
    let client = query.client_id.filter(|id| !id.is_empty());
    let wanted = WantedEvents {
        client: client.map(|name| client_of(&rules, &name)),
        from_ms: instant("from", query.from.as_deref())?.unwrap_or(0),
        to_ms: instant("to", query.to.as_deref())?.unwrap_or(i64::MAX),
        before: given("before", query.before.as_deref())?.unwrap_or(i64::MAX),
        limit,
    };
    let read = app
        .store
        .look_up(move |connection| records::read_events(connection, &wanted));
    let events = read.await?;
    let next = events
        .last()
        .map(|it| it.id)
        .filter(|_| events.len() == limit as usize);
    let event = |it: Kept| EventState {
        id: it.id,
        at: it.at_ms as f64 / 1000.0,
        host: match &it.client {
            None => "collector".to_owned(),
            Some(client) => match rules.hosts.get(client) {
                Some(host) => host.label.clone(),
                None => client.to_string(),
            },
        },
        client_id: it.client,
        kind: it.kind,
        text: it.text,
    };
    Ok(Json(Answer {
        now: now_ms() as f64 / 1000.0,
        events: events.into_iter().map(event).collect(),
        next,
    }))
}
