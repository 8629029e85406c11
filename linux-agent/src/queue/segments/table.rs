//! The segments that there are.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::queue::chore::{Clock, DiskError};
use crate::queue::ranges::Ranges;
use crate::queue::totals::Totals;

/// A segment that is longer gets no more reports, in bytes, unless the queue is small.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 20;

/// A queue has room for this many segments at least.
pub const MIN_SEGMENTS: u64 = 16;

/// A segment has no numbers that are so much higher than its first. Numbers are used up while the disk is out of
/// order, but not so many.
pub const REACH: u64 = 1 << 32;

/// What a line has beside its report at most: two numbers, two spaces, the seal, a newline after a torn line.
pub const LINE_OVERHEAD: usize = 64;

/// What the head of a segment has at most.
pub const HEAD_OVERHEAD: usize = 512;

/// So many ranges of reports that are done with are read of a segment: more than it has room for, since reports lie
/// between them. Those beyond are not known to be done, and are sent again.
pub const MAX_DONE_RANGES: usize = MAX_SEGMENT_BYTES as usize / LINE_OVERHEAD;

/// The reports on a storage.
#[derive(Debug)]
pub struct Segments<S> {
    pub storage: S,
    pub clock: Clock,
    /// In the order of their numbers; there is always one, which is the one that is written.
    pub segments: VecDeque<Segment>,
    /// Files with the name of a segment and nothing whole in them, each with its bytes. A kill in the midst of a first
    /// write leaves one.
    pub strays: Vec<(u64, u64)>,
    /// The numbers of files that are no segments of ours, though their names say so.
    pub others: Vec<u64>,
    /// The number after that of the last report.
    pub next: u64,
    /// Those before were to be written by an earlier chore, and may be done since. A segment never begins with one of
    /// them: what is done of it is noted beside the one before.
    pub untried: u64,
    /// The totals that the files of the last segment tell.
    pub told: Totals,
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
    /// What was written last may lack its end.
    pub torn: bool,
    pub done_torn: bool,
    pub synced: bool,
    /// Reading it failed. It is left alone until the next start.
    pub unreadable: bool,
}

/// Where reading goes on.
#[derive(Debug)]
pub struct Cursor {
    pub segment: u64,
    pub offset: u64,
    /// The lowest number that has not been met.
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
    /// One that is to be written, behind whatever its file holds already.
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
            // Whoever wrote it may have ended before.
            synced: bytes == 0,
            unreadable: false,
        }
    }
}

/// The error of a call that could not do `what`.
pub fn failed(what: &'static str) -> impl Fn(io::Error) -> DiskError {
    move |cause| DiskError { what, cause }
}
