//! What is known of the server: whether it answers, takes reports, and what it said last.

use std::time::{Duration, Instant};

use crate::http::CallError;
use crate::http::outcome::Outcome;
use crate::system::clock;
use crate::system::fault::{Fault, SAY_AGAIN};

/// What `status` says about the server and the disk.
#[derive(Debug, Default)]
pub struct Health {
    /// When a call succeeded last, in Unix milliseconds.
    pub answered_unix_ms: Option<u64>,
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
    /// Which report was given up last, and why.
    pub given_up: Option<LastGivenUp>,
}

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
