//! `GET /api/alarms`: what is wrong, what was, and who heard of it. `POST /api/silences` and its end.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::app::{Rules, SharedApp};
use super::json::parsed;
use super::parameters::{client_of, given, in_path, only};
use super::reader::{Admin, Reader, UrlQuery};
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::alarms::alarm::AlarmRow;
use crate::collector::alarms::duty::OpenAlarm;
use crate::collector::alarms::machine::Phase;
use crate::collector::alarms::outbox::{MessageFate, OutboxEntry};
use crate::collector::alarms::records;
use crate::collector::alarms::silences::{MAX_SILENCES, Silence};
use crate::collector::now::now_ms;
use crate::protocol::is_text;

/// At most this many alarms that are over in an answer.
pub const MAX_HISTORY: u32 = 1000;

const DEFAULT_HISTORY: u32 = 100;

/// At most this many messages in an answer, the newest.
const MAX_MESSAGES: u32 = 2000;

/// A silence may last so long, in seconds: a year.
pub const MAX_SILENCE_S: f64 = 31_536_000.0;

/// The longest reason of a silence, in bytes.
pub const MAX_REASON: usize = 500;

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Serialize)]
pub struct Answer {
    now: f64,
    /// Those that fire or flap, the worst first.
    active: Vec<AlarmState>,
    /// Those that are bad, but not for long enough.
    pending: Vec<AlarmState>,
    /// Those that are over, the newest first.
    history: Vec<AlarmState>,
    /// Where the history goes on, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
    silences: Vec<SilenceState>,
    /// Who hears of alarms.
    notify: Vec<String>,
}

#[derive(Serialize)]
struct AlarmState {
    id: i64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientName>,
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    item: String,
    severity: &'static str,
    state: &'static str,
    since: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence: Option<SilenceState>,
    sent: Vec<Sent>,
}

#[derive(Serialize)]
struct SilenceState {
    id: i64,
    client_id: ClientName,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<String>,
    since: f64,
    until: f64,
    reason: String,
    by: String,
}

/// A message about an alarm, and what became of it.
#[derive(Clone, Serialize)]
struct Sent {
    to: String,
    at: f64,
    kind: String,
    title: String,
    state: &'static str,
    tries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrived: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers with the alarms of all hosts, or of one.
pub async fn alarms(
    State(app): SharedApp,
    Reader { rules }: Reader,
    UrlQuery(query): UrlQuery<Parameters>,
) -> Result<Json<Answer>, Refusal> {
    let only = only(query.client_id);
    let before = given("before", query.before.as_deref())?.unwrap_or(i64::MAX);
    let limit = given("limit", query.limit.as_deref())?.unwrap_or(DEFAULT_HISTORY);
    if !(1..=MAX_HISTORY).contains(&limit) {
        return Err(Refusal::bad(format!(
            "limit is not within 1 to {MAX_HISTORY}"
        )));
    }
    let is_wanted = |client: Option<&ClientName>| only.is_none() || client == only.as_ref();
    let mut open = app.alarms.open();
    open.retain(|it| is_wanted(it.row.client.as_ref()));
    open.sort_by_key(|it| {
        (
            std::cmp::Reverse(it.row.severity),
            it.row.began_ms,
            it.row.id,
        )
    });
    let ids: Vec<i64> = open.iter().map(|it| it.row.id).collect();
    let (client, of_open) = (only.clone(), ids.clone());
    let (history, messages) = app
        .store
        .look_up(move |connection| {
            let history = records::read_history(connection, client.as_ref(), before, limit)?;
            let ids: Vec<i64> = history.iter().map(|it| it.id).chain(of_open).collect();
            let messages = records::read_messages(connection, &ids, MAX_MESSAGES)?;
            Ok((history, messages))
        })
        .await?;
    // What waits for a database that takes nothing is newer than what it has.
    let ids: Vec<i64> = history.iter().map(|it| it.id).chain(ids).collect();
    let waiting = app.alarms.unwritten_messages(&ids);
    let messages = messages.into_iter().chain(waiting);
    let messages: BTreeMap<i64, OutboxEntry> = messages.map(|it| (it.id, it)).collect();
    let mut sent: BTreeMap<i64, Vec<Sent>> = BTreeMap::new();
    for entry in messages.into_values().rev() {
        let one = Sent::of(&entry);
        for id in &entry.letter.ids {
            sent.entry(*id).or_default().push(one.clone());
        }
    }
    let next = history
        .last()
        .map(|it| it.id)
        .filter(|_| history.len() == limit as usize);
    let history = history.into_iter().map(|row| {
        let state = AlarmState::of(&rules, row, "cleared");
        AlarmState {
            sent: sent.get(&state.id).cloned().unwrap_or_default(),
            ..state
        }
    });
    let history = history.collect();
    let (mut active, mut pending) = (Vec::new(), Vec::new());
    for OpenAlarm {
        row,
        phase,
        is_flapping,
        cause,
        silence,
    } in open
    {
        let word = match (is_flapping, phase) {
            (true, _) => "flapping",
            (false, Phase::Firing) => "firing",
            (false, _) => "pending",
        };
        let state = AlarmState::of(&rules, row, word);
        let state = AlarmState {
            cause,
            silence: silence.map(|it| SilenceState::of(&rules, it)),
            sent: sent.get(&state.id).cloned().unwrap_or_default(),
            ..state
        };
        match word {
            "pending" => pending.push(state),
            _ => active.push(state),
        }
    }
    let silences = app.alarms.silences().into_iter();
    Ok(Json(Answer {
        now: seconds(now_ms()),
        active,
        pending,
        history,
        next,
        silences: silences
            .filter(|it| is_wanted(Some(&it.client)))
            .map(|it| SilenceState::of(&rules, it))
            .collect(),
        notify: app.alarms.targets(),
    }))
}

/// What a silence is asked for with, such as [`WISH`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    client_id: ClientName,
    alarm: Option<String>,
    for_s: f64,
    reason: String,
}

const WISH: &str = r#"{"client_id": 1, "for_s": 7200, "reason": "…"}"#;

/// Silences a host. It is told by the name of its table too.
pub async fn silence(
    State(app): SharedApp,
    Admin { person, rules }: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<impl Serialize>, Refusal> {
    let wish: Wish = parsed(&app, &headers, body, WISH).await?;
    let client = client_of(&rules, &wish.client_id.to_string());
    let Some(host) = rules.hosts.get(&client) else {
        return Err(Refusal::unknown_client(&client));
    };
    if !(1.0..=MAX_SILENCE_S).contains(&wish.for_s) {
        return Err(Refusal::bad(format!(
            "for_s is not within 1 to {MAX_SILENCE_S}"
        )));
    }
    if wish.reason.is_empty() || !is_text(&wish.reason, MAX_REASON) {
        return Err(Refusal::bad(format!(
            "reason is not text of 1 to {MAX_REASON} bytes without control characters"
        )));
    }
    let length = Duration::from_secs_f64(wish.for_s);
    let alarm = wish.alarm.filter(|it| !it.is_empty());
    if let Some(alarm) = &alarm
        && !host.alarm_names().any(|it| it == alarm)
    {
        let names: Vec<&str> = host.alarm_names().collect();
        let sentence = format!(
            "{} has no alarm {alarm:?}; it has {}",
            host.label,
            names.join(", ")
        );
        return Err(Refusal::new(StatusCode::NOT_FOUND, sentence));
    }
    let silenced = app
        .alarms
        .silence(client, alarm, length, (wish.reason, person.name()))
        .await?;
    match silenced {
        Some(silence) => Ok(Json(SilenceState::of(&rules, silence))),
        None => Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("there are {MAX_SILENCES} silences already; end some of them"),
        )),
    }
}

/// Ends a silence.
pub async fn end_silence(
    State(app): SharedApp,
    Admin { person, rules }: Admin,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<impl Serialize>, Refusal> {
    let id = in_path(id)?;
    let Ok(id) = id.parse::<i64>() else {
        let sentence =
            format!("{id:?} is not the number of a silence; `GET /api/alarms` lists them");
        return Err(Refusal::bad(sentence));
    };
    match app.alarms.end_silence(id, person.name()).await? {
        Some(silence) => Ok(Json(SilenceState::of(&rules, silence))),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no silence {id} that is in force"),
        )),
    }
}

impl AlarmState {
    fn of(rules: &Rules, row: AlarmRow, state: &'static str) -> AlarmState {
        AlarmState {
            id: row.id,
            host: label(rules, row.client.as_ref()),
            name: row.name,
            client_id: row.client,
            item: row.item,
            severity: row.severity.name(),
            state,
            since: seconds(row.began_ms),
            fired: row.fired_ms.map(seconds),
            ended: row.ended_ms.map(seconds),
            value: row.value,
            limit: row.level,
            text: row.text,
            cause: None,
            silence: None,
            sent: Vec::new(),
        }
    }
}

impl SilenceState {
    fn of(rules: &Rules, silence: Silence) -> SilenceState {
        SilenceState {
            id: silence.id,
            host: label(rules, Some(&silence.client)),
            client_id: silence.client,
            alarm: silence.alarm,
            since: seconds(silence.since_ms),
            until: seconds(silence.until_ms),
            reason: silence.reason,
            by: silence.by,
        }
    }
}

impl Sent {
    fn of(entry: &OutboxEntry) -> Sent {
        let (state, arrived) = match entry.fate {
            MessageFate::Waiting => ("waiting", None),
            MessageFate::Arrived(at_ms) => ("arrived", Some(seconds(at_ms))),
            MessageFate::GivenUp(_) => ("given up", None),
        };
        Sent {
            to: entry.target.clone(),
            at: seconds(entry.at_ms),
            kind: entry.letter.kind.clone(),
            title: entry.letter.title.clone(),
            state,
            tries: entry.tries,
            arrived,
            error: entry.error.clone(),
        }
    }
}

fn label(rules: &Rules, client: Option<&ClientName>) -> String {
    match client {
        None => "collector".to_owned(),
        Some(client) => match rules.hosts.get(client) {
            Some(host) => host.label.clone(),
            None => client.to_string(),
        },
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
