//! The segments that there are.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::queue::chore::{DiskError, QueueClock};
use crate::queue::totals::Totals;
use crate::ranges::Ranges;

/// A segment that is longer gets no more reports, in bytes, unless the queue is small.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 20;

/// A queue has room for this many segments at least.
pub const MIN_SEGMENTS: u64 = 16;

/// All numbers of a segment are less than this above its first. Numbers are used up while the disk is out of order,
/// but never so many.
pub const REACH: u64 = 1 << 32;

/// The most that a line has beside its report: two numbers, two spaces, the seal, a newline after a torn line.
pub const LINE_OVERHEAD: usize = 64;

/// The longest head of a segment.
pub const HEAD_OVERHEAD: usize = 512;

/// At most this many ranges of done reports are read of a segment. It has room for fewer, since reports lie between
/// them. The reports of further ranges are sent again.
pub const MAX_DONE_RANGES: usize = MAX_SEGMENT_BYTES as usize / LINE_OVERHEAD;

/// The reports on a storage.
#[derive(Debug)]
pub struct Segments<S> {
    pub storage: S,
    pub clock: QueueClock,
    /// In the order of their numbers. There is always one; the last is the one that is written.
    pub segments: VecDeque<Segment>,
    /// Files with the name of a segment and no whole line, with their sizes. A kill during a first write leaves
    /// one.
    pub strays: Vec<(u64, u64)>,
    /// The numbers of files that have the name of a segment but are none.
    pub others: Vec<u64>,
    /// The number after that of the last report.
    pub next: u64,
    /// Lower numbers were tried by an earlier chore, and may be done since. A segment never begins with one of
    /// them: it would be noted as done beside the segment before.
    pub untried: u64,
    /// The totals that are noted in the last segment's files.
    pub told: Totals,
    /// The totals of when all that was done was noted as done.
    pub noted: Totals,
    pub cursor: Option<Cursor>,
    pub scratch: Vec<u8>,
}

#[derive(Debug)]
pub struct Segment {
    pub first: u64,
    pub bytes: u64,
    pub done_bytes: u64,
    /// Numbers that are not done, whether they can be read or not.
    pub undone: u64,
    /// The head has been written.
    pub has_head: bool,
    /// The last write may be incomplete.
    pub torn: bool,
    pub done_torn: bool,
    pub synced: bool,
}

/// Where reading goes on.
#[derive(Debug)]
pub struct Cursor {
    pub segment: u64,
    pub offset: u64,
    /// The lowest number that was not read yet.
    pub expected: u64,
    pub done: Ranges,
}

impl<S> Segments<S> {
    /// The numbers of a segment, from the first to the one after the last.
    pub fn numbers(&self, index: usize) -> Range<u64> {
        let first = self.segments.get(index).map_or(self.next, |it| it.first);
        let end = self
            .segments
            .get(index + 1)
            .map_or(self.next, |it| it.first);
        first..end.max(first)
    }

    pub fn first(&self) -> u64 {
        self.segments.front().map_or(0, |it| it.first)
    }

    pub fn undone(&self) -> u64 {
        self.segments.iter().map(|it| it.undone).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|it| it.bytes + it.done_bytes)
            .sum()
    }
}

impl Segment {
    /// A segment that is to be written, behind whatever its file holds already.
    pub fn new(first: u64, strays: &[(u64, u64)]) -> Self {
        let stray = strays.iter().find(|(number, _)| *number == first);
        let bytes = stray.map_or(0, |(_, bytes)| *bytes);
        Segment {
            has_head: false,
            torn: bytes > 0,
            ..Segment::found(first, bytes)
        }
    }

    pub fn found(first: u64, bytes: u64) -> Self {
        Segment {
            first,
            bytes,
            done_bytes: 0,
            undone: 0,
            has_head: true,
            torn: false,
            done_torn: false,
            // The run that wrote it may have ended before syncing.
            synced: bytes == 0,
        }
    }
}

/// The error of a call that could not do `what`.
pub fn failed(what: &'static str) -> impl Fn(io::Error) -> DiskError {
    move |cause| DiskError { what, cause }
}
