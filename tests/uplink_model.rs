//! The uplink under random reports, answers and times: what it may do is told from outside, by what was
//! pushed, sent and answered.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use mote_agent::queue::{Queue, Record};
use mote_agent::uplink::{Account, CATCH_UP, MAX_TRIES, Next, Outcome, Uplink};
use mote_core::Uptime;
use proptest::prelude::*;
use proptest::sample::select;

/// A backlog is never held back longer than this between two reports.
const MAX_DISTANCE_MS: u64 = 300_000;

/// What a queue counts for a report beyond its bytes.
const OVERHEAD_BYTES: usize = 64;

#[derive(Clone, Debug)]
enum Step {
    Push {
        length: usize,
    },
    Pass(u64),
    /// Time passes up to the instant that the uplink named last.
    PassToWait,
    /// If there is something to send, it gets this answer after so many milliseconds; what is pushed in
    /// between finds it in flight.
    Send {
        outcome: Outcome,
        after_ms: u64,
        pushes: usize,
    },
    /// So many seconds, with a report each, of a server that is busy for every fifth report and takes all
    /// others.
    Poisoned {
        seconds: usize,
    },
    RetryNow,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let busy = |seconds| Outcome::Busy {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    prop_oneof![
        8 => Just(Outcome::Acknowledged),
        1 => Just(Outcome::Refused),
        4 => Just(Outcome::Busy { retry_after: None }),
        1 => (0..200u64).prop_map(busy),
        4 => Just(Outcome::Unreachable),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (
        outcomes(),
        select(vec![0, 0, 3, 5000]),
        select(vec![0, 0, 1, 3]),
    );
    let step = prop_oneof![
        12 => (4..60usize).prop_map(|length| Step::Push { length }),
        3 => (0..3000u64).prop_map(Step::Pass),
        1 => (0..200_000u64).prop_map(Step::Pass),
        10 => Just(Step::PassToWait),
        20 => send.prop_map(|(outcome, after_ms, pushes)| Step::Send { outcome, after_ms, pushes }),
        1 => (1..60usize).prop_map(|seconds| Step::Poisoned { seconds }),
        1 => Just(Step::RetryNow),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_uplink_keeps_its_rules(
        seed in any::<u32>(),
        max_bytes in select(vec![50, 300, 2000, 1 << 20]),
        max_age_ms in select(vec![5000, 100_000, u64::MAX]),
        rate in select(vec![0.0001, 0.01, 0.09, 1.0, 7.0]),
        steps in steps(),
    ) {
        let mut outside = Outside::new(seed, max_bytes, max_age_ms, rate);
        for step in &steps {
            outside.step(step);
        }
        outside.drain();
    }
}

/// All that can be known without looking into the uplink.
struct Outside {
    uplink: Uplink,
    now: u64,
    max_bytes: usize,
    max_age_ms: u64,
    distance_ms: u64,
    /// The longest delay after a failure, unless the server asks for more.
    max_delay_ms: u64,
    reports: Vec<Report>,
    before: Account,
    last_push: u64,
    /// The report that could not be delivered, and how many were lost until then.
    unreachable: Option<(usize, u64)>,
    wait: Uptime,
    /// The server was lost, and the backlog of that is not gone yet.
    catching_up: bool,
    healthy: bool,
    busy_in_a_row: u32,
    /// Nothing may be sent before.
    earliest: u64,
    /// Something must be sent by then, if anything waits.
    latest: u64,
}

struct Report {
    bytes: usize,
    queued: u64,
    fate: Fate,
    sent: bool,
    failed: bool,
    /// How many reports had been acknowledged when the server was busy for this one.
    acknowledged_when_busy: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Waiting, or pushed out of the queue.
    Open,
    Acknowledged,
    Refused,
    GaveUp,
}

impl Outside {
    fn new(seed: u32, max_bytes: usize, max_age_ms: u64, rate: f64) -> Self {
        let mut uplink = Uplink::new(Queue::new(max_bytes, max_age_ms), seed);
        uplink.set_rate(rate);
        // Both the gap and the distance are whole milliseconds.
        let distance_ms = ((1000.0 / rate / CATCH_UP) as u64 - 1).min(MAX_DISTANCE_MS);
        Outside {
            uplink,
            now: 1_000_000,
            max_bytes,
            max_age_ms,
            distance_ms,
            max_delay_ms: (2 * distance_ms + 2).max(60_000),
            reports: vec![],
            before: Account::default(),
            last_push: 0,
            unreachable: None,
            wait: Uptime::from_millis(0),
            catching_up: false,
            healthy: true,
            busy_in_a_row: 0,
            earliest: 0,
            latest: 0,
        }
    }

    fn at(&self) -> Uptime {
        Uptime::from_millis(self.now)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push { length } => self.push(*length),
            Step::Pass(millis) => self.now += millis,
            Step::PassToWait => {
                if self.wait != Uptime::NEVER {
                    self.now = self.now.max(self.wait.as_millis());
                }
            }
            Step::Send {
                outcome,
                after_ms,
                pushes,
            } => {
                if let Some(record) = self.next() {
                    for _ in 0..*pushes {
                        self.push(10);
                    }
                    self.now += after_ms;
                    assert!(self.next().is_none(), "two reports in flight");
                    assert_eq!(self.wait, Uptime::NEVER);
                    self.delivered(record, *outcome);
                }
            }
            Step::Poisoned { seconds } => {
                for _ in 0..*seconds {
                    self.push(10);
                    while let Some(record) = self.next() {
                        let outcome = match id(&record) % 5 {
                            0 => Outcome::Busy { retry_after: None },
                            _ => Outcome::Acknowledged,
                        };
                        self.delivered(record, outcome);
                    }
                    self.now += 1000;
                }
            }
            Step::RetryNow => {
                self.uplink.retry_now(self.at());
                self.healthy = true;
                self.earliest = 0;
                self.latest = self.now + self.max_delay_ms;
            }
        }
        self.compare();
    }

    fn push(&mut self, length: usize) {
        let mut report = vec![b' '; length];
        let id = u32::try_from(self.reports.len()).unwrap();
        report.splice(0..4, id.to_le_bytes());
        self.reports.push(Report {
            bytes: length + OVERHEAD_BYTES,
            queued: self.now,
            fate: Fate::Open,
            sent: false,
            failed: false,
            acknowledged_when_busy: BTreeSet::new(),
        });
        self.last_push = self.now;
        self.uplink.push(&report, 0, self.at());
        self.compare();
    }

    fn next(&mut self) -> Option<Record> {
        let queued = self.uplink.account().queued;
        let record = match self.uplink.next(self.at()) {
            Next::Send(record) => record,
            Next::Wait(until) => {
                assert!(until > self.at());
                assert!(queued > 0 || until == Uptime::NEVER);
                self.wait = until;
                return None;
            }
        };
        assert_eq!(
            self.uplink.account().queued,
            queued,
            "one in flight is queued"
        );
        assert!(
            self.now >= self.earliest,
            "{} ms early",
            self.earliest - self.now
        );
        if self.catching_up {
            self.earliest = self.now + self.distance_ms;
        }

        let id = id(&record);
        let undisturbed = !self.reports.iter().any(|it| it.failed);
        if undisturbed {
            let first = self.reports.len() - usize::try_from(queued).unwrap();
            assert_eq!(
                id, first,
                "the youngest are kept, and the oldest of them is the next"
            );
        }
        if let Some((same, lost)) = self.unreachable.take()
            && self.uplink.account().dropped.total() == lost
        {
            assert_eq!(
                id, same,
                "a server that was lost gets the same report again"
            );
        }
        let report = &self.reports[id];
        let age_ms = self.last_push.saturating_sub(report.queued);
        assert!(age_ms <= self.max_age_ms, "report {id} had expired");
        assert_eq!(report.fate, Fate::Open, "report {id} is sent again");
        assert_eq!(record.report.len() + OVERHEAD_BYTES, report.bytes);
        if !report.sent {
            let overtaken = self.reports.iter().skip(id + 1).position(|it| it.sent);
            assert_eq!(overtaken, None, "report {id} was overtaken");
        }
        self.reports[id].sent = true;
        Some(record)
    }

    fn delivered(&mut self, record: Record, outcome: Outcome) {
        let id = id(&record);
        let account = self.uplink.account();
        let alone = account.queued == 1;
        self.uplink.delivered(record, outcome, self.at());
        let report = &mut self.reports[id];
        let mut lost = None;
        match outcome {
            Outcome::Acknowledged => report.fate = Fate::Acknowledged,
            Outcome::Refused => report.fate = Fate::Refused,
            Outcome::Unreachable | Outcome::Unanswered => lost = Some(Duration::ZERO),
            Outcome::Busy { retry_after } => {
                self.busy_in_a_row += 1;
                report.acknowledged_when_busy.insert(account.acknowledged);
                if report.acknowledged_when_busy.len() == usize::from(MAX_TRIES) {
                    report.fate = Fate::GaveUp;
                }
                // A server that is busy for one report may take the next.
                if retry_after.is_some() || self.busy_in_a_row > 1 || alone {
                    lost = Some(retry_after.unwrap_or_default());
                }
            }
        }
        report.failed |= report.fate != Fate::Acknowledged && report.fate != Fate::Refused;
        if outcome == Outcome::Unreachable {
            self.unreachable = Some((id, account.dropped.total()));
        }
        if let Some(asked) = lost {
            let asked_ms = u64::try_from(asked.as_millis()).unwrap();
            self.catching_up = true;
            self.healthy = false;
            self.earliest = self.now + asked_ms + self.distance_ms.min(30_000);
            self.latest = self.now + asked_ms + self.max_delay_ms;
        }
        if matches!(outcome, Outcome::Acknowledged | Outcome::Refused) {
            self.busy_in_a_row = 0;
            self.healthy = true;
            if alone {
                self.catching_up = false;
                self.earliest = 0;
            }
        }
        assert_eq!(
            self.uplink.is_healthy(),
            lost.is_none() && self.uplink.is_healthy()
        );
        self.compare();
    }

    /// The account balances, and each of its numbers is what was seen from here.
    fn compare(&mut self) {
        let account = self.uplink.account();
        let dropped = account.dropped;
        assert_eq!(
            account.sampled,
            account.acknowledged + account.queued + dropped.total(),
            "{account:?}"
        );
        let count = |fate| self.reports.iter().filter(|it| it.fate == fate).count() as u64;
        assert_eq!(account.sampled, self.reports.len() as u64);
        assert_eq!(account.acknowledged, count(Fate::Acknowledged));
        assert_eq!(dropped.refused, count(Fate::Refused));
        assert_eq!(dropped.gave_up, count(Fate::GaveUp));
        assert_eq!(
            account.queued + dropped.overflow + dropped.expired,
            count(Fate::Open)
        );

        assert!(self.uplink.queue_bytes() <= self.max_bytes);
        let open = || self.reports.iter().filter(|it| it.fate == Fate::Open);
        if dropped.overflow > self.before.dropped.overflow {
            let bytes: usize = open().map(|it| it.bytes).sum();
            assert!(bytes > self.max_bytes, "there was room");
        }
        if dropped.expired > self.before.dropped.expired {
            let oldest = open().map(|it| it.queued).min().unwrap();
            assert!(self.now - oldest > self.max_age_ms, "none was old");
        }
        self.before = account;
    }

    /// The server is there again and takes everything: all reports that are not gone get there, in a time that
    /// the pace allows for.
    fn drain(&mut self) {
        let queued = self.uplink.account().queued;
        let until = self.latest.max(self.now) + self.max_delay_ms + (queued + 1) * MAX_DISTANCE_MS;
        while self.uplink.account().queued > 0 {
            if let Some(record) = self.next() {
                self.delivered(record, Outcome::Acknowledged);
            } else {
                self.now = self.wait.as_millis();
                assert!(
                    self.now <= until,
                    "{queued} reports are not gone at {until}"
                );
            }
        }
        let account = self.uplink.account();
        let gone = account.dropped.overflow + account.dropped.expired;
        let missing = self.reports.iter().filter(|it| it.fate == Fate::Open);
        assert_eq!(missing.count() as u64, gone);
        assert_eq!(self.uplink.queue_bytes(), 0);
    }
}

fn id(record: &Record) -> usize {
    let bytes = record.report.first_chunk().expect("a report of this test");
    u32::from_le_bytes(*bytes) as usize
}
