//! What to send when: retry, backoff, pace and the account of every report. No I/O, no clock.
//!
//! - A report that was acknowledged, or that the server refuses for good, is done.
//! - A server that cannot be reached, that does not answer, that asks for time, or that fails on everything it is
//!   given, is left alone for a delay that doubles from about 1 s to 60 s, or to 10 min for clients that report
//!   rarely, with jitter.
//! - A report that fails although the server takes others steps behind them, and is given up after
//!   [`MAX_TRIES`] such failures: it may not block its neighbours. Also one that gets no answer, which may be the end
//!   of a server's worker or a wait for the request's timeout each time.
//! - A service whose last report the server failed on steps behind the other services until one succeeds. Once a
//!   report of it was given up, each further failure beside others' success gives up all of it that waits: it may
//!   not fill the queue either.
//! - After an outage the backlog goes out at [`CATCH_UP`] times the rate at which it came, and not faster: clients
//!   that lost their server together must not run it down together.

use std::collections::{BTreeMap, VecDeque};

use mote_core::Uptime;
use mote_core::backoff::Backoff;

use crate::account::Account;
use crate::http::outcome::Outcome;
use crate::queue::{Chore, GivenUp, Queue, Record, Restored, Totals, Whose};

/// Failures of one report, while the server takes others, after which it is given up.
pub const MAX_TRIES: u8 = 5;

/// How much faster than they are sampled reports are sent while there is a backlog.
pub const CATCH_UP: f64 = 1.6;

/// The longest delay after a failure, for clients that do not report more rarely than that.
pub const MAX_DELAY_MS: u32 = 60_000;

/// The pace of a backlog whose reports came at a rate that nobody knows any more is that of reports so far apart.
const IDLE_GAP_MS: u32 = 1600;

/// Services that are known to fail, at most: boards may name as many as they like.
pub const MAX_FAILING: usize = 1024;

/// The longest distance between two reports of a backlog. Clients that report more rarely than this ask for
/// their orders more often than they report.
pub const MAX_DISTANCE_MS: u32 = 300_000;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Deliver this report, then call [`Uplink::delivered`] with it.
    Send(Record),
    /// Nothing before this instant, unless something is queued.
    Wait(Uptime),
}

/// The reports of one agent on their way to one server.
#[derive(Debug)]
pub struct Uplink {
    queue: Queue,
    account: Account,
    backoff: Backoff,
    /// Reports a second, of this agent and of its boards.
    rates: (f64, f64),
    /// Mean time between two of them, in milliseconds.
    gap_ms: u32,
    /// The same while the backlog came together; 0 is unknown.
    backlog_gap_ms: u32,
    hold_until: Uptime,
    /// Services whose last delivery the server failed on.
    failing: BTreeMap<u64, Failing>,
    /// These are held until then.
    failing_until: Uptime,
    /// An outage left a backlog; then sends keep a distance.
    catching_up: bool,
    in_flight: bool,
    /// Reports that this run forgot, and whether that on its way is one of them.
    forgotten: u64,
    forgot_in_flight: bool,
    /// Reports that were given up because of their server, until somebody has kept them elsewhere.
    dead: VecDeque<Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    /// How many reports the server had taken when it failed last on this service.
    taken: u64,
    /// A report was given up since the last one succeeded.
    given_up: bool,
}

impl Uplink {
    /// An uplink with nothing to send. `seed` should differ between clients.
    pub fn new(queue: Queue, seed: u32) -> Self {
        Uplink {
            queue,
            account: Account::default(),
            backoff: Backoff::new(seed),
            rates: (0.0, 0.0),
            gap_ms: 0,
            backlog_gap_ms: 0,
            hold_until: Uptime::from_millis(0),
            failing: BTreeMap::new(),
            failing_until: Uptime::from_millis(0),
            catching_up: false,
            in_flight: false,
            forgotten: 0,
            forgot_in_flight: false,
            dead: VecDeque::new(),
        }
    }

    /// Says how many reports are sampled a second, which sets the pace after an outage.
    pub fn set_rate(&mut self, reports_per_second: f64) {
        self.rates.0 = reports_per_second;
        self.rates_changed();
    }

    /// Says how many reports come from boards a second, which are sent beside this agent's own.
    pub fn set_boards_rate(&mut self, reports_per_second: f64) {
        self.rates.1 = reports_per_second;
        self.rates_changed();
    }

    /// The queue, for its bounds and its disk's state.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, for its bounds.
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// The server may be another one now: it is tried at once.
    pub fn retry_now(&mut self, now: Uptime) {
        self.hold_until = now;
        self.failing_until = now;
        self.failing.clear();
        self.backoff.succeeded();
    }

    /// Queues a report that was sampled for the service in a slot, or by a board.
    pub fn push(&mut self, report: &[u8], whose: Whose<'_>, now: Uptime) {
        self.account.sampled += 1;
        let given_up = self.queue.push(report, whose, now);
        self.count(given_up);
    }

    /// Begins what the queue's disk has to do; see [`Queue::begin`].
    pub fn begin_chore(&mut self, chore: &mut Chore, now: Uptime, unix_ms: u64) {
        let totals = Totals {
            dropped: self.account.dropped,
            ..Totals::default()
        };
        self.queue.begin(chore, totals, now, unix_ms);
    }

    /// Enters what became of it.
    pub fn finish_chore(&mut self, chore: &mut Chore, worked: bool, now: Uptime) {
        let finished = self.queue.finish(chore, worked, now);
        self.count(finished.given_up);
        if let Some(restored) = finished.restored {
            self.restored(&restored);
        }
        self.queue
            .trim(|service| self.failing.contains_key(&service));
    }

    /// Gives up the reports that only memory has, since the agent ends.
    pub fn forget(&mut self) {
        let was_lost = self.queue.flying_is_lost();
        let count = self.queue.forget();
        self.forgot_in_flight |= self.queue.flying_is_lost() && !was_lost;
        self.account.dropped.forgotten += count;
        self.forgotten += count;
    }

    /// How many that were.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The next of the reports that the server will not take, to be kept elsewhere and then given to
    /// [`Uplink::buried`].
    pub fn take_dead(&mut self) -> Option<Record> {
        self.dead.pop_front()
    }

    /// A report of [`Uplink::take_dead`] needs to be kept no more.
    pub fn buried(&mut self, record: Record) {
        self.queue.done(record);
    }

    /// The next report to send at `now`.
    pub fn next(&mut self, now: Uptime) -> Next {
        if self.in_flight {
            return Next::Wait(Uptime::NEVER);
        }
        if now < self.hold_until && !self.queue.is_empty() {
            return Next::Wait(self.hold_until);
        }
        match self.take(now) {
            Some(record) => {
                self.in_flight = true;
                if self.catching_up {
                    self.hold_until = now.after_millis(u64::from(self.distance_ms()));
                }
                Next::Send(record)
            }
            None => Next::Wait(self.ready_at(now)),
        }
    }

    /// Says how the delivery of a report from [`Uplink::next`] ended. Gives whether the report is given up for it.
    pub fn delivered(&mut self, mut record: Record, outcome: Outcome, now: Uptime) -> bool {
        self.in_flight = false;
        if self.queue.landed() {
            // It was given up meanwhile, for want of room on disk or since the agent ends.
            if std::mem::take(&mut self.forgot_in_flight) {
                return false;
            }
            if outcome == Outcome::Acknowledged {
                self.account.dropped.overflow -= 1;
                self.account.acknowledged += 1;
            }
            if matches!(outcome, Outcome::Acknowledged | Outcome::Refused) {
                self.answered(record.service, now);
            } else {
                self.hold_until = self.back_off(now);
            }
            self.queue.done(record);
            return false;
        }
        match outcome {
            Outcome::Acknowledged => {
                self.account.acknowledged += 1;
                self.answered(record.service, now);
                self.queue.done(record);
                false
            }
            Outcome::Refused => {
                self.account.dropped.refused += 1;
                self.answered(record.service, now);
                self.dead.push_back(record);
                true
            }
            Outcome::Unreachable => {
                self.hold_until = self.back_off(now);
                let given_up = self.queue.put_back(record, true, now);
                self.count(given_up);
                false
            }
            Outcome::Unanswered => {
                let is_given_up = self.failed(&mut record);
                self.hold_until = self.back_off(now);
                self.after_failure(record, is_given_up, true, now);
                is_given_up
            }
            Outcome::Busy { retry_after } => {
                let before = self.failing.get(&record.service).copied();
                let others_work = before.is_some_and(|it| it.taken < self.account.acknowledged);
                let is_given_up = self.failed(&mut record);
                if let Some(retry_after) = retry_after {
                    let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                    self.hold_until = self.back_off(now).after_millis(retry_after_ms);
                } else if before.is_some() && !others_work {
                    self.failing_until = self.back_off(now);
                }
                let delay_ms = 1000u64 << record.tries;
                record.not_before = now.after_millis(delay_ms);
                self.after_failure(record, is_given_up, false, now);
                is_given_up
            }
        }
    }

    /// Where all reports are.
    pub fn account(&self) -> Account {
        Account {
            queued: self.queue.len() + u64::from(self.in_flight && !self.queue.flying_is_lost()),
            ..self.account
        }
    }

    /// What the waiting reports take, in bytes.
    pub fn queue_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// The first report that may be sent at `now`, of a service that works if there is one.
    fn take(&mut self, now: Uptime) -> Option<Record> {
        let failing = &self.failing;
        let ready = |it: &Record| it.not_before <= now;
        let working = |it: &Record| ready(it) && !failing.contains_key(&it.service);
        match self.queue.take(now, working) {
            None if now >= self.failing_until => self.queue.take(now, ready),
            taken => taken,
        }
    }

    /// When [`Uplink::take`] has something; [`Uptime::NEVER`] for an empty queue.
    fn ready_at(&self, now: Uptime) -> Uptime {
        let records = self.queue.records(now);
        let instants = records.map(
            |(it, ready_at)| match self.failing.contains_key(&it.service) {
                true => ready_at.max(self.failing_until),
                false => ready_at,
            },
        );
        instants.min().unwrap_or(Uptime::NEVER)
    }

    fn rates_changed(&mut self) {
        let (own, boards) = self.rates;
        self.gap_ms = match own + boards {
            rate if rate > 0.0 => (1000.0 / rate.max(1e-6)).min(1e9) as u32,
            _ => IDLE_GAP_MS,
        };
        // New orders may be fewer, but what waits came at the rate of the old ones.
        let known = self.backlog_gap_ms > 0 && !self.queue.is_empty();
        if !known || self.gap_ms < self.backlog_gap_ms {
            self.backlog_gap_ms = self.gap_ms;
        }
    }

    fn answered(&mut self, service: u64, now: Uptime) {
        self.failing.remove(&service);
        self.failing_until = Uptime::from_millis(0);
        self.backoff.succeeded();
        // Those that wait for another try are no backlog.
        let mut records = self.queue.records(now);
        if self.queue.on_disk_only() == 0 && !records.any(|(it, _)| it.not_before <= now) {
            self.catching_up = false;
            self.backlog_gap_ms = self.gap_ms;
        }
        if !self.catching_up {
            self.hold_until = Uptime::from_millis(0);
        }
    }

    /// Notes that the server failed on a report. Gives whether that report is given up.
    fn failed(&mut self, record: &mut Record) -> bool {
        let taken = self.account.acknowledged;
        if record.tries == 0 || record.taken_when_failed < taken {
            record.tries += 1;
        }
        record.taken_when_failed = taken;
        let before = self.failing.get(&record.service).copied();
        let others_work = before.is_some_and(|it| it.taken < taken);
        let was_given_up = before.is_some_and(|it| it.given_up);
        let all_are_given_up = was_given_up && others_work;
        let is_given_up = all_are_given_up || record.tries >= MAX_TRIES;
        if all_are_given_up {
            let all = self.queue.take_service(record.service);
            self.account.dropped.gave_up += all.len() as u64;
            self.dead.extend(all);
        }
        let failing = Failing {
            taken,
            given_up: was_given_up || is_given_up,
        };
        if self.failing.len() >= MAX_FAILING && before.is_none() {
            // It fails again if it has to.
            self.failing.pop_first();
        }
        self.failing.insert(record.service, failing);
        is_given_up
    }

    fn after_failure(&mut self, record: Record, is_given_up: bool, first: bool, now: Uptime) {
        if is_given_up {
            self.account.dropped.gave_up += 1;
            self.dead.push_back(record);
        } else {
            let given_up = self.queue.put_back(record, first, now);
            self.count(given_up);
        }
    }

    /// Counts a failure in a row and gives the end of the delay after it.
    fn back_off(&mut self, now: Uptime) -> Uptime {
        let distance_ms = self.distance_ms();
        // One lost request does not hold up a rare report for long, a long outage spreads those who return.
        let floor_ms = distance_ms.min(MAX_DELAY_MS / 2);
        let cap_ms = MAX_DELAY_MS.max(2 * distance_ms);
        let delay_ms = self.backoff.failed(floor_ms, cap_ms);
        self.catching_up = true;
        now.after_millis(u64::from(delay_ms))
    }

    /// The least distance between two sends while there is a backlog.
    fn distance_ms(&self) -> u32 {
        ((f64::from(self.backlog_gap_ms) / CATCH_UP) as u32).min(MAX_DISTANCE_MS)
    }

    fn count(&mut self, given_up: GivenUp) {
        self.account.dropped.overflow += given_up.overflow;
        self.account.dropped.expired += given_up.expired;
        self.account.dropped.damaged += given_up.damaged;
    }

    /// Reports of earlier runs join those of this one.
    fn restored(&mut self, restored: &Restored) {
        let Restored {
            queued,
            acknowledged,
            totals,
        } = restored;
        let account = &mut self.account;
        account.sampled += queued + acknowledged + totals.dropped.total();
        account.acknowledged += acknowledged;
        let dropped = &mut account.dropped;
        dropped.overflow += totals.dropped.overflow;
        dropped.expired += totals.dropped.expired;
        dropped.refused += totals.dropped.refused;
        dropped.gave_up += totals.dropped.gave_up;
        dropped.damaged += totals.dropped.damaged;
        dropped.forgotten += totals.dropped.forgotten;
        if *queued > 0 {
            // What waited for the server while no agent ran is a backlog like any other.
            self.catching_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Dropped;

    const SECOND: u64 = 1000;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn of(key: u64) -> Whose<'static> {
        Whose { key, name: "" }
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
            uplink.push(report, of(0), at(0));
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
        uplink.push(b"a", of(0), at(0));
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
        uplink.push(b"a", of(0), now);
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Unreachable, now);
        for n in 0..100u8 {
            uplink.push(&[n], of(0), now);
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
        uplink.push(b"x", of(0), now);
        uplink.push(b"y", of(0), now);
        for _ in 0..2 {
            let record = send(&mut uplink, now);
            uplink.delivered(record, Outcome::Acknowledged, now);
        }
    }

    #[test]
    fn a_backlog_keeps_the_pace_at_which_it_came() {
        let mut uplink = uplink();
        for n in 0..4u8 {
            uplink.push(&[n], of(0), at(0));
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
        uplink.push(b"x", of(0), now);
        uplink.push(b"y", of(0), now);
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
    fn what_boards_report_counts_for_the_pace() {
        let mut uplink = uplink();
        uplink.set_rate(0.1);
        uplink.set_boards_rate(9.9);
        for n in 0..4u8 {
            uplink.push(&[n], of(0), at(0));
        }
        let record = send(&mut uplink, at(0));
        uplink.delivered(record, Outcome::Unreachable, at(0));
        let now = waits_until(&mut uplink, at(0));
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Acknowledged, now);
        // Ten a second in all, and 1.6 times as fast.
        assert_eq!(waits_until(&mut uplink, now).millis_since(now), 62);
    }

    #[test]
    fn a_poison_report_is_given_up_and_delays_nobody() {
        let mut uplink = uplink();
        uplink.push(b"poison", of(0), at(0));
        let mut failures = 0;
        for second in 0..200 {
            let now = at(second * SECOND);
            uplink.push(b"good", of(0), now);
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

    /// Two services, sampled every so many seconds, and a server that fails on the second for an hour.
    fn poison_service(good_s: u64, poison_s: u64) -> (Uplink, u64) {
        let (mut uplink, mut attempts) = (uplink(), 0);
        uplink.set_rate(1.0 / good_s as f64 + 1.0 / poison_s as f64);
        for ms in (0..3_600_000).step_by(100) {
            let now = at(ms);
            if ms % (good_s * SECOND) == 0 {
                uplink.push(b"good", of(0), now);
            }
            if ms % (poison_s * SECOND) == 0 {
                uplink.push(b"poison", of(1), now);
            }
            while let Next::Send(record) = uplink.next(now) {
                let outcome = match record.service {
                    0 => Outcome::Acknowledged,
                    _ => Outcome::Busy { retry_after: None },
                };
                attempts += u64::from(record.service == 1);
                uplink.delivered(record, outcome, now);
            }
            let good = uplink.queue.records(now).filter(|(it, _)| it.service == 0);
            // The next one at a distance, at the latest.
            assert!(good.count() <= 1, "at {ms} ms");
            balanced(&uplink);
        }
        (uplink, attempts)
    }

    #[test]
    fn a_poison_service_neither_delays_others_nor_fills_the_queue() {
        for (good_s, poison_s) in [(1, 1), (10, 1), (1, 10), (60, 5)] {
            let (uplink, attempts) = poison_service(good_s, poison_s);
            let account = uplink.account();
            let sampled = 3600 / poison_s;
            // Its first report takes half a minute and five reports of the other; then all of it goes at each.
            let waits = 5 * good_s.max(30) / poison_s + 5;
            assert!(account.queued <= waits, "{good_s} {poison_s}: {account:?}");
            assert_eq!(account.dropped.total(), account.dropped.gave_up);
            assert!(
                attempts <= 2 * sampled + 100,
                "{good_s} {poison_s}: {attempts}"
            );
        }
    }

    #[test]
    fn reports_that_never_get_an_answer_are_given_up_and_delay_others_little() {
        let mut uplink = uplink();
        uplink.set_rate(2.0);
        let (mut attempts, mut dead) = (0, 0);
        for ms in (0..600_000).step_by(100) {
            let now = at(ms);
            if ms % SECOND == 0 {
                uplink.push(b"good", of(0), now);
                uplink.push(b"deadly", of(1), now);
            }
            while let Next::Send(record) = uplink.next(now) {
                let outcome = match record.service {
                    0 => Outcome::Acknowledged,
                    _ => Outcome::Unanswered,
                };
                attempts += u64::from(record.service == 1);
                uplink.delivered(record, outcome, now);
            }
            while let Some(record) = uplink.take_dead() {
                assert_eq!(record.report, b"deadly");
                dead += 1;
                uplink.buried(record);
            }
            let good = uplink.queue.records(now).filter(|(it, _)| it.service == 0);
            // Held for a second, and for two if none came within that.
            assert!(good.count() <= 4, "at {ms} ms");
        }
        let account = balanced(&uplink);
        assert!(account.queued <= 10, "{account:?}");
        assert_eq!(account.dropped.total(), dead);
        assert_eq!(account.dropped.gave_up, dead);
        assert!((100..1200).contains(&attempts), "{attempts}");
    }

    #[test]
    fn an_only_service_without_an_answer_is_not_given_up() {
        let mut uplink = uplink();
        for ms in (0..600_000).step_by(100) {
            let now = at(ms);
            if ms % SECOND == 0 {
                uplink.push(b"report", of(0), now);
            }
            while let Next::Send(record) = uplink.next(now) {
                uplink.delivered(record, Outcome::Unanswered, now);
            }
        }
        assert_eq!(balanced(&uplink).queued, 600);
    }

    #[test]
    fn a_service_that_works_again_is_taken_again() {
        let (mut uplink, _) = poison_service(1, 1);
        let before = uplink.account();
        for ms in (3_600_000..3_700_000).step_by(100) {
            let now = at(ms);
            if ms % SECOND == 0 {
                uplink.push(b"good", of(0), now);
                uplink.push(b"cured", of(1), now);
            }
            while let Next::Send(record) = uplink.next(now) {
                uplink.delivered(record, Outcome::Acknowledged, now);
            }
        }
        let account = balanced(&uplink);
        assert_eq!(account.dropped, before.dropped);
        assert_eq!(account.queued, 0);
        assert!(uplink.failing.is_empty());
    }

    #[test]
    fn however_many_services_fail_so_many_are_remembered() {
        let mut uplink = uplink();
        for service in 0..2 * MAX_FAILING as u64 {
            let now = at(service * 700_000);
            uplink.push(b"report", of(service), now);
            let record = send(&mut uplink, now);
            assert_eq!(record.service, service);
            uplink.delivered(record, Outcome::Unanswered, now);
            let count = uplink.failing.len();
            assert_eq!(count, MAX_FAILING.min(service as usize + 1));
        }
        balanced(&uplink);
    }

    #[test]
    fn a_server_that_is_busy_for_many_services_is_left_alone() {
        let mut uplink = uplink();
        uplink.set_rate(20.0);
        let mut attempts = 0;
        for second in 0..300 {
            let now = at(second * SECOND);
            for service in 0..20 {
                uplink.push(b"report", of(service), now);
            }
            while let Next::Send(record) = uplink.next(now) {
                attempts += 1;
                uplink.delivered(record, Outcome::Busy { retry_after: None }, now);
            }
        }
        // Each service once, then one report at a time, after longer and longer delays.
        assert!((20 + 5..20 + 30).contains(&attempts), "{attempts}");
        assert_eq!(balanced(&uplink).dropped, Dropped::default());
    }

    #[test]
    fn a_server_that_is_busy_for_all_loses_nothing() {
        let mut uplink = uplink();
        let mut attempts = 0;
        for second in 0..7200 {
            let now = at(second * SECOND);
            uplink.push(b"report", of(0), now);
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
        uplink.push(b"a", of(0), at(0));
        uplink.push(b"b", of(0), at(0));
        let record = send(&mut uplink, at(0));
        let retry_after = Some(Duration::from_secs(120));
        uplink.delivered(record, Outcome::Busy { retry_after }, at(0));
        assert!(waits_until(&mut uplink, at(0)) >= at(120 * SECOND));
    }

    #[test]
    fn another_server_does_not_inherit_the_delay_of_a_busy_one() {
        let mut uplink = uplink();
        for report in [b"a", b"b", b"c", b"d"] {
            uplink.push(report, of(0), at(0));
        }
        let fail = |uplink: &mut Uplink| {
            let record = send(uplink, at(0));
            uplink.delivered(record, Outcome::Busy { retry_after: None }, at(0));
        };
        fail(&mut uplink);
        fail(&mut uplink);
        assert!(waits_until(&mut uplink, at(0)) >= at(625));
        uplink.retry_now(at(0));
        fail(&mut uplink);
        // One failure says nothing of the next report.
        assert_eq!(send(&mut uplink, at(625)).report, b"d");
    }

    #[test]
    fn what_the_server_refuses_is_counted_and_gone() {
        let mut uplink = uplink();
        uplink.push(b"a", of(0), at(0));
        let record = send(&mut uplink, at(0));
        uplink.delivered(record, Outcome::Refused, at(0));
        let account = balanced(&uplink);
        assert_eq!((account.sampled, account.dropped.refused), (1, 1));
    }
}
