//! What the disk is to do, and what it has done of it.

use std::io;

use super::totals::Totals;
use crate::ranges::Ranges;

/// Larger buffers are given back to the system, in bytes.
const MAX_SPARE_BYTES: usize = 64 << 10;

/// How the queue tells time: milliseconds that only go on, also while no agent runs.
///
/// While one kernel runs, they are its uptime plus a constant. After a reboot the constant is set by the wall
/// clock, the only one that went on meanwhile. Setting the wall clock later changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueClock {
    /// Linux's id of its run.
    pub kernel: String,
    /// The queue's clock minus the uptime, in milliseconds.
    pub ahead_ms: u64,
}

/// What is found on the disk when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number that the next report gets.
    pub next: u64,
    /// The lowest number that may not be done.
    pub first: u64,
    /// Reports that are not done.
    pub undone: u64,
    /// What became of earlier ones.
    pub totals: Totals,
    /// The queue's clock.
    pub clock: QueueClock,
}

/// What the disk is to do, and what it has done of it.
#[derive(Debug, Default)]
pub struct Chore {
    /// Numbers that are done, to be noted on disk. What is written is removed here.
    pub done: Ranges,
    /// What became of all reports so far.
    pub totals: Totals,
    /// The number that the next report gets, after those of this chore.
    pub next: u64,
    /// Reports to be appended: number, time, and where it ends in `reports`.
    pub entries: Vec<(u64, u64, usize)>,
    /// Their bytes.
    pub reports: Vec<u8>,
    /// How many of them have been appended.
    pub stored: usize,
    /// The files may take this many bytes in all.
    pub max_bytes: u64,
    /// Whether what was appended has to survive a loss of power from now on.
    pub sync: bool,
    /// Whether what is appended is to survive a loss of power at all.
    pub outlives_power: bool,
    /// Reports to be read.
    pub wanted: Option<Wanted>,
    /// All numbers below were given up to make room.
    pub lost_below: u64,
    /// How many of them were not done.
    pub lost: u64,
    /// The files with this number and those after it were removed.
    pub gone_from: Option<u64>,
    /// Numbers that are missing on disk.
    pub damaged: Ranges,
    /// What was read.
    pub found: Vec<StoredReport>,
    /// Why some could not be read, though all else may have worked.
    pub unread: Option<DiskError>,
    /// Reports on disk that are not done.
    pub undone: u64,
    /// What the files take, in bytes.
    pub bytes: u64,
    /// For opening: the clock to use if the disk knows none, and the uptime.
    pub clock: QueueClock,
    /// The uptime when the disk is opened, in milliseconds.
    pub uptime_ms: u64,
    /// The disk was opened.
    pub opened: Option<Found>,
    /// Reports to be numbered: number, time, place.
    pub order: Vec<(u64, u64, usize)>,
}

/// Which reports to read.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Read from this number on. Afterwards: what was read ended before it.
    pub from: u64,
    /// Afterwards: from this number on some could not be read.
    pub left: Option<u64>,
    /// Stop after this many bytes.
    pub bytes: usize,
    /// Numbers that are in memory.
    pub known: Ranges,
}

/// A report that was read.
#[derive(Debug)]
pub struct StoredReport {
    /// Its number.
    pub number: u64,
    /// When it was queued, by the queue's clock.
    pub at_ms: u64,
    /// The report.
    pub report: Vec<u8>,
}

/// A call on the storage that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {cause}")]
pub struct DiskError {
    /// What failed.
    pub what: &'static str,
    /// The system's error.
    pub cause: io::Error,
}

impl DiskError {
    /// Whether this one file can take no more.
    pub fn is_file_too_large(&self) -> bool {
        self.cause.kind() == io::ErrorKind::FileTooLarge
    }

    /// Whether there is no room.
    pub fn is_no_room(&self) -> bool {
        matches!(
            self.cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl Chore {
    /// Empties it and keeps its memory.
    pub fn reset(&mut self) {
        let Chore {
            mut done,
            mut entries,
            mut reports,
            mut found,
            mut order,
            ..
        } = std::mem::take(self);
        done.clear();
        entries.clear();
        reports.clear();
        found.clear();
        order.clear();
        if reports.capacity() > MAX_SPARE_BYTES {
            reports = Vec::new();
        }
        *self = Chore {
            done,
            entries,
            reports,
            found,
            order,
            ..Chore::default()
        };
    }

    /// The bytes of a report that is to be appended.
    pub fn report(&self, index: usize) -> &[u8] {
        let end_of = |index: usize| self.entries.get(index).map_or(0, |it| it.2);
        let start = index.checked_sub(1).map_or(0, end_of);
        self.reports.get(start..end_of(index)).unwrap_or_default()
    }
}
