//! What reports tell about their host: its clock is off, or there are two of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::client_name::ClientName;

/// The log says if a clock is off by more than this, in milliseconds.
pub const MAX_CLOCK_ERROR_MS: i64 = 60_000;

/// Whether a clock is behind shows in the youngest report of a window of this length, in milliseconds: others may
/// have waited.
const CLOCK_WINDOW_MS: i64 = 60_000;

/// The fewest reports of a window.
const CLOCK_REPORTS: u32 = 3;

/// An earlier run must come back after a later one this many times: it should have ended before.
const TURNS: u32 = 3;

/// A run sampled after the next one began if it did so by more than this, in milliseconds: clocks are set.
const OVERLAP_MS: i64 = 10_000;

/// Two runs that did not take turns for this long, in milliseconds, no longer count as twins.
const FORGET_MS: i64 = 3_600_000;

/// At most this many runs of a host are told apart at a time.
const MAX_RUNS: usize = 4;

/// Watches all hosts.
#[derive(Default)]
pub struct Watch(Mutex<BTreeMap<ClientName, Watched>>);

/// What is known of a report when it arrives.
pub struct ReportArrival<'a> {
    /// Which run of the client it comes from.
    pub boot: Option<&'a str>,
    /// When it was sampled, by the client's clock.
    pub sampled_ms: i64,
    /// When it came, by this host's clock.
    pub received_ms: i64,
    /// The address that it came from.
    pub address: IpAddr,
}

/// What a report shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// The client's clock is this many milliseconds ahead.
    Ahead(i64),
    /// It is this many milliseconds behind, or all its reports wait that long.
    Behind(i64),
    /// Two agents report as this client, and take turns.
    Copied([Twin; 2]),
}

/// One of two agents that report as the same client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Twin {
    /// The id of its run.
    pub boot: String,
    /// Where its last report came from.
    pub address: IpAddr,
}

#[derive(Default)]
struct Watched {
    orders_ms: Option<i64>,
    refused_ms: Option<i64>,
    clock: ClockWindow,
    /// The one that reported last stands at the end.
    runs: Vec<LiveRun>,
    turns: u32,
    last_turn_ms: i64,
}

#[derive(Default)]
struct ClockWindow {
    began_ms: Option<i64>,
    least_lag_ms: i64,
    reports: u32,
    /// Of the last window: by how much the clock is off, if it is.
    off_ms: Option<i64>,
}

struct LiveRun {
    boot: String,
    first_sampled_ms: i64,
    address: IpAddr,
}

impl Watch {
    /// Notes a report of `client`, which is one of the hosts.
    pub fn note(&self, client: &ClientName, arrival: &ReportArrival<'_>) -> Vec<Finding> {
        // What is known is right even if a thread panicked.
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = hosts.get_mut(client) {
            return watched.note(arrival);
        }
        hosts.entry(client.clone()).or_default().note(arrival)
    }

    /// Notes that `client`, which is one of the hosts, got its orders.
    pub fn note_orders(&self, client: &ClientName, now_ms: i64) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = hosts.get_mut(client) {
            watched.orders_ms = Some(now_ms);
        } else {
            hosts.entry(client.clone()).or_default().orders_ms = Some(now_ms);
        }
    }

    /// Notes that somebody asked or reported as `client`, which is one of the hosts, without a token for that.
    pub fn note_refused(&self, client: &ClientName, now_ms: i64) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(client.clone()).or_default().refused_ms = Some(now_ms);
    }

    /// When that happened last, since this collector started.
    pub fn refused_ms(&self, client: &ClientName) -> Option<i64> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(client)?.refused_ms
    }

    /// By how many milliseconds the clock of `client` is behind, or all its reports come late; below 0: ahead.
    pub fn clock_off_ms(&self, client: &ClientName) -> Option<i64> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(client)?.clock.off_ms
    }

    /// When `client` got its orders last, since this collector started.
    pub fn orders_ms(&self, client: &ClientName) -> Option<i64> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(client)?.orders_ms
    }

    /// The two agents that report as `client`, if there are two.
    pub fn twins(&self, client: &ClientName, now_ms: i64) -> Option<[Twin; 2]> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(client)?.twins(now_ms)
    }

    /// Forgets whoever `keeps` does not want.
    pub fn retain(&self, keeps: impl Fn(&ClientName) -> bool) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|client, _| keeps(client));
    }
}

impl Watched {
    fn note(&mut self, arrival: &ReportArrival<'_>) -> Vec<Finding> {
        let lag_ms = arrival.received_ms.saturating_sub(arrival.sampled_ms);
        let mut findings = Vec::new();
        if lag_ms < -MAX_CLOCK_ERROR_MS {
            findings.push(Finding::Ahead(-lag_ms));
        }
        let behind = self.clock.note(lag_ms, arrival.received_ms);
        findings.extend(behind.map(Finding::Behind));
        // What has waited says nothing of who is alive now.
        if let Some(boot) = arrival.boot.filter(|_| lag_ms.abs() <= MAX_CLOCK_ERROR_MS) {
            findings.extend(self.note_run(boot, arrival).map(Finding::Copied));
        }
        findings
    }

    fn note_run(&mut self, boot: &str, arrival: &ReportArrival<'_>) -> Option<[Twin; 2]> {
        let is_next = self.runs.last().is_none_or(|last| last.boot != boot);
        let position = self.runs.iter().position(|run| run.boot == boot);
        let Some(mut run) = position.map(|at| self.runs.remove(at)) else {
            if self.runs.len() >= MAX_RUNS {
                self.runs.remove(0);
            }
            self.runs.push(LiveRun {
                boot: boot.to_owned(),
                first_sampled_ms: arrival.sampled_ms,
                address: arrival.address,
            });
            return None;
        };
        run.address = arrival.address;
        run.first_sampled_ms = run.first_sampled_ms.min(arrival.sampled_ms);
        // An agent that restarted still delivers what its earlier run sampled, but that run samples nothing any
        // more.
        let outlives = |other: &LiveRun| {
            run.first_sampled_ms < other.first_sampled_ms
                && arrival.sampled_ms.saturating_sub(other.first_sampled_ms) > OVERLAP_MS
        };
        let takes_over = is_next && self.runs.last().is_some_and(outlives);
        self.runs.push(run);
        if !takes_over {
            return None;
        }
        if arrival.received_ms.saturating_sub(self.last_turn_ms) > FORGET_MS {
            self.turns = 0;
        }
        self.turns += 1;
        self.last_turn_ms = arrival.received_ms;
        self.twins(arrival.received_ms)
    }

    fn twins(&self, now_ms: i64) -> Option<[Twin; 2]> {
        let are_two = self.turns >= TURNS && now_ms.saturating_sub(self.last_turn_ms) <= FORGET_MS;
        let [.., one, two] = self.runs.as_slice() else {
            return None;
        };
        let twin = |run: &LiveRun| Twin {
            boot: run.boot.clone(),
            address: run.address,
        };
        are_two.then(|| [twin(one), twin(two)])
    }
}

impl ClockWindow {
    /// How far the clock seems to be behind, once a window.
    fn note(&mut self, lag_ms: i64, now_ms: i64) -> Option<i64> {
        let began_ms = *self.began_ms.get_or_insert(now_ms);
        self.least_lag_ms = match self.reports {
            0 => lag_ms,
            _ => self.least_lag_ms.min(lag_ms),
        };
        self.reports += 1;
        if now_ms.saturating_sub(began_ms) < CLOCK_WINDOW_MS || self.reports < CLOCK_REPORTS {
            return None;
        }
        let least = self.least_lag_ms;
        let off_ms = Some(least);
        *self = ClockWindow {
            off_ms,
            ..ClockWindow::default()
        };
        (least > MAX_CLOCK_ERROR_MS).then_some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1000;

    /// Notes reports of (boot, sampled, received) in seconds; gives what the last of them shows.
    fn shown(reports: impl IntoIterator<Item = (&'static str, i64, i64)>) -> Vec<Finding> {
        let watch = Watch::default();
        let mut shown = Vec::new();
        for (boot, sampled, received) in reports {
            shown.extend(watch.note(
                &ClientName::Number(1),
                &ReportArrival {
                    boot: Some(boot),
                    sampled_ms: sampled * S,
                    received_ms: received * S,
                    address: IpAddr::from([127, 0, 0, 1]),
                },
            ));
        }
        shown
    }

    fn boots(finding: &Finding) -> [&str; 2] {
        match finding {
            Finding::Copied([one, two]) => [&one.boot, &two.boot],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_that_take_turns_are_two() {
        let turns = (0..8).map(|n| (["a", "b"][n as usize % 2], n * 15, n * 15));
        let shown = shown(turns);
        // a b a b a b a b: the first run takes over three times from the one that began later.
        assert_eq!(shown.len(), 1);
        assert_eq!(boots(&shown[0]), ["b", "a"]);
    }

    #[test]
    fn they_are_two_until_they_take_no_turns_for_an_hour() {
        let watch = Watch::default();
        let client = ClientName::Number(1);
        for n in 0..8 {
            let arrival = ReportArrival {
                boot: Some(["a", "b"][n as usize % 2]),
                sampled_ms: n * 15 * S,
                received_ms: n * 15 * S,
                address: IpAddr::from([127, 0, 0, 1]),
            };
            watch.note(&client, &arrival);
        }
        let last = 6 * 15 * S;
        assert!(watch.twins(&client, last + FORGET_MS).is_some());
        assert!(watch.twins(&client, last + FORGET_MS + 1).is_none());
        assert!(watch.twins(&ClientName::Number(2), last).is_none());
    }

    #[test]
    fn an_agent_with_a_backlog_of_its_run_before_is_one() {
        // The run before sampled until 50 s; fresh reports of the new one come between those.
        let backlog = (0..50).map(|n| [("a", n, 60 + n), ("b", 60 + n, 60 + n)]);
        assert_eq!(shown(backlog.flatten()), []);
    }

    #[test]
    fn an_agent_that_is_started_again_and_again_is_one() {
        let boots = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let runs = boots
            .iter()
            .zip(0..)
            .flat_map(|(boot, n)| (0..4).map(move |k| (*boot, 100 * n + 20 * k, 100 * n + 20 * k)));
        assert_eq!(shown(runs), []);
    }

    #[test]
    fn a_clock_ahead_is_seen_at_once() {
        assert_eq!(shown([("a", 160, 100)]), []);
        assert_eq!(shown([("a", 161, 100)]), [Finding::Ahead(61 * S)]);
    }

    #[test]
    fn a_clock_behind_is_told_from_a_backlog() {
        let behind = (0..5).map(|n| ("a", n * 15, n * 15 + 90));
        assert_eq!(shown(behind), [Finding::Behind(90 * S)]);
        // One fresh report among old ones.
        let backlog = (0..5).map(|n| ("a", if n == 2 { 120 } else { n }, 90 + n * 15));
        assert_eq!(shown(backlog), []);
        // Two old ones alone say nothing.
        assert_eq!(shown([("a", 0, 1000), ("a", 1, 2000)]), []);
    }
}
