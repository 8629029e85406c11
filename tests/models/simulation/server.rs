//! A server that is there, slow, gone, lying, busy, or takes a report and does not say so.

use std::collections::BTreeMap;
use std::time::Duration;

use mote_agent::delivery::uplink::together::Fate;
use mote_agent::http::outcome::Outcome;

use mote_test_support::dice::Dice;

use super::id;

/// How long a request may take.
const TIMEOUT_MS: u64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Slow,
    /// Nobody listens, or the way there is cut.
    Gone,
    /// It takes what it gets, and answers after the timeout.
    Late,
    /// It neither takes nor answers.
    Hangs,
    /// Anything at all, by the dice.
    Lies,
    Busy,
    /// 500 for all: what it stores its reports in is away.
    Broken,
    /// 404 for all: it was set up wrongly.
    Wrong,
    AsksForTime,
    /// 500 for one service.
    FailsOnOne,
    /// 4xx for one service.
    RefusesOne,
    /// Never answers one service.
    HangsOnOne,
}

const STATES: [State; 13] = [
    State::Well,
    State::Slow,
    State::Gone,
    State::Late,
    State::Hangs,
    State::Lies,
    State::Busy,
    State::Broken,
    State::Wrong,
    State::AsksForTime,
    State::FailsOnOne,
    State::RefusesOne,
    State::HangsOnOne,
];

/// The server and all that it was told.
pub struct Server {
    dice: Dice,
    state: State,
    /// It refuses no report, and fails on none alone.
    is_fair: bool,
    /// Whether it has anything to be monitored.
    pub has_services: bool,
    /// Whether it offers to take several reports in one request.
    pub takes_many: bool,
    reports: BTreeMap<(String, u32), Vec<u8>>,
    duplicates: u64,
}

impl Server {
    pub fn new(dice: Dice, is_fair: bool) -> Server {
        Server {
            dice,
            state: State::Well,
            is_fair,
            has_services: true,
            takes_many: false,
            reports: BTreeMap::new(),
            duplicates: 0,
        }
    }

    pub fn change(&mut self) {
        self.takes_many = self.dice.one_in(2);
        let fair = [
            State::Well,
            State::Slow,
            State::Gone,
            State::Late,
            State::Hangs,
            State::Busy,
            State::Broken,
            State::Wrong,
            State::AsksForTime,
        ];
        self.state = match self.is_fair {
            true => self.dice.pick(&fair),
            false => self.dice.pick(&STATES),
        };
    }

    pub fn state(&self) -> String {
        format!("{:?}", self.state)
    }

    pub fn heal(&mut self) {
        self.state = State::Well;
    }

    /// How long an answer takes, and the services document.
    pub fn fetch(&mut self) -> (u64, Result<Vec<u8>, ()>) {
        match self.state {
            State::Gone => (0, Err(())),
            State::Late | State::Hangs => (TIMEOUT_MS, Err(())),
            State::Lies => {
                let document = self.dice.pick(&[
                    "",
                    "{}",
                    "[]",
                    "<html>",
                    "{\"services\":7}",
                    "{\"services\":{",
                ]);
                (self.dice.below(100), Ok(document.as_bytes().to_vec()))
            }
            State::Busy | State::Broken | State::Wrong | State::AsksForTime => (5, Err(())),
            State::Slow => (self.dice.below(TIMEOUT_MS), Ok(self.document())),
            _ => (5, Ok(self.document())),
        }
    }

    /// How long an answer takes, and what it is.
    pub fn post(&mut self, report: &[u8]) -> (u64, Outcome) {
        let busy = Outcome::Busy { retry_after: None };
        let is_one = is_of_the_one(report);
        match self.state {
            State::Well => self.take(5, report),
            State::Slow => {
                let takes = self.dice.below(TIMEOUT_MS);
                self.take(takes, report)
            }
            State::Gone => (0, Outcome::Unreachable),
            State::Late => {
                self.take(0, report);
                (TIMEOUT_MS, Outcome::Unanswered)
            }
            State::Hangs => (TIMEOUT_MS, Outcome::Unanswered),
            State::Lies => match self.dice.below(7) {
                5 => (1, Outcome::Failed),
                0 => (1, busy),
                1 | 6 => (1, Outcome::Doubtful),
                2 => (1, Outcome::Unanswered),
                3 => (0, Outcome::Unreachable),
                _ => self.take(1, report),
            },
            State::Busy => (5, busy),
            State::Broken => (5, Outcome::Failed),
            State::Wrong => (5, Outcome::Doubtful),
            State::AsksForTime => {
                let retry_after = Some(Duration::from_secs(self.dice.below(120)));
                (5, Outcome::Busy { retry_after })
            }
            State::FailsOnOne if is_one => (5, Outcome::Failed),
            State::RefusesOne if is_one => (5, Outcome::Doubtful),
            State::HangsOnOne if is_one => (TIMEOUT_MS, Outcome::Unanswered),
            State::FailsOnOne | State::RefusesOne | State::HangsOnOne => self.take(5, report),
        }
    }

    /// The same of several reports: what its answer tells the agent of each.
    pub fn post_all(&mut self, reports: &[&[u8]]) -> (u64, Vec<Fate>) {
        let nothing = vec![Fate::GoesAlone; reports.len()];
        match self.state {
            State::Late => {
                for report in reports {
                    self.take(0, report);
                }
                (TIMEOUT_MS, nothing)
            }
            State::Hangs => (TIMEOUT_MS, nothing),
            State::Gone => {
                let first = Fate::Ended(Outcome::Unreachable);
                let others = reports.iter().skip(1).map(|_| Fate::Stayed);
                (0, std::iter::once(first).chain(others).collect())
            }
            // Its worker dies with it; how far that was, nobody knows.
            State::HangsOnOne if reports.iter().any(|it| is_of_the_one(it)) => {
                let first = self.dice.below(reports.len() as u64) as usize;
                for report in reports.iter().take(first).filter(|it| !is_of_the_one(it)) {
                    self.take(0, report);
                }
                (TIMEOUT_MS, nothing)
            }
            State::Lies if self.dice.one_in(3) => (1, nothing),
            State::Lies => {
                let fates = reports.iter().map(|it| self.fate(it)).collect();
                (1, fates)
            }
            _ => {
                let answers: Vec<_> = reports.iter().map(|it| self.post(it)).collect();
                let takes = answers.iter().map(|(takes, _)| *takes).max();
                let takes_any = answers
                    .iter()
                    .any(|(_, outcome)| *outcome == Outcome::Acknowledged);
                let is_judged = takes_any && self.state == State::RefusesOne;
                let fates = answers.into_iter().map(|(_, outcome)| match outcome {
                    Outcome::Acknowledged => Fate::Ended(outcome),
                    Outcome::Doubtful if is_judged => Fate::Ended(Outcome::Refused),
                    _ => Fate::GoesAlone,
                });
                (takes.unwrap_or(0), fates.collect())
            }
        }
    }

    fn fate(&mut self, report: &[u8]) -> Fate {
        match self.dice.below(4) {
            0 => Fate::Ended(Outcome::Refused),
            1 => Fate::GoesAlone,
            _ => Fate::Ended(self.take(1, report).1),
        }
    }

    /// What it has.
    pub fn reports(&self) -> impl Iterator<Item = (&(String, u32), &[u8])> {
        self.reports
            .iter()
            .map(|(id, report)| (id, report.as_slice()))
    }

    pub fn has_id(&self, id: &(String, u32)) -> bool {
        self.reports.contains_key(id)
    }

    /// Reports that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    fn take(&mut self, takes: u64, report: &[u8]) -> (u64, Outcome) {
        if self.reports.insert(id(report), report.to_vec()).is_some() {
            self.duplicates += 1;
        }
        (takes, Outcome::Acknowledged)
    }

    fn document(&mut self) -> Vec<u8> {
        let interval = self.dice.pick(&["1", "1", "7.5"]);
        let text = match self.has_services {
            true => format!(
                r#"{{"services":{{"CPU":["get_linux_cpu",{interval}],"Disk":["get_disk_io",5],"Load":["get_linux_load",60]}}}}"#
            ),
            false => r#"{"services":{}}"#.to_owned(),
        };
        text.into_bytes()
    }
}

/// Whether it is of the service that alone fares badly.
fn is_of_the_one(report: &[u8]) -> bool {
    report.windows(9).any(|it| it == b"\"Disk\",\"d")
}
