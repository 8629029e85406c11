//! What to send when, and the account of every report. No I/O, no clock.
//!
//! - What is fresh goes first: the newest report of each service, at once if it was sampled after an outage. Behind it
//!   those follow that were the newest when the outage ended, then the others, oldest first, so that all together are at
//!   most [`CATCH_UP`] times as many as are sampled: clients that lost their server together must not run it down
//!   together.
//! - A server that cannot be reached, that asks for time, or that fails on many services, is left alone for a delay that
//!   doubles from about 1 s to 60 s, or to 10 min for clients that report rarely, with jitter. The first report that it
//!   takes makes all services due.
//! - A service that the server fails on alone steps behind the others; see `failing.rs`.
//! - What the server refuses for good is done. What it fails on again and again while it takes others is given up: after
//!   [`Uplink::set_attempts`] failures that may be the report's, after [`WAY_TRIES`] that are those of the way there.
//! - Once a report of a service was given up as the report's, each further failure beside others' success gives up all of
//!   it that waits: it may not fill the queue either.

use std::collections::VecDeque;
use std::time::Duration;

use mote_core::Uptime;

use super::failing::FailingServices;
use super::pace::Pace;
use crate::account::Account;
use crate::http::outcome::Outcome;
use crate::queue::{Chore, GivenUp, Landed, Queue, Record, Restored, Totals, Whose};

pub use super::failing::MAX_FAILING;
pub use super::pace::{CATCH_UP, MAX_DELAY_MS, MAX_DISTANCE_MS};

pub mod together;
mod verdict;

/// A report is given up after this many failures that may be its own while the server takes others, unless the
/// settings say otherwise.
pub const ATTEMPTS: u8 = 5;

/// The same for failures of the way: a lost connection, no answer, or the answer of a server in between.
pub const WAY_TRIES: u8 = 50;

/// The same for a refusal that may hold for all reports.
pub const DOUBTFUL_TRIES: u8 = 2;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Deliver this report, then call [`Uplink::delivered`] with it.
    Send(Record),
    /// Nothing to do before this instant, unless something is queued.
    Wait(Uptime),
}

/// The reports of one agent on their way to one server.
#[derive(Debug)]
pub struct Uplink {
    queue: Queue,
    account: Account,
    pace: Pace,
    failing: FailingServices,
    attempts: u8,
    hold_until: Uptime,
    /// The server has taken nothing since it was left alone.
    is_out: bool,
    /// When what is on its way was sent, and how many reports of it are not back.
    in_flight: Option<Uptime>,
    flying: u64,
    /// The memory of a request with many.
    batch: Vec<Record>,
    /// The report that failed last, if one failure is enough to give it up once the next one is taken.
    spent: Option<u64>,
    /// How many reports this run forgot.
    forgotten: u64,
    /// Dead letters that are not kept in the file yet.
    dead: VecDeque<Record>,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug)]
enum Blame {
    /// Perhaps the report's: it has this many tries while others are taken.
    Report { attempts: u8 },
    /// The way's or the server's.
    Way { retry_after: Option<Duration> },
}

impl Uplink {
    /// Begins with nothing to send. `seed` should differ between clients.
    pub fn new(queue: Queue, seed: u32) -> Self {
        Uplink {
            queue,
            account: Account::default(),
            pace: Pace::new(seed),
            failing: FailingServices::new(),
            attempts: ATTEMPTS,
            hold_until: Uptime::from_millis(0),
            is_out: false,
            in_flight: None,
            flying: 0,
            batch: Vec::new(),
            spent: None,
            forgotten: 0,
            dead: VecDeque::new(),
        }
    }

    /// Sets how many reports are sampled a second, which is the pace after an outage.
    pub fn set_rate(&mut self, reports_per_second: f64) {
        let is_idle = self.queue.is_empty();
        self.pace.set_rate(reports_per_second, is_idle);
    }

    /// Sets how many reports a second come from boards, beside this agent's own.
    pub fn set_boards_rate(&mut self, reports_per_second: f64) {
        let is_idle = self.queue.is_empty();
        self.pace.set_boards_rate(reports_per_second, is_idle);
    }

    /// Sets how often a report is tried that the server fails on while it takes others.
    pub fn set_attempts(&mut self, attempts: u8) {
        self.attempts = attempts.max(1);
    }

    /// The queue, for its bounds and its disk's state.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, for its bounds.
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// The server may have changed, so try it at once.
    pub fn retry_now(&mut self, now: Uptime) {
        self.hold_until = now;
        self.failing.clear();
        self.pace.retry_now(now);
        self.spent = None;
    }

    /// Queues a report that was sampled for a service, of this agent or of a board.
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

    /// Takes its result.
    pub fn finish_chore(&mut self, chore: &mut Chore, worked: bool, now: Uptime) {
        let finished = self.queue.finish(chore, worked, now);
        self.count(finished.given_up);
        if let Some(restored) = finished.restored {
            self.restored(&restored);
        }
        let failing = &self.failing;
        self.queue.trim(|service| failing.is_held(service));
    }

    /// Gives up the reports that only memory has, since the agent ends.
    pub fn forget(&mut self) {
        let count = self.queue.forget();
        self.account.dropped.forgotten += count;
        self.forgotten += count;
    }

    /// How many that were.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The next dead letter. Keep it, then call [`Uplink::buried`].
    pub fn take_dead(&mut self) -> Option<Record> {
        self.dead.pop_front()
    }

    /// Notes that a report of [`Uplink::take_dead`] is kept.
    pub fn buried(&mut self, record: Record) {
        self.queue.done(record);
    }

    /// The next report to send at `now`.
    pub fn next(&mut self, now: Uptime) -> Next {
        if self.in_flight.is_some() {
            return Next::Wait(Uptime::NEVER);
        }
        if now < self.hold_until && !self.queue.is_empty() {
            return Next::Wait(self.hold_until);
        }
        match self.take(now) {
            Some(record) => {
                self.in_flight = Some(now);
                self.flying = 1;
                Next::Send(record)
            }
            None => Next::Wait(self.ready_at(now)),
        }
    }

    /// Takes how the delivery of a report from [`Uplink::next`] ended. Returns whether reports are given up.
    pub fn delivered(&mut self, record: Record, outcome: Outcome, now: Uptime) -> bool {
        let sent = self.in_flight.take().unwrap_or(now);
        self.flying = 0;
        self.settle(record, outcome, sent, now)
    }

    fn settle(&mut self, mut record: Record, outcome: Outcome, sent: Uptime, now: Uptime) -> bool {
        let took_ms = now.millis_since(sent);
        let landed = self.queue.landed(&mut record);
        record.is_alone = false;
        if landed == Landed::Forgotten {
            return false;
        }
        if landed == Landed::Lost {
            if outcome == Outcome::Acknowledged {
                self.account.dropped.overflow -= 1;
                self.account.acknowledged += 1;
            }
            match outcome {
                Outcome::Acknowledged => return self.took(record, sent, now),
                Outcome::Refused => self.refused(&record, sent, now),
                _ => self.hold(now, 0),
            }
            self.queue.done(record);
            return false;
        }
        match outcome {
            Outcome::Acknowledged => {
                self.account.acknowledged += 1;
                self.took(record, sent, now)
            }
            Outcome::Refused => {
                self.account.dropped.refused += 1;
                self.refused(&record, sent, now);
                self.dead.push_back(record);
                true
            }
            Outcome::Unreachable => {
                self.hold(now, 0);
                self.put_back(record, now);
                false
            }
            Outcome::Doubtful => {
                let attempts = DOUBTFUL_TRIES;
                self.failed(record, outcome, Blame::Report { attempts }, took_ms, now)
            }
            Outcome::Failed => {
                let attempts = self.attempts;
                self.failed(record, outcome, Blame::Report { attempts }, took_ms, now)
            }
            Outcome::Busy { retry_after } => {
                self.failed(record, outcome, Blame::Way { retry_after }, took_ms, now)
            }
            Outcome::Unanswered => {
                let retry_after = None;
                self.failed(record, outcome, Blame::Way { retry_after }, took_ms, now)
            }
        }
    }

    /// Where all reports are.
    pub fn account(&self) -> Account {
        let flying = self.flying.saturating_sub(self.queue.flying_gone());
        Account {
            queued: self.queue.len() + flying,
            ..self.account
        }
    }

    /// What the waiting reports take, in bytes.
    pub fn queue_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// The first report that may be sent at `now`: what is fresh, then what fails and is due, then the backlog.
    fn take(&mut self, now: Uptime) -> Option<Record> {
        let failing = &self.failing;
        let is_catching_up = self.pace.is_catching_up;
        let is_ready = |it: &Record| it.not_before <= now;
        let is_free = |it: &Record| is_ready(it) && !failing.is_held(it.service);
        let is_first = |it: &Record| it.is_fresh && !it.is_late;
        let first = |it: &Record| is_free(it) && (is_first(it) || !is_catching_up);
        let order = |it: &Record| if is_catching_up { it.since() } else { 0 };
        if let Some(record) = self.queue.take_by(now, first, order) {
            return Some(record);
        }
        let is_due = |it: &Record| failing.due_at(it.service).is_some_and(|at| at <= now);
        let due = self.queue.records(now);
        let due = due.filter(|(it, ready_at)| *ready_at <= now && is_due(it));
        if let Some((_, service)) = due
            .map(|(it, _)| (failing.failure(it.service), it.service))
            .min()
        {
            // For a service that fails alone, the report that failed before is tried again: it shows whether the
            // service still fails, and its tries run out.
            let is_alone = failing.is_alone(service);
            let is_its = |it: &Record| it.service == service && is_ready(it);
            let was_tried = |it: &Record| it.tries > 0 || it.way_tries > 0;
            let tried = |it: &Record| is_alone && is_its(it) && was_tried(it);
            let fresh = |it: &Record| is_its(it) && it.is_fresh;
            if let Some(record) = self.queue.take(now, tried) {
                return Some(record);
            }
            if let Some(record) = self.queue.take(now, fresh) {
                return Some(record);
            }
            return self.queue.take(now, is_its);
        }
        if !is_catching_up || self.pace.backlog_at > now {
            return None;
        }
        let fresh = |it: &Record| is_free(it) && it.is_fresh;
        match self.queue.take(now, fresh) {
            None => self.queue.take(now, is_free),
            fresh => fresh,
        }
    }

    /// When [`Uplink::take`] has something; [`Uptime::NEVER`] for an empty queue.
    fn ready_at(&self, now: Uptime) -> Uptime {
        let records = self.queue.records(now);
        let instants = records.map(|(it, ready_at)| match self.failing.due_at(it.service) {
            Some(due_at) => ready_at.max(due_at),
            None if it.is_fresh && !it.is_late => ready_at,
            None if self.pace.is_catching_up => ready_at.max(self.pace.backlog_at),
            None => ready_at,
        });
        instants.min().unwrap_or(Uptime::NEVER)
    }

    fn put_back(&mut self, record: Record, now: Uptime) {
        let given_up = self.queue.put_back(record, now);
        self.count(given_up);
    }

    fn count(&mut self, given_up: GivenUp) {
        self.account.dropped.overflow += given_up.overflow;
        self.account.dropped.expired += given_up.expired;
        self.account.dropped.damaged += given_up.damaged;
    }

    /// Adds the reports of earlier runs.
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
            // What waited while no agent ran is a backlog like any other.
            self.pace.is_catching_up = true;
        }
    }
}

#[cfg(test)]
mod tests;
