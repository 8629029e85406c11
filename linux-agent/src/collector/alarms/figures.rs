//! What reports say that alarms go by, and which reports are of now.
//!
//! After an outage old reports come behind fresh ones. A host's clock may be wrong, so it is not asked which is which: a
//! run numbers its reports, and a run that another one followed is over.

use std::collections::{BTreeMap, VecDeque};

use crate::client_name::ClientName;
use crate::collector::report::Report;

/// So many runs of a host are told apart.
const MAX_RUNS: usize = 4;

/// What is known of all hosts.
#[derive(Default)]
pub struct HostFigures(BTreeMap<ClientName, KnownHost>);

/// What is known of a host.
#[derive(Default)]
pub struct KnownHost {
    /// The id of its run, and of those before, the newest first.
    runs: VecDeque<String>,
    /// The largest number of this run, by service.
    newest: BTreeMap<String, i64>,
    /// How many CPUs it has.
    pub cpus: Option<f64>,
    /// How many reports wait there.
    pub waiting: Option<f64>,
    /// How long it has been up, in seconds.
    pub uptime_s: Option<f64>,
    /// When it was said lately that it began anew, by the steady clock.
    said: VecDeque<i64>,
}

/// That a host began anew is said at most so often in an hour.
pub const MAX_SAID: usize = 10;

/// What a report is.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Of now.
    Fresh,
    /// The first of a run that followed another.
    NewRun,
    /// Of before.
    Old,
}

impl HostFigures {
    /// What is known of a host.
    pub fn of(&mut self, client: &ClientName) -> &mut KnownHost {
        if !self.0.contains_key(client) {
            self.0.insert(client.clone(), KnownHost::default());
        }
        self.0.entry(client.clone()).or_default()
    }

    /// Forgets whoever `keeps` does not want.
    pub fn retain(&mut self, keeps: impl Fn(&ClientName) -> bool) {
        self.0.retain(|client, _| keeps(client));
    }
}

impl KnownHost {
    /// Takes the runs that the database knows, the newest first.
    pub fn remember(&mut self, runs: impl Iterator<Item = String>) {
        self.runs = runs.take(MAX_RUNS).collect();
    }

    /// Whether it is worth a word that the host began anew.
    pub fn may_say(&mut self, now_ms: i64) -> bool {
        const HOUR_MS: i64 = 3_600_000;
        self.said.retain(|at| now_ms - at < HOUR_MS);
        let may_say = self.said.len() < MAX_SAID;
        if may_say {
            self.said.push_back(now_ms);
        }
        may_say
    }

    /// Takes a report.
    pub fn note(&mut self, report: &Report) -> News {
        let mut news = News::Fresh;
        if let Some(boot) = &report.boot
            && self.runs.front() != Some(boot)
        {
            if self.runs.contains(boot) {
                return News::Old;
            }
            if !self.runs.is_empty() {
                news = News::NewRun;
            }
            self.runs.push_front(boot.clone());
            self.runs.truncate(MAX_RUNS);
            self.newest.clear();
        }
        // Without numbers the order in which they come is all there is.
        let Some(seq) = report.seq else { return news };
        match self.newest.get_mut(&report.service_name) {
            Some(newest) if seq <= *newest => return News::Old,
            Some(newest) => *newest = seq,
            None => {
                self.newest.insert(report.service_name.clone(), seq);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(boot: &str, seq: i64, time: f64) -> Report {
        let body = format!(
            r#"{{"client_id":1,"service_name":"a","data":{{}},"boot":"{boot}","seq":{seq},"time":{time}}}"#
        );
        Report::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_backlog_is_old_whatever_the_clock_of_its_host_says() {
        let mut known = KnownHost::default();
        // The clock is an hour off, and set right between two reports; a duplicate comes; a new run begins, and what the
        // run before had left comes behind it.
        for (boot, seq, time, expected) in [
            ("a", 10, 5000.0, News::Fresh),
            ("a", 3, 4900.0, News::Old),
            ("a", 11, 1400.0, News::Fresh),
            ("a", 11, 1400.0, News::Old),
            ("a", 4, 9000.0, News::Old),
            ("b", 0, 1500.0, News::NewRun),
            ("a", 12, 9999.0, News::Old),
            ("b", 1, 1501.0, News::Fresh),
        ] {
            assert_eq!(
                known.note(&report(boot, seq, time)),
                expected,
                "{boot} {seq}"
            );
        }
    }

    #[test]
    fn one_that_begins_anew_all_the_time_is_said_ten_times_an_hour() {
        let mut known = KnownHost::default();
        let said = (0..7200).filter(|second| known.may_say(second * 1000));
        assert_eq!(said.count(), 2 * MAX_SAID);
    }

    #[test]
    fn after_a_restart_the_runs_are_known() {
        let mut known = KnownHost::default();
        known.remember(["b".to_owned(), "a".to_owned()].into_iter());
        assert_eq!(known.note(&report("a", 50, 0.0)), News::Old);
        assert_eq!(known.note(&report("b", 5, 0.0)), News::Fresh);
        assert_eq!(known.note(&report("c", 0, 0.0)), News::NewRun);
    }
}
