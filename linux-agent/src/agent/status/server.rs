//! What the agent knows of its server.

use std::fmt::Write;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::delivery::health::Health;
use crate::delivery::untaken;
use crate::system::clock;

/// What the agent knows of its server.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its address.
    pub url: String,
    /// Whether it took the last report, takes those of all services, and its services document is followed.
    pub healthy: bool,
    /// When a call succeeded last, in Unix seconds.
    pub answered: Option<f64>,
    /// Whether it has answered with a refusal.
    #[serde(default)]
    pub refused: bool,
    /// How long its last answer to a report took, in milliseconds.
    pub latency_ms: Option<u32>,
    /// Why the last report was not taken.
    pub error: Option<String>,
    /// The services whose reports it does not take while it takes others.
    #[serde(default)]
    pub untaken: Vec<UntakenStatus>,
    /// The same in one sentence.
    #[serde(default)]
    pub untaken_error: Option<String>,
    /// Why its services document is not followed.
    pub services_error: Option<String>,
    /// Why a file with token or certificates is not used. What it held before still is.
    #[serde(default)]
    pub access_error: Option<String>,
    /// Whether it refuses this client's token, or wants one.
    #[serde(default)]
    pub denies_token: bool,
    /// Which report was given up last, and why.
    pub given_up: Option<String>,
}

/// A service whose reports the server does not take while it takes others.
#[derive(Debug, Serialize, Deserialize)]
pub struct UntakenStatus {
    /// The server's name for it.
    pub name: String,
    /// When a report of it failed first, in Unix seconds.
    pub since: f64,
    /// Why the last one was not taken.
    pub error: String,
}

impl ServerStatus {
    pub(super) fn of(url: &str, health: &Health, is_ordered: impl Fn(u64) -> bool) -> Self {
        let now = Instant::now();
        let untaken = health.untaken.list(now, is_ordered);
        let error = health.delivery.reason().map(str::to_owned);
        let services_error = health.orders.reason().map(str::to_owned);
        ServerStatus {
            url: url.to_owned(),
            healthy: error.is_none()
                && untaken.is_empty()
                && services_error.is_none()
                && health.answered_unix_ms.is_some(),
            answered: health.answered_unix_ms.map(seconds),
            refused: health.refused,
            latency_ms: health.latency_ms,
            error,
            services_error,
            access_error: health.access.clone(),
            denies_token: health.orders_denied
                || health.reports_denied
                || untaken.iter().any(|it| it.is_denial),
            untaken_error: untaken::sentence(&untaken, now),
            untaken: untaken
                .iter()
                .map(|it| UntakenStatus::of(it, now))
                .collect(),
            given_up: health.given_up.as_ref().map(|it| it.sentence.clone()),
        }
    }

    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "server: {}", self.url)?;
        match (&self.error, self.answered, self.latency_ms) {
            (Some(error), ..) => writeln!(out, " - {error}")?,
            (None, None, _) if self.refused => writeln!(out, " - has only refused so far")?,
            (None, None, _) => writeln!(out, " - has not answered yet")?,
            (None, Some(_), None) => writeln!(out, " - answers")?,
            (None, Some(_), Some(ms)) => writeln!(out, " - answers in {ms} ms")?,
        }
        if let Some(sentence) = &self.untaken_error {
            writeln!(out, "{sentence}")?;
        }
        if let Some(error) = &self.services_error {
            writeln!(out, "services: {error}")?;
        }
        // An error of the last call says it already.
        let shown = [&self.error, &self.services_error];
        let is_shown = |sentence: &str| {
            shown
                .iter()
                .any(|it| it.as_deref().is_some_and(|it| it.contains(sentence)))
        };
        if let Some(sentence) = &self.access_error
            && !is_shown(sentence)
        {
            writeln!(out, "access: {sentence}")?;
        }
        if let Some(sentence) = &self.given_up {
            writeln!(out, "last given up: {sentence}")?;
        }
        Ok(())
    }
}

impl UntakenStatus {
    fn of(service: &untaken::UntakenService, now: Instant) -> Self {
        let ago = now.saturating_duration_since(service.since);
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        UntakenStatus {
            name: service.name.clone(),
            since: seconds(clock::unix_ms().saturating_sub(ago_ms)),
            error: service.reason.clone(),
        }
    }
}

pub(super) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
