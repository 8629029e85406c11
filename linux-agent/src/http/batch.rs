//! Several reports in one request.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, header};

use crate::http::client::{Client, MAX_ANSWER};
use crate::http::document::encoding;
use crate::http::error::{CallError, CallFault};
use crate::http::outcome::{self, Outcome};
use crate::http::words;
use crate::settings::Encoding;

/// After an answer that means nothing the server gets single reports for this long.
pub const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// A larger buffer is given back to the system.
const MAX_KEPT_BYTES: usize = 16 << 10;

/// What became of a report, and why. `None`: that is not known.
pub type End = Option<(Outcome, Option<CallError>)>;

/// What the server said to a request with several reports.
#[derive(Debug)]
pub enum Together {
    /// What became of each, in their order; `None` is not known.
    Answered(Vec<End>),
    /// The server was not reached. Why, until it is taken.
    Unreachable(Option<CallError>),
    /// Nothing that says what became of any.
    Nothing,
}

#[derive(Deserialize)]
struct Answer {
    reports: usize,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    line: usize,
    status: u16,
    error: String,
    #[serde(default)]
    unknown_client: bool,
}

impl Client {
    /// Whether several reports may go in one request: the server offers it, and takes reports as they are.
    pub fn takes_many(&self) -> bool {
        let is_plain = self.session.server.report_encoding == Encoding::Json;
        is_plain
            && self.session.server.field_names.are_usual()
            && self.batches.is_offered.load(Ordering::Relaxed)
            && (self.batches.state().again_at).is_none_or(|at| at <= Instant::now())
    }

    /// Delivers several encoded reports.
    pub fn post_reports<'r>(&self, reports: impl Iterator<Item = &'r [u8]>) -> Together {
        let mut state = self.batches.state();
        let mut body = std::mem::take(&mut state.body);
        drop(state);
        body.clear();
        let mut count = 0;
        for report in reports {
            body.extend_from_slice(report);
            body.push(b'\n');
            count += 1;
        }
        let headers = [(header::CONTENT_TYPE.as_str(), "application/x-ndjson")];
        let wait = self.session.server.request_timeout;
        let response = self
            .session
            .call(Method::POST, &self.batches.url, &headers, &body, wait);
        if body.capacity() <= MAX_KEPT_BYTES {
            self.batches.state().body = body;
        }
        let mut response = match response {
            Ok(response) => response,
            Err(error) if error.outcome() == Outcome::Unreachable => {
                return Together::Unreachable(Some(error));
            }
            Err(_) => return Together::Nothing,
        };
        let status = response.status();
        if status == StatusCode::OK
            && let Some(fates) = self.read_fates(&mut response, count)
        {
            return Together::Answered(fates);
        }
        let is_of_all = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || status.is_client_error() && outcome::of_status(status, false).is_none();
        if !is_of_all {
            self.batches.state().again_at = Some(Instant::now() + AGAIN_AFTER);
            log::warn!(
                "{} does not take several reports in one request, though the server offers it (status {status}); it \
                 gets single ones",
                self.batches.url
            );
        }
        Together::Nothing
    }

    /// `None` unless the answer tells of each report.
    fn read_fates(&self, response: &mut Response<Body>, count: usize) -> Option<Vec<End>> {
        let answer = read(response)?;
        let mut exceptions = BTreeMap::new();
        for exception in answer.exceptions {
            let line = exception.line;
            let is_new = exceptions.insert(line, exception).is_none();
            if !is_new || !(1..=count).contains(&line) {
                return None;
            }
        }
        if answer.reports != count {
            return None;
        }
        let takes_any = exceptions.len() < count;
        let fate = |line| match exceptions.get(&line) {
            None => Some((Outcome::Acknowledged, None)),
            Some(exception) if takes_any => self.refused_line(exception),
            // The fault may be the server's.
            Some(_) => None,
        };
        Some((1..=count).map(fate).collect())
    }

    /// Only a refusal is the end of a report; whatever else it is, its own request has to show.
    fn refused_line(&self, exception: &Exception) -> End {
        let status = StatusCode::from_u16(exception.status).ok()?;
        outcome::judges_one(status, exception.unknown_client).then(|| {
            let words = words::of(exception.error.as_bytes());
            let error = CallFault::Status(status, None).of(&self.batches.url);
            (
                Outcome::Refused,
                Some(self.session.explained(error, None, words)),
            )
        })
    }
}

fn read(response: &mut Response<Body>) -> Option<Answer> {
    if encoding(response.headers()).is_some() {
        return None;
    }
    let mut answer = Vec::new();
    let mut body = response.body_mut().as_reader().take(MAX_ANSWER);
    body.read_to_end(&mut answer).ok()?;
    serde_json::from_slice(&answer).ok()
}
