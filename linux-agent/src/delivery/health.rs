//! What is known of the server: whether it answers, takes reports, and what it said last.

use std::time::{Duration, Instant};

use super::untaken::{FailedReport, Untaken};
use crate::http::CallError;
use crate::http::outcome::Outcome;
use crate::system::clock;
use crate::system::fault::{Fault, SAY_AGAIN};

/// What `status` says about the server and the disk.
#[derive(Debug, Default)]
pub struct Health {
    /// When a call succeeded last, in Unix milliseconds.
    pub answered_unix_ms: Option<u64>,
    /// Whether a call was refused.
    pub refused: bool,
    /// How long its last answer to a report took.
    pub latency_ms: Option<u32>,
    /// Why the last report was not taken. `None`: it was.
    pub delivery: Fault,
    /// Why its last services document is not followed. `None`: it is.
    pub orders: Fault,
    /// Why a file with token or certificates is not used. What it held before still is.
    pub access: Option<String>,
    /// The server refused this client's token when it was asked for services last.
    pub orders_denied: bool,
    /// It refused it when it got a report last.
    pub reports_denied: bool,
    /// Services whose reports it does not take while it takes others.
    pub untaken: Untaken,
    /// Which report was given up last, and why.
    pub given_up: Option<LastGivenUp>,
}

/// A server that asks for longer is not waited for before it is said.
const LONG_RETRY: Duration = Duration::from_secs(30);

/// The last report that was given up.
#[derive(Debug)]
pub struct LastGivenUp {
    /// One sentence.
    pub sentence: String,
    /// When the log last named one.
    said: Instant,
}

impl Health {
    pub(super) fn note_delivery(
        &mut self,
        outcome: Outcome,
        error: Option<&CallError>,
        took: Duration,
    ) {
        self.reports_denied = error.is_some_and(CallError::is_denial);
        self.refused |= error.is_some_and(|it| it.status().is_some());
        match (outcome, error) {
            // A refusal is about one report, not about the others.
            (Outcome::Refused, _) => {}
            (Outcome::Acknowledged, _) | (_, None) => {
                self.delivery.worked("the server takes reports again");
                self.answered_unix_ms = Some(clock::unix_ms());
                self.latency_ms = u32::try_from(took.as_millis()).ok();
            }
            (_, Some(error)) => {
                self.delivery.failed(error.to_string(), Instant::now());
            }
        }
    }

    /// Notes what became of a report of the service with this key and name. Returns whether that is known of the service
    /// alone, and so says nothing of the server.
    pub(super) fn note_service(
        &mut self,
        key: u64,
        name: &str,
        outcome: Outcome,
        error: Option<&CallError>,
    ) -> bool {
        let now = Instant::now();
        match (outcome, error) {
            (Outcome::Acknowledged, _) | (_, None) => {
                self.untaken.took(key, now);
                false
            }
            // That is about all services.
            (Outcome::Unreachable, _) => false,
            (_, Some(error)) => {
                let is_put_off = matches!(
                    outcome,
                    Outcome::Busy { retry_after: Some(pause) } if pause > LONG_RETRY
                );
                let failure = FailedReport {
                    key,
                    name,
                    reason: error.to_string(),
                    is_denial: error.is_denial(),
                    is_put_off,
                };
                self.untaken.failed(failure, now);
                self.untaken.has(key, now)
            }
        }
    }

    /// Why a report failed that is given up because another one is taken.
    pub(super) fn why(&self) -> Option<String> {
        let reason = self.delivery.reason().or(self.untaken.last_reason());
        reason.map(str::to_owned)
    }

    /// The log names one report a minute. All are counted.
    pub(super) fn note_given_up(&mut self, service: &str, reason: &str) {
        let now = Instant::now();
        let sentence = format!("a report of {service:?} is given up: {reason}");
        let said = match &self.given_up {
            Some(before) if now.saturating_duration_since(before.said) < SAY_AGAIN => {
                log::debug!("{sentence}");
                before.said
            }
            _ => {
                log::warn!("{sentence}");
                now
            }
        };
        self.given_up = Some(LastGivenUp { sentence, said });
    }
}
