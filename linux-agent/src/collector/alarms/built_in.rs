//! Alarms that need no setting: hosts that are late, reports that are lost, a collector that cannot store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarm::{Change, Sight};
use super::engine::Engine;
use super::losses::RunGaps;
use super::machine::{Judgement, Phase};
use super::moment::Now;
use super::words;
use crate::client_name::ClientName;
use crate::collector::lateness::{HostLateness, ReportState, allowed_ms};
use crate::collector::settings::alarms::Severity;
use crate::collector::span;

impl Engine {
    /// Takes how a host stands.
    pub fn note_lateness(&mut self, lateness: &BTreeMap<ClientName, HostLateness>, now: Now) {
        self.reporting = lateness
            .values()
            .filter(|it| it.state != ReportState::Never)
            .count();
        let in_grace = now.steady_ms < self.grace_end_ms;
        let hosts = Arc::clone(&self.hosts);
        let mut carriers = BTreeMap::new();
        for (id, host) in &*hosts {
            carriers.extend(host.reports_for.iter().map(|board| (board, id)));
        }
        for (client, host) in &*hosts {
            let Some(late) = lateness.get(client) else {
                continue;
            };
            let verdict = match late.state {
                ReportState::Late | ReportState::Silent if !in_grace => Judgement::Bad,
                // Of a host that was late before a restart, one report has to come.
                ReportState::Reporting if late.is_heard => Judgement::Good,
                _ => Judgement::Between,
            };
            let is_silent = |id: &&&ClientName| {
                let state = lateness.get(**id).map(|it| it.state);
                matches!(state, Some(ReportState::Silent | ReportState::Never))
            };
            let gateway = carriers.get(client).filter(is_silent);
            let cause = gateway.map(|id| format!("its gateway {} is silent", self.label(Some(id))));
            let key = self.built_in(Some(client), "late");
            if verdict != Judgement::Bad && !self.alarms.contains_key(&key) {
                continue;
            }
            let sight = Sight {
                verdict,
                value: late.late_ms.map(|it| it as f64 / 1000.0),
                level: None,
                text: words::of_lateness(host, late, cause.as_deref()),
            };
            let change = self.look_at(key.clone(), Severity::Critical, &[], 0, sight, now);
            if let Some(alarm) = self.alarms.get_mut(&key) {
                alarm.cause = cause;
                if alarm.machine.phase() == Phase::Firing && alarm.quiet_ms.is_none() {
                    // After a restart it is not known how long nothing had come before it was noticed.
                    let quickest = host.services.values().map(|it| it.interval_ms).min();
                    let began_ms = alarm.row.began_ms - allowed_ms(quickest.unwrap_or(0));
                    let quiet_ms = late.quiet_ms.map_or(began_ms, |it| now.unix_ms - it);
                    alarm.quiet_ms = Some(quiet_ms.min(began_ms));
                }
                if change == Some(Change::Cleared) {
                    let quiet_ms = alarm.quiet_ms.take().unwrap_or(alarm.row.began_ms);
                    let gone_ms = now.unix_ms - quiet_ms;
                    let text = format!("reports were missing for {}", span::in_words(gone_ms));
                    self.event(Some(client), "gap", text, now);
                }
            }
        }
    }

    /// Takes the newest runs of a host.
    pub fn note_gaps(&mut self, client: &ClientName, runs: &[RunGaps], now: Now) {
        let waiting = self.figures.of(client).waiting.unwrap_or(0.0).max(0.0) as u64;
        let losses = self.losses.entry(client.clone()).or_default();
        let lost = losses.note(runs, waiting, now.steady_ms);
        let key = self.built_in(Some(client), "lost");
        if lost == 0 && !self.alarms.contains_key(&key) {
            return;
        }
        let sight = Sight {
            verdict: if lost > 0 {
                Judgement::Bad
            } else {
                Judgement::Good
            },
            value: Some(lost as f64),
            level: Some(0.0),
            text: match lost {
                1 => "1 report never came, and nothing says that it waits".to_owned(),
                _ => format!("{lost} reports never came, and nothing says that they wait"),
            },
        };
        self.look_at(key, Severity::Warning, &[], 0, sight, now);
    }

    /// Takes for how long no report could be stored, in milliseconds.
    pub fn note_own_trouble(&mut self, trouble_ms: Option<i64>, now: Now) {
        const HOLD_MS: i64 = 10_000;
        let key = self.built_in(None, "collector");
        if trouble_ms.is_none() && !self.alarms.contains_key(&key) {
            return;
        }
        let sight = Sight {
            verdict: if trouble_ms.is_some() {
                Judgement::Bad
            } else {
                Judgement::Good
            },
            value: trouble_ms.map(|it| it as f64 / 1000.0),
            level: None,
            text: "the collector cannot store reports, and hosts keep them; its log says why"
                .to_owned(),
        };
        self.look_at(key, Severity::Critical, &[], HOLD_MS, sight, now);
    }
}
