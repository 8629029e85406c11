//! A report that waits, and what becomes of reports.

use mote_core::Uptime;

use super::totals::Totals;

/// One report that waits for its delivery.
#[derive(Debug)]
pub struct Record {
    /// The encoded report.
    pub report: Vec<u8>,
    /// Whose it is: [`Whose::key`](super::key::Whose).
    pub service: u64,
    /// The name of its service, for people.
    pub service_name: String,
    /// Not to be sent before this instant.
    pub not_before: Uptime,
    /// It is the newest of its service.
    pub is_fresh: bool,
    /// It was so when an outage ended.
    pub is_late: bool,
    /// Deliveries that failed, perhaps because of the report, although the server took others.
    pub tries: u8,
    /// Those that failed because of the way to the server.
    pub way_tries: u8,
    /// It was in a request with others that did not say what became of it: the next one brings nothing else.
    pub is_alone: bool,
    /// How many reports the server had taken when this one failed last.
    pub taken_when_failed: u64,
    /// When it was queued, by the queue's clock.
    pub(super) queued_ms: u64,
    /// Its number on disk, once a write was tried.
    pub(super) number: Option<u64>,
    /// It is on disk.
    pub(super) stored: bool,
    /// A neighbour is of another age than it should be.
    pub(super) misplaced: bool,
    /// How many came to memory before it.
    pub(super) nth: u64,
    /// Of a fresh one: the same of the first of its service that it took the place of.
    pub(super) since: u64,
}

impl Record {
    /// Tells it from all others that are in memory.
    pub fn id(&self) -> u64 {
        self.nth
    }

    /// Tells since when the service of a fresh report waits: what comes so fast that not all can be sent goes round.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The order in which reports came: those with a number first.
    pub(super) fn turn(&self) -> (u64, u64) {
        (self.number.unwrap_or(u64::MAX), self.nth)
    }
}

/// How many reports a call gave up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// No room for them.
    pub overflow: u64,
    /// They waited too long.
    pub expired: u64,
    /// They are not to be found on disk.
    pub damaged: u64,
}

/// What a disk held when it was opened, and what became of earlier reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Reports that wait.
    pub queued: u64,
    /// Reports of earlier runs that the server has.
    pub acknowledged: u64,
    /// What became of the others.
    pub totals: Totals,
}

/// What a finished chore showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Reports that were given up.
    pub given_up: GivenUp,
    /// The disk was opened.
    pub restored: Option<Restored>,
}
