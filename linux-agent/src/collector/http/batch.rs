//! `POST /api/client/service/reports`: many reports in one request, a line each.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;

use super::app::{Peer, SharedApp};
use super::refusal::{Refusal, Refusals, Refused};
use super::reports::{MAX_BODY_BYTES, admit, caller};
use crate::collector::now::now_ms;
use crate::collector::report::{Report, is_object};
use crate::collector::store::{Arrived, StoreOutcome, Unavailable};
use crate::protocol::{MAX_BATCH_BYTES, MAX_BATCH_REPORTS};

/// What a report takes in memory while it waits for the database, beside the bytes of its line.
const REPORT_ROOM: usize = 1 << 10;

/// An exception says no more of its reason, in characters: a sender chooses some of its words.
pub const MAX_SENTENCE: usize = 200;

/// All lines but the exceptions are kept.
#[derive(Serialize)]
struct Answer {
    status: &'static str,
    /// How many lines there were, without empty ones.
    reports: usize,
    exceptions: Vec<Exception>,
}

/// What the single call would have answered to a line.
#[derive(Serialize)]
struct Exception {
    /// From 1.
    line: usize,
    status: u16,
    error: String,
    /// No host has the client's id: in place of the header of the single call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown_client: bool,
}

/// Keeps the reports, each on its own.
pub async fn receive_batch(
    State(app): SharedApp,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let rules = app.rules();
    let (caller, body) = caller(&app, &rules, &headers, body).await?;
    let room = &app.room;
    let mut held = room.read_packed(&headers, body, MAX_BATCH_BYTES).await?;
    let count = lines(&held.bytes).count();
    if count > MAX_BATCH_REPORTS {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {MAX_BATCH_REPORTS} lines"),
        ));
    }
    room.take(&mut held, count * REPORT_ROOM)?;
    let received_ms = now_ms();
    let (mut arrived, mut refused) = (Vec::with_capacity(count), Vec::new());
    let mut lines_of = Vec::with_capacity(count);
    let mut is_any_read = false;
    for (line, text) in lines(&held.bytes) {
        let admitted = read(text).and_then(|report| {
            is_any_read = true;
            admit(&app, &rules, &caller, &report, received_ms, peer)?;
            Ok(report)
        });
        match admitted {
            Ok(report) => {
                lines_of.push(line);
                arrived.push(Arrived {
                    report,
                    received_ms,
                });
            }
            Err(refusal) => refused.push((line, refusal)),
        }
    }
    if !is_any_read {
        let first = refused.into_iter().next().map(|(_, refusal)| refusal);
        return Err(
            first.unwrap_or_else(|| Refusal::bad("the body has no report; send one a line"))
        );
    }
    let outcomes = match arrived.is_empty() {
        true => Ok(Vec::new()),
        false => app.store.insert(arrived, held.room).await,
    };
    let mut outcomes = outcomes.unwrap_or_default().into_iter();
    for line in lines_of {
        if outcomes.next() != Some(StoreOutcome::Stored) {
            refused.push((line, Unavailable.into()));
        }
    }
    refused.sort_by_key(|(line, _)| *line);
    Ok(answer(count, refused))
}

/// The lines that are not empty, with their numbers.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let numbered = lines.enumerate().map(|(index, text)| (index + 1, text));
    numbered.filter(|(_, text)| !text.is_empty())
}

fn read(line: &[u8]) -> Result<Report, Refusal> {
    if line.len() > MAX_BODY_BYTES {
        let sentence = format!("the line has more than {MAX_BODY_BYTES} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    if !is_object(line) {
        return Err(Refusal::bad("the line is not a report as a JSON object"));
    }
    Report::parse(line).map_err(|invalid| Refusal::bad(invalid.to_string()))
}

fn answer(reports: usize, refused: Vec<(usize, Refusal)>) -> Response {
    let exception = |(line, refusal): &(usize, Refusal)| Exception {
        line: *line,
        status: refusal.status.as_u16(),
        error: refusal.sentence.chars().take(MAX_SENTENCE).collect(),
        unknown_client: refusal.is_unknown_client(),
    };
    let exceptions = refused.iter().map(exception).collect();
    let status = "ok";
    let mut response = Json(Answer {
        status,
        reports,
        exceptions,
    })
    .into_response();
    let refusals: Refusals = refused
        .into_iter()
        .map(|(_, refusal)| refusal.into_refused())
        .collect::<Vec<Refused>>()
        .into();
    response.extensions_mut().insert(refusals);
    response
}
