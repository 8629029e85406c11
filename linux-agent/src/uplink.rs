//! What to send when: retry, backoff, pace and the account of every report. No I/O, no clock.
//!
//! - A report that was acknowledged, or that the server refuses for good, is done.
//! - A server that cannot be reached, or that asks for time, is left alone for a delay that doubles from about
//!   1 s to 60 s, or to 10 min for clients that report rarely, with jitter.
//! - A report that fails although the server takes others steps behind them, and is given up after
//!   [`MAX_TRIES`] such failures: it may not block its neighbours.
//! - After an outage the backlog goes out at [`CATCH_UP`] times the rate at which it came, and not faster: clients
//!   that lost their server together must not run it down together.

use std::time::Duration;

use mote_core::Uptime;
use mote_core::backoff::Backoff;
use serde::Serialize;

use crate::queue::{GivenUp, Queue, Record};

/// Failures of one report, while the server takes others, after which it is given up.
pub const MAX_TRIES: u8 = 5;

/// How much faster than they are sampled reports are sent while there is a backlog.
pub const CATCH_UP: f64 = 1.6;

/// The longest delay after a failure, for clients that do not report more rarely than that.
const MAX_DELAY_MS: u32 = 60_000;

/// The longest distance between two reports of a backlog. Clients that report more rarely than this ask for
/// their orders more often than they report.
const MAX_DISTANCE_MS: u32 = 300_000;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Acknowledged,
    /// The server will never take it.
    Refused,
    /// The server answered, but cannot take it now.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server did not answer.
    Unreachable,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Deliver this report, then call [`Uplink::delivered`] with it.
    Send(Record),
    /// Nothing before this instant, unless something is queued.
    Wait(Uptime),
}

/// Where all sampled reports are: `sampled = acknowledged + queued + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Reports that were given a number.
    pub sampled: u64,
    /// Reports that the server has.
    pub acknowledged: u64,
    /// Reports that wait or are on their way.
    pub queued: u64,
    /// Reports that were given up.
    pub dropped: Dropped,
}

/// Reports that were given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The queue was full.
    pub overflow: u64,
    /// They waited longer than the settings allow.
    pub expired: u64,
    /// The server refused them for good.
    pub refused: u64,
    /// The server failed on them again and again while it took others.
    pub gave_up: u64,
}

impl Dropped {
    /// Each reason by its name.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("overflow", self.overflow),
            ("expired", self.expired),
            ("refused", self.refused),
            ("gave_up", self.gave_up),
        ]
        .into_iter()
    }

    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.reasons().map(|(_, count)| count).sum()
    }
}

/// The reports of one agent on their way to one server.
#[derive(Debug)]
pub struct Uplink {
    queue: Queue,
    account: Account,
    backoff: Backoff,
    /// Mean time between two samples, in milliseconds.
    gap_ms: u32,
    /// The same while the backlog came together; 0 is unknown.
    backlog_gap_ms: u32,
    hold_until: Uptime,
    /// An outage left a backlog; then sends keep a distance.
    catching_up: bool,
    in_flight: bool,
    busy_in_a_row: u32,
}

impl Uplink {
    /// An uplink with nothing to send. `seed` should differ between clients.
    pub fn new(queue: Queue, seed: u32) -> Self {
        Uplink {
            queue,
            account: Account::default(),
            backoff: Backoff::new(seed),
            gap_ms: 0,
            backlog_gap_ms: 0,
            hold_until: Uptime::from_millis(0),
            catching_up: false,
            in_flight: false,
            busy_in_a_row: 0,
        }
    }

    /// Says how many reports are sampled a second, which sets the pace after an outage.
    pub fn set_rate(&mut self, reports_per_second: f64) {
        let gap_ms = 1000.0 / reports_per_second.max(1e-6);
        self.gap_ms = gap_ms.min(1e9) as u32;
        // New orders may be fewer, but what waits came at the rate of the old ones.
        let known = self.backlog_gap_ms > 0 && !self.queue.is_empty();
        if !known || self.gap_ms < self.backlog_gap_ms {
            self.backlog_gap_ms = self.gap_ms;
        }
    }

    /// New bounds of the queue.
    pub fn set_bounds(&mut self, max_bytes: usize, max_age_ms: u64) {
        self.queue.set_bounds(max_bytes, max_age_ms);
    }

    /// The server may be another one now: it is tried at once.
    pub fn retry_now(&mut self, now: Uptime) {
        self.hold_until = now;
        self.backoff.succeeded();
    }

    /// Queues a report that was sampled.
    pub fn push(&mut self, report: &[u8], now: Uptime) {
        self.account.sampled += 1;
        let given_up = self.queue.push(report, now);
        self.count(given_up);
    }

    /// The next report to send at `now`.
    pub fn next(&mut self, now: Uptime) -> Next {
        if self.in_flight {
            return Next::Wait(Uptime::NEVER);
        }
        if now < self.hold_until && !self.queue.is_empty() {
            return Next::Wait(self.hold_until);
        }
        match self.queue.take(now) {
            Some(record) => {
                self.in_flight = true;
                if self.catching_up {
                    self.hold_until = now.after_millis(u64::from(self.distance_ms()));
                }
                Next::Send(record)
            }
            None => Next::Wait(self.queue.take_at()),
        }
    }

    /// Says how the delivery of a report from [`Uplink::next`] ended.
    pub fn delivered(&mut self, mut record: Record, outcome: Outcome, now: Uptime) {
        self.in_flight = false;
        match outcome {
            Outcome::Acknowledged => {
                self.account.acknowledged += 1;
                self.answered();
                self.queue.recycle(record);
            }
            Outcome::Refused => {
                self.account.dropped.refused += 1;
                self.answered();
                self.queue.recycle(record);
            }
            Outcome::Unreachable => {
                self.hold(now, Duration::ZERO);
                let given_up = self.queue.put_back(record, true, now);
                self.count(given_up);
            }
            Outcome::Busy { retry_after } => {
                self.busy_in_a_row += 1;
                if record.tries == 0 || record.taken_when_failed < self.account.acknowledged {
                    record.tries += 1;
                }
                record.taken_when_failed = self.account.acknowledged;
                if retry_after.is_some() || self.busy_in_a_row > 1 || self.queue.is_empty() {
                    self.hold(now, retry_after.unwrap_or_default());
                }
                if record.tries >= MAX_TRIES {
                    self.account.dropped.gave_up += 1;
                    self.queue.recycle(record);
                } else {
                    let delay_ms = 1000u64 << record.tries;
                    record.not_before = now.after_millis(delay_ms);
                    let given_up = self.queue.put_back(record, false, now);
                    self.count(given_up);
                }
            }
        }
    }

    /// Where all reports are.
    pub fn account(&self) -> Account {
        Account {
            queued: self.queue.len() as u64 + u64::from(self.in_flight),
            ..self.account
        }
    }

    /// What the waiting reports take, in bytes.
    pub fn queue_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Whether the last attempt got an answer.
    pub fn is_healthy(&self) -> bool {
        self.backoff.failures() == 0
    }

    fn answered(&mut self) {
        self.busy_in_a_row = 0;
        self.backoff.succeeded();
        if self.queue.is_empty() {
            self.catching_up = false;
            self.backlog_gap_ms = self.gap_ms;
        }
        if !self.catching_up {
            self.hold_until = Uptime::from_millis(0);
        }
    }

    fn hold(&mut self, now: Uptime, at_least: Duration) {
        let distance_ms = self.distance_ms();
        // One lost request does not hold up a rare report for long, a long outage spreads those who return.
        let floor_ms = distance_ms.min(MAX_DELAY_MS / 2);
        let delay_ms = self
            .backoff
            .failed(floor_ms, MAX_DELAY_MS.max(2 * distance_ms));
        let at_least_ms = u64::try_from(at_least.as_millis()).unwrap_or(u64::MAX);
        self.hold_until = now
            .after_millis(at_least_ms)
            .after_millis(u64::from(delay_ms));
        self.catching_up = true;
    }

    /// The least distance between two sends while there is a backlog.
    fn distance_ms(&self) -> u32 {
        ((f64::from(self.backlog_gap_ms) / CATCH_UP) as u32).min(MAX_DISTANCE_MS)
    }

    fn count(&mut self, given_up: GivenUp) {
        self.account.dropped.overflow += given_up.overflow;
        self.account.dropped.expired += given_up.expired;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn uplink() -> Uplink {
        let mut uplink = Uplink::new(Queue::new(1 << 20, 3600 * SECOND), 7);
        uplink.set_rate(1.0);
        uplink
    }

    fn send(uplink: &mut Uplink, now: Uptime) -> Record {
        match uplink.next(now) {
            Next::Send(record) => record,
            Next::Wait(until) => panic!("nothing to send at {now:?} before {until:?}"),
        }
    }

    fn waits_until(uplink: &mut Uplink, now: Uptime) -> Uptime {
        match uplink.next(now) {
            Next::Wait(until) => until,
            Next::Send(record) => panic!("sends {record:?}"),
        }
    }

    fn balanced(uplink: &Uplink) -> Account {
        let account = uplink.account();
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
        account
    }

    #[test]
    fn reports_of_one_tick_go_out_together() {
        let mut uplink = uplink();
        for report in [b"a", b"b", b"c"] {
            uplink.push(report, at(0));
        }
        for report in [b"a", b"b", b"c"] {
            let record = send(&mut uplink, at(0));
            assert_eq!(record.report, report);
            balanced(&uplink);
            uplink.delivered(record, Outcome::Acknowledged, at(0));
        }
        assert_eq!(waits_until(&mut uplink, at(0)), Uptime::NEVER);
        assert_eq!(balanced(&uplink).acknowledged, 3);
    }

    #[test]
    fn an_unreachable_server_is_left_alone_longer_and_longer() {
        let mut uplink = uplink();
        uplink.push(b"a", at(0));
        let mut now = at(0);
        let mut delays = vec![];
        for _ in 0..12 {
            let record = send(&mut uplink, now);
            assert_eq!(record.report, b"a");
            uplink.delivered(record, Outcome::Unreachable, now);
            let until = waits_until(&mut uplink, now);
            delays.push(until.millis_since(now));
            now = until;
        }
        assert!(
            delays.iter().all(|delay| (625..=60_000).contains(delay)),
            "{delays:?}"
        );
        assert!(
            delays[8..].iter().any(|delay| *delay > 20_000),
            "{delays:?}"
        );
        assert_eq!(balanced(&uplink).queued, 1);
    }

    #[test]
    fn the_backlog_is_sent_at_a_pace() {
        let mut uplink = uplink();
        let mut now = at(0);
        uplink.push(b"a", now);
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Unreachable, now);
        for n in 0..100u8 {
            uplink.push(&[n], now);
        }
        now = waits_until(&mut uplink, now);
        for left in (0..101).rev() {
            let record = send(&mut uplink, now);
            uplink.delivered(record, Outcome::Acknowledged, now);
            if left > 0 {
                let until = waits_until(&mut uplink, now);
                assert_eq!(until.millis_since(now), 625);
                now = until;
            }
        }
        // The backlog is gone, and with it the pace.
        uplink.push(b"x", now);
        uplink.push(b"y", now);
        for _ in 0..2 {
            let record = send(&mut uplink, now);
            uplink.delivered(record, Outcome::Acknowledged, now);
        }
    }

    #[test]
    fn a_backlog_keeps_the_pace_at_which_it_came() {
        let mut uplink = uplink();
        for n in 0..4u8 {
            uplink.push(&[n], at(0));
        }
        let record = send(&mut uplink, at(0));
        uplink.delivered(record, Outcome::Unreachable, at(0));
        // Nothing to monitor any more; then one report an hour.
        uplink.set_rate(0.0);
        uplink.set_rate(1.0 / 3600.0);
        let mut now = waits_until(&mut uplink, at(0));
        for _ in 0..3 {
            let record = send(&mut uplink, now);
            uplink.delivered(record, Outcome::Acknowledged, now);
            let until = waits_until(&mut uplink, now);
            assert_eq!(until.millis_since(now), 625);
            now = until;
        }
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Acknowledged, now);

        // The next backlog comes at the new rate.
        uplink.push(b"x", now);
        uplink.push(b"y", now);
        let mut delays = vec![];
        for outcome in [Outcome::Unreachable, Outcome::Acknowledged] {
            let record = send(&mut uplink, now);
            uplink.delivered(record, outcome, now);
            let until = waits_until(&mut uplink, now);
            delays.push(until.millis_since(now));
            now = until;
        }
        assert_eq!(delays, [30_000, 300_000]);
    }

    #[test]
    fn a_poison_report_is_given_up_and_delays_nobody() {
        let mut uplink = uplink();
        uplink.push(b"poison", at(0));
        let mut failures = 0;
        for second in 0..200 {
            let now = at(second * SECOND);
            uplink.push(b"good", now);
            while let Next::Send(record) = uplink.next(now) {
                let poison = record.report == b"poison";
                failures += u32::from(poison);
                let busy = Outcome::Busy { retry_after: None };
                uplink.delivered(
                    record,
                    if poison { busy } else { Outcome::Acknowledged },
                    now,
                );
            }
            assert!(uplink.account().queued <= 1, "{second}");
        }
        assert_eq!(failures, u32::from(MAX_TRIES));
        let account = balanced(&uplink);
        assert_eq!((account.acknowledged, account.dropped.gave_up), (200, 1));
    }

    #[test]
    fn a_server_that_is_busy_for_all_loses_nothing() {
        let mut uplink = uplink();
        let mut attempts = 0;
        for second in 0..7200 {
            let now = at(second * SECOND);
            uplink.push(b"report", now);
            while let Next::Send(record) = uplink.next(now) {
                attempts += 1;
                uplink.delivered(record, Outcome::Busy { retry_after: None }, now);
            }
        }
        assert!((7200 / 60..7200 / 15).contains(&attempts), "{attempts}");
        let account = balanced(&uplink);
        assert_eq!((account.dropped.gave_up, account.dropped.refused), (0, 0));
    }

    #[test]
    fn retry_after_is_honoured() {
        let mut uplink = uplink();
        uplink.push(b"a", at(0));
        uplink.push(b"b", at(0));
        let record = send(&mut uplink, at(0));
        let retry_after = Some(Duration::from_secs(120));
        uplink.delivered(record, Outcome::Busy { retry_after }, at(0));
        assert!(waits_until(&mut uplink, at(0)) >= at(120 * SECOND));
    }

    #[test]
    fn what_the_server_refuses_is_counted_and_gone() {
        let mut uplink = uplink();
        uplink.push(b"a", at(0));
        let record = send(&mut uplink, at(0));
        uplink.delivered(record, Outcome::Refused, at(0));
        let account = balanced(&uplink);
        assert_eq!((account.sampled, account.dropped.refused), (1, 1));
        assert!(uplink.is_healthy());
    }
}
