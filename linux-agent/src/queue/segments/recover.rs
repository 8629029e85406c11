//! Opening the disk, whatever state it is in.

use std::collections::VecDeque;
use std::io;

use super::table::{LINE_OVERHEAD, REACH, Segment, Segments, failed};
use crate::queue::chore::{DiskError, Found, QueueClock};
use crate::queue::line::{self, Line};
use crate::queue::line_reader::Lines;
use crate::queue::storage::{FileName, Storage};
use crate::queue::totals::Totals;
use crate::ranges::Ranges;

/// A report may be at most this much later than the one before and the clock, since none waits longer.
const YEAR_MS: u64 = 366 * 24 * 3_600_000;

/// The first report may be at most this much ahead of the clock, which may have lost its time.
const CENTURY_MS: u64 = 100 * YEAR_MS;

/// Only this many bytes of each segment are read when the disk is opened, since there may be many segments.
const BEGINNING_BYTES: u64 = 1024;

impl<S: Storage> Segments<S> {
    /// Opens the reports in `storage`, no matter what state they are in. `clock` counts if the files know none.
    ///
    /// What cannot be read is an error, unless the caller is `tolerant`: then it counts as what it may be at most.
    pub fn open(
        mut storage: S,
        clock: QueueClock,
        uptime_ms: u64,
        tolerant: bool,
    ) -> Result<(Self, Found), DiskError> {
        let mut unread = Ok(());
        let mut files = storage.list().map_err(failed("listing the folder"))?;
        files.sort_unstable();
        let numbers = files.iter().map(|(name, _)| match name {
            FileName::Segment(first) | FileName::Done(first) => *first,
        });
        let highest = numbers.max().unwrap_or(0);
        let (mut segments, mut strays, mut others) = (VecDeque::new(), Vec::new(), Vec::new());
        for (name, bytes) in &files {
            let FileName::Segment(first) = name else {
                continue;
            };
            let (beginning, result) = beginning(&mut storage, *first, *bytes);
            unread = unread.and(result);
            match beginning {
                Beginning::Right => segments.push_back(Segment::found(*first, *bytes)),
                Beginning::None => strays.push((*first, *bytes)),
                Beginning::Wrong => others.push(*first),
            }
        }
        if segments.is_empty() {
            // The place of a segment of which only the note is left.
            let done = files.iter().filter_map(|(name, _)| match name {
                FileName::Done(first) => Some(*first),
                FileName::Segment(_) => None,
            });
            let mut first = done.max().unwrap_or(0);
            while others.contains(&first) {
                first += 1;
            }
            segments.push_back(Segment::new(first, &strays));
        }
        let mut log = Segments {
            storage,
            clock,
            segments,
            strays,
            others,
            next: 0,
            untried: 0,
            told: Totals::default(),
            noted: Totals::default(),
            cursor: None,
            scratch: Vec::new(),
        };
        let (last_ms, cut, mut totals, result) = log.read_end(uptime_ms);
        unread = unread.and(result);
        let mut orphans = Vec::new();
        let mut done_without = Ranges::default();
        for (name, bytes) in files {
            let FileName::Done(first) = name else {
                continue;
            };
            match log.segments.binary_search_by_key(&first, |it| it.first) {
                Ok(index) => unread = unread.and(log.read_done_of(index, bytes, &mut totals)),
                Err(_) => {
                    let (done, result) = log.read_done(first, bytes, &mut totals);
                    unread = unread.and(result);
                    for range in done.iter() {
                        done_without.insert(range);
                    }
                    orphans.push(name);
                }
            }
        }
        // A cut report that was found at an earlier start is done.
        if let (Some(number), Some(last)) =
            (cut.filter(|it| *it >= log.next), log.segments.back_mut())
        {
            last.undone += number + 1 - log.next;
            log.next = number + 1;
        }
        match unread.map_err(failed("reading")) {
            Err(error) if !tolerant => return Err(error),
            // What is not known to be done may have numbers that would be given again: those of a new segment are its own.
            Err(_) => {
                let mut first = log.next.max(highest + 1);
                while !log.can_begin(first) {
                    first += 1;
                }
                if let Some(last) = log.segments.back_mut() {
                    last.undone += first - log.next;
                }
                log.next = first;
                log.rotate(first);
            }
            Ok(()) => {}
        }
        // The clock goes on from the last report, no matter what the wall clock says.
        let behind = last_ms.saturating_sub(uptime_ms.saturating_add(log.clock.ahead_ms));
        log.clock.ahead_ms = log.clock.ahead_ms.saturating_add(behind);
        let first = log.first();
        // Before a segment is removed, its removal is noted.
        if let Some(below) = totals.below.filter(|it| *it < first) {
            let missing = first - below - done_without.count_within(below..first);
            totals.dropped.damaged = totals.dropped.damaged.saturating_add(missing);
        }
        totals.below = totals.below.map(|it| it.max(first));
        log.noted = totals;
        let found = Found {
            next: log.next,
            first,
            undone: log.undone(),
            totals,
            clock: log.clock.clone(),
        };
        // Notes whose segment is gone are removed once their contents are written elsewhere. If that fails, they
        // are there at the next start too.
        if !orphans.is_empty() && log.tell(totals).is_ok() {
            for name in orphans {
                let _ = log.storage.remove(name);
            }
        }
        Ok((log, found))
    }

    fn read_done_of(&mut self, index: usize, bytes: u64, totals: &mut Totals) -> io::Result<()> {
        let Some(first) = self.segments.get(index).map(|it| it.first) else {
            return Ok(());
        };
        let is_torn = !self.ends_with_newline(FileName::Done(first), bytes);
        let mut told = Totals::default();
        let (done, result) = self.read_done(first, bytes, &mut told);
        if index + 1 == self.segments.len() {
            // A report that could not be written may still be done, and then its number is used.
            self.next = self.next.max(done.end());
        }
        let undone = self.numbers(index);
        let undone = undone.end - undone.start - done.count_within(undone.clone());
        totals.raise(&told);
        if index + 1 == self.segments.len() {
            self.told.raise(&told);
        }
        if let Some(segment) = self.segments.get_mut(index) {
            segment.done_bytes = bytes;
            segment.done_torn = is_torn;
            segment.undone = undone;
        }
        result
    }

    /// Finds the end of the last segment: the next number, the clock and the totals. Returns the time of the last
    /// report, the number of one that was cut, and the totals in the heads.
    fn read_end(&mut self, uptime_ms: u64) -> (u64, Option<u64>, Totals, io::Result<()>) {
        let now_ms = uptime_ms.saturating_add(self.clock.ahead_ms);
        let (mut last_ms, mut next, mut totals) = (0, 0, Totals::default());
        let mut cut = None;
        let mut unread = Ok(());
        let mut clock = None;
        // A segment that was cut at its beginning has no head.
        for index in (0..self.segments.len()).rev() {
            let Some(segment) = self.segments.get(index) else {
                break;
            };
            let (segment_first, bytes) = (segment.first, segment.bytes);
            let name = FileName::Segment(segment_first);
            let is_last = index + 1 == self.segments.len();
            next = next.max(segment_first);
            let mut lines = Lines::new(name, 0, bytes);
            let numbers = segment_first..segment_first + REACH;
            let mut has_head = false;
            // The report of the highest number and its time.
            let mut newest = None;
            loop {
                match lines.next(&mut self.storage) {
                    Ok(Some(text)) => match line::read(text) {
                        Some(Line::Report { number, at_ms, .. }) => {
                            if is_last && numbers.contains(&number) {
                                next = next.max(number + 1);
                            }
                            let (highest, latest_ms) = match newest {
                                Some((highest, ms)) => (highest, now_ms.max(ms) + YEAR_MS),
                                None => (0, now_ms + CENTURY_MS),
                            };
                            if number >= highest && at_ms <= latest_ms {
                                newest = Some((number, at_ms));
                            }
                        }
                        Some(Line::Head {
                            kernel,
                            ahead_ms,
                            totals: told,
                        }) => {
                            has_head = true;
                            totals.raise(&told);
                            let is_same = kernel == self.clock.kernel
                                && ahead_ms <= self.clock.ahead_ms + CENTURY_MS;
                            clock = Some((is_same, ahead_ms));
                        }
                        _ => {}
                    },
                    Ok(None) => break,
                    Err(error) => {
                        // Nobody knows how many reports it holds; at most as many as it has room for.
                        next = next.max(segment_first + bytes / LINE_OVERHEAD as u64 + 1);
                        unread = unread.and(Err(error));
                        break;
                    }
                }
            }
            last_ms = newest.map_or(last_ms, |(_, at_ms)| last_ms.max(at_ms));
            if is_last {
                let rest = lines.rest();
                cut = line::number_of_cut(rest).filter(|it| numbers.contains(it));
                if let Some(last) = self.segments.get_mut(index) {
                    last.torn = !rest.is_empty();
                    last.has_head = has_head;
                }
                self.told = totals;
            }
            if clock.is_some() {
                break;
            }
        }
        if let Some((true, ahead_ms)) = clock {
            // No report of this run of the kernel is later than the kernel's clock.
            self.clock.ahead_ms = ahead_ms;
            last_ms = 0;
        }
        self.next = next;
        for index in 0..self.segments.len() {
            let numbers = self.numbers(index);
            if let Some(segment) = self.segments.get_mut(index) {
                segment.undone = numbers.end - numbers.start;
            }
        }
        (last_ms, cut, totals, unread)
    }

    fn ends_with_newline(&mut self, name: FileName, bytes: u64) -> bool {
        let mut byte = [0];
        match bytes.checked_sub(1) {
            None => true,
            Some(last) => {
                matches!(self.storage.read(name, last, &mut byte), Ok(1)) && byte == [b'\n']
            }
        }
    }
}

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// As the segment that its name says. Also if it cannot be read.
    Right,
    /// With no whole line.
    None,
    /// As another segment. It is left alone: if its name counted, later reports of the segment before would not.
    Wrong,
}

fn beginning<S: Storage>(storage: &mut S, first: u64, bytes: u64) -> (Beginning, io::Result<()>) {
    // What a failed write left at the beginning may be longer.
    match beginning_until(storage, first, bytes.min(BEGINNING_BYTES)) {
        (Beginning::None, _) => beginning_until(storage, first, bytes),
        found => found,
    }
}

fn beginning_until<S: Storage>(
    storage: &mut S,
    first: u64,
    end: u64,
) -> (Beginning, io::Result<()>) {
    let mut lines = Lines::new(FileName::Segment(first), 0, end);
    let mut has_head = false;
    let beginning = loop {
        match lines.next(storage) {
            Ok(Some(text)) => match line::read(text) {
                Some(Line::Report { number, .. }) if number >= first => break Beginning::Right,
                Some(Line::Report { .. }) => break Beginning::Wrong,
                Some(Line::Head { .. }) => has_head = true,
                _ => {}
            },
            Ok(None) if has_head => break Beginning::Right,
            Ok(None) => break Beginning::None,
            Err(error) => return (Beginning::Right, Err(error)),
        }
    };
    (beginning, Ok(()))
}
