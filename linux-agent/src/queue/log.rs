//! The reports on disk: segments that are appended to, and beside each a file of what is done of it.
//!
//! A segment is named by the number of its first report, so the reports in it are counted without reading
//! it. Nothing is ever changed in place. What a call that failed left behind is ended with a newline by the next
//! one, and whoever reads goes by the numbers: a line that is damaged is a number that is missing.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;

use super::line::{self, Line, Totals};
use super::ranges::{Ranges, inclusive};
use super::storage::{Name, Storage};

/// A segment that is longer gets no more reports, in bytes, unless the queue is small.
const MAX_SEGMENT_BYTES: u64 = 1 << 20;

/// A queue has room for this many segments at least.
const MIN_SEGMENTS: u64 = 16;

/// A longer line is damage, in bytes.
const MAX_LINE_BYTES: usize = 512 << 10;

/// What a line has beside its report at most: two numbers, two spaces, the seal, a newline after a torn line.
const LINE_OVERHEAD: usize = 64;

/// What the head of a segment has at most.
const HEAD_OVERHEAD: usize = 512;

/// Larger buffers are given back to the system, in bytes.
const MAX_SPARE_BYTES: usize = 64 << 10;

/// So many ranges of reports that are done with are read of a segment: more than it has room for, since reports lie
/// between them. Those beyond are not known to be done, and are sent again.
pub const MAX_DONE_RANGES: usize = MAX_SEGMENT_BYTES as usize / LINE_OVERHEAD;

/// What is read at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The reports on a storage.
#[derive(Debug)]
pub struct Log<S> {
    storage: S,
    clock: Clock,
    /// In the order of their numbers; there is always one, which is the one that is written.
    segments: VecDeque<Segment>,
    /// The number after that of the last report.
    next: u64,
    /// Those before were to be written by an earlier chore, and may be done since. A segment never begins with one of
    /// them: what is done of it is noted beside the one before.
    untried: u64,
    /// The totals that the files of the last segment tell.
    told: Totals,
    cursor: Option<Cursor>,
    scratch: Vec<u8>,
}

/// How the queue tells time: milliseconds that only go on, also while no agent runs.
///
/// While one kernel runs they are its uptime and a constant. When another one has started, the constant is chosen by
/// the wall clock, which is the only one that went on meanwhile; that it is set later changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Linux's id of its run.
    pub kernel: String,
    /// What the queue's clock is ahead of the uptime, in milliseconds.
    pub ahead_ms: u64,
}

/// What the disk has when it is opened.
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
    pub clock: Clock,
}

/// What the disk is to do, and what it did of it.
#[derive(Debug, Default)]
pub struct Chore {
    /// Numbers that are done with. Those that have been written are taken out.
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
    /// The files may have this many bytes together.
    pub max_bytes: u64,
    /// Whether what was appended has to survive a loss of power from now on.
    pub sync: bool,
    /// Reports to be read.
    pub read: Option<Read>,
    /// All numbers below were given up to make room.
    pub lost_below: u64,
    /// How many of them were not done.
    pub lost: u64,
    /// Numbers that should be there and are not.
    pub damaged: Ranges,
    /// What was read.
    pub found: Vec<StoredReport>,
    /// Reports on disk that are not done.
    pub undone: u64,
    /// What the files take, in bytes.
    pub bytes: u64,
    /// The clock by which a disk is opened, should it know no earlier one, and the uptime then.
    pub clock: Clock,
    /// See [`Clock`].
    pub uptime_ms: u64,
    /// The disk was opened.
    pub opened: Option<Found>,
    /// Reports to be numbered: number, time, place.
    pub order: Vec<(u64, u64, usize)>,
}

/// Which reports to read.
#[derive(Debug, Default)]
pub struct Read {
    /// None below this number. Afterwards: what was read ended before it.
    pub from: u64,
    /// Enough is read when it has this many bytes.
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
#[derive(Debug)]
pub struct DiskError {
    what: &'static str,
    /// Why.
    pub cause: io::Error,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    bytes: u64,
    done_bytes: u64,
    /// Numbers that are not done, whether they can be read or not.
    undone: u64,
    /// The head has been written.
    has_head: bool,
    /// What was written last may lack its end.
    torn: bool,
    done_torn: bool,
    synced: bool,
    /// Reading it failed. It is left alone until the next start.
    unreadable: bool,
}

/// Where reading goes on.
#[derive(Debug)]
struct Cursor {
    segment: u64,
    offset: u64,
    /// The lowest number that has not been met.
    expected: u64,
    done: Ranges,
}

impl<S: Storage> Log<S> {
    /// Opens the reports in `storage`, whatever state they are in. `clock` is right if no earlier one is known.
    pub fn open(mut storage: S, clock: Clock, uptime_ms: u64) -> Result<(Self, Found), DiskError> {
        let mut files = storage.list().map_err(failed("listing the folder"))?;
        files.sort_unstable();
        let mut segments = VecDeque::new();
        for (name, bytes) in &files {
            if let Name::Segment(first) = name {
                segments.push_back(Segment::found(*first, *bytes));
            }
        }
        if segments.is_empty() {
            // Where one was, if only that is left of it.
            let done = files.iter().filter_map(|(name, _)| match name {
                Name::Done(first) => Some(*first),
                Name::Segment(_) => None,
            });
            segments.push_back(Segment::new(done.max().unwrap_or(0)));
        }
        let mut log = Log {
            storage,
            clock,
            segments,
            next: 0,
            untried: 0,
            told: Totals::default(),
            cursor: None,
            scratch: Vec::new(),
        };
        let (last_ms, cut, mut totals) = log.read_end();
        let mut orphans = Vec::new();
        for (name, bytes) in files {
            let Name::Done(first) = name else { continue };
            match log.segments.binary_search_by_key(&first, |it| it.first) {
                Ok(index) => log.read_done_of(index, bytes, &mut totals),
                Err(_) => {
                    log.read_done(first, bytes, &mut totals);
                    orphans.push(name);
                }
            }
        }
        // One that was found at an earlier start is done with.
        if let (Some(number), Some(last)) =
            (cut.filter(|it| *it >= log.next), log.segments.back_mut())
        {
            last.undone += number + 1 - log.next;
            log.next = number + 1;
        }
        // The clock goes on from the last report, whatever the wall clock says.
        let behind = last_ms.saturating_sub(uptime_ms.saturating_add(log.clock.ahead_ms));
        log.clock.ahead_ms = log.clock.ahead_ms.saturating_add(behind);
        let found = Found {
            next: log.next,
            first: log.segments.front().map_or(0, |it| it.first),
            undone: log.undone(),
            totals,
            clock: log.clock.clone(),
        };
        // Those whose segment is gone have told what they knew once it is written elsewhere. If that fails they
        // are there at the next start, too.
        if !orphans.is_empty() && log.tell(&totals).is_ok() {
            for name in orphans {
                let _ = log.storage.remove(name);
            }
        }
        Ok((log, found))
    }

    /// Does a chore. After an error `chore` says how far it came; the rest may be tried again.
    pub fn perform(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        let result = self.perform_in_order(chore);
        chore.undone = self.undone();
        chore.bytes = self.bytes();
        result
    }

    fn perform_in_order(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        if let Some(last) = self.segments.back_mut() {
            last.undone += chore.next.saturating_sub(self.next);
        }
        self.untried = self.next;
        self.next = self.next.max(chore.next);
        // Each step is tried, whatever became of those before: what is removed makes room, and a disk that cannot be
        // written can be read.
        let written = self.write_done(chore);
        let removed = self.remove_done(chore);
        let appended = self.append(chore);
        let synced = if chore.sync { self.sync() } else { Ok(()) };
        let mut read_result = Ok(());
        if let Some(mut read) = chore.read.take() {
            for range in chore.done.iter() {
                read.known.insert(range);
            }
            read_result = self.read(&mut read, chore);
            chore.read = Some(read);
        }
        written
            .and(removed)
            .and(appended)
            .and(synced)
            .and(read_result)
    }

    /// Writes which reports are done with.
    fn write_done(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        // What is not there any more is done anyway.
        chore.done.remove(0..self.first());
        while let Some(first) = chore.done.first() {
            let after = self.segments.partition_point(|it| it.first <= first);
            let Some(index) = after.checked_sub(1) else {
                break;
            };
            let numbers = self.numbers(index);
            let count = chore.done.count_within(numbers.clone());
            if count == 0 {
                break;
            }
            let is_all = self
                .segments
                .get(index)
                .is_some_and(|it| it.undone <= count);
            if is_all && index + 1 < self.segments.len() {
                // It is removed, which says as much.
                if let Some(segment) = self.segments.get_mut(index) {
                    segment.undone = 0;
                }
                chore.done.remove(numbers);
                continue;
            }
            self.scratch.clear();
            let part = chore.done.within(numbers.clone()).map(inclusive);
            line::write_done(&mut self.scratch, part, &chore.totals);
            self.append_done(index)?;
            if index + 1 == self.segments.len() {
                self.told = chore.totals;
            }
            if let Some(segment) = self.segments.get_mut(index) {
                segment.undone = segment.undone.saturating_sub(count);
                if let Some(cursor) = &mut self.cursor
                    && cursor.segment == segment.first
                {
                    for range in chore.done.within(numbers.clone()) {
                        cursor.done.insert(range);
                    }
                }
            }
            chore.done.remove(numbers);
        }
        // Without numbers, for those that never had one.
        self.tell(&chore.totals)
    }

    /// Removes the segments of which nothing is left to do.
    fn remove_done(&mut self, chore: &Chore) -> Result<(), DiskError> {
        let last = self.segments.len().saturating_sub(1);
        if !self.segments.iter().take(last).any(|it| it.undone == 0) {
            return Ok(());
        }
        // Before, as long as there is room for it.
        let mut told = self.tell(&chore.totals);
        let mut index = 0;
        while index + 1 < self.segments.len() {
            let is_done = self.segments.get(index).is_some_and(|it| it.undone == 0);
            if is_done {
                self.leave_to_the_one_before(index, &chore.totals)?;
                self.remove(index)?;
            } else {
                index += 1;
            }
        }
        if told.is_err() {
            told = self.tell(&chore.totals);
        }
        told
    }

    /// The numbers of a segment end where those of the next begin, so those of one that goes become numbers of the one
    /// before.
    fn leave_to_the_one_before(&mut self, index: usize, totals: &Totals) -> Result<(), DiskError> {
        let Some(before) = index.checked_sub(1) else {
            return Ok(());
        };
        let numbers = self.numbers(index);
        self.scratch.clear();
        line::write_done(&mut self.scratch, [inclusive(numbers.clone())], totals);
        self.append_done(before)?;
        if let (Some(cursor), Some(segment)) = (&mut self.cursor, self.segments.get(before))
            && cursor.segment == segment.first
        {
            cursor.done.insert(numbers);
        }
        Ok(())
    }

    /// Appends the reports of a chore, and gives up the oldest segments if there is no room.
    fn append(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        let target = (chore.max_bytes / MIN_SEGMENTS).min(MAX_SEGMENT_BYTES);
        while let Some((number, ..)) = chore.entries.get(chore.stored).copied() {
            let Some(last) = self.segments.back() else {
                return Ok(());
            };
            if last.bytes > target && last.first < number && number >= self.untried {
                self.rotate(number);
            }
            self.make_room(number, chore.report(chore.stored).len() as u64, chore)?;
            let count = self.encode(chore, target);
            let Some(last) = self.segments.back_mut() else {
                return Ok(());
            };
            let result = self
                .storage
                .append(Name::Segment(last.first), &self.scratch);
            last.bytes += self.scratch.len() as u64;
            last.synced = false;
            last.torn = result.is_err();
            if result.is_err() {
                // The file may be another one by now.
                self.cursor = None;
            }
            result.map_err(failed("writing"))?;
            if !last.has_head {
                last.has_head = true;
                self.told = chore.totals;
            }
            chore.stored += count;
        }
        if chore.entries.is_empty() {
            // The bounds may be narrower than before.
            self.make_room(self.next, 0, chore)?;
        }
        Ok(())
    }

    /// Puts as many reports into the scratch as there is room for, one at least, and gives their number.
    fn encode(&mut self, chore: &Chore, target: u64) -> usize {
        self.scratch.clear();
        let others = self.bytes();
        let Some(last) = self.segments.back() else {
            return 0;
        };
        if last.torn {
            self.scratch.push(b'\n');
        }
        if !last.has_head {
            let Clock { kernel, ahead_ms } = &self.clock;
            line::write_head(&mut self.scratch, kernel, *ahead_ms, &chore.totals);
        }
        let rest = chore.entries.iter().enumerate().skip(chore.stored);
        let mut count = 0;
        for (index, (number, at_ms, _)) in rest {
            let report = chore.report(index);
            let length = (self.scratch.len() + report.len() + LINE_OVERHEAD) as u64;
            if count > 0 && (last.bytes + length > target || others + length > chore.max_bytes) {
                break;
            }
            line::write_report(&mut self.scratch, *number, *at_ms, report);
            count += 1;
        }
        count
    }

    /// Gives up the oldest segments until there is room for a report of so many bytes, or nothing is left before
    /// `number`.
    fn make_room(&mut self, number: u64, bytes: u64, chore: &mut Chore) -> Result<(), DiskError> {
        let needed = match bytes {
            0 => 0,
            _ => bytes + (LINE_OVERHEAD + HEAD_OVERHEAD) as u64,
        };
        let mut told = Ok(());
        while self.bytes() + needed > chore.max_bytes {
            if self.segments.len() == 1 {
                let last = self.segments.back();
                let is_new =
                    last.is_none_or(|it| it.first >= number || it.bytes + it.done_bytes == 0);
                if is_new || number < self.untried {
                    break;
                }
                self.rotate(number);
            }
            let undone = self.segments.front().map_or(0, |it| it.undone);
            let end = self.numbers(0).end;
            let mut totals = chore.totals;
            totals.dropped.overflow += undone;
            // Before, as long as there is room for it.
            told = self.tell(&totals);
            self.remove(0)?;
            chore.lost += undone;
            chore.lost_below = end;
            chore.totals = totals;
            if told.is_err() {
                told = self.tell(&totals);
            }
        }
        told
    }

    fn rotate(&mut self, number: u64) {
        let mut segment = Segment::new(number);
        segment.undone = self.next.saturating_sub(number);
        if let Some(last) = self.segments.back_mut() {
            last.undone = last.undone.saturating_sub(segment.undone);
        }
        self.segments.push_back(segment);
        self.told = Totals::default();
    }

    /// Has the last segment's files tell the totals, so that those before it may go.
    fn tell(&mut self, totals: &Totals) -> Result<(), DiskError> {
        if self.told == *totals {
            return Ok(());
        }
        self.scratch_apart(|log| {
            line::write_done(&mut log.scratch, [], totals);
            let last = log.segments.len().saturating_sub(1);
            log.append_done(last)
        })?;
        self.told = *totals;
        Ok(())
    }

    /// Runs something that uses the scratch without losing what is in it.
    fn scratch_apart<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let kept = std::mem::take(&mut self.scratch);
        let result = run(self);
        self.scratch = kept;
        result
    }

    fn append_done(&mut self, index: usize) -> Result<(), DiskError> {
        let Some(segment) = self.segments.get_mut(index) else {
            return Ok(());
        };
        if segment.done_torn {
            self.scratch.insert(0, b'\n');
        }
        let result = self
            .storage
            .append(Name::Done(segment.first), &self.scratch);
        segment.done_bytes += self.scratch.len() as u64;
        segment.done_torn = result.is_err();
        result.map_err(failed("writing"))
    }

    fn remove(&mut self, index: usize) -> Result<(), DiskError> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let (first, has_done) = (segment.first, segment.done_bytes > 0);
        // In this order: what is done of a segment that is there must be known.
        let removed = self.storage.remove(Name::Segment(first));
        removed.map_err(failed("removing a file"))?;
        self.segments.remove(index);
        if has_done {
            // Left over, it is removed at the next start.
            let _ = self.storage.remove(Name::Done(first));
        }
        if self.cursor.as_ref().is_some_and(|it| it.segment == first) {
            self.cursor = None;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        for segment in &mut self.segments {
            if !segment.synced {
                let name = Name::Segment(segment.first);
                self.storage.sync(name).map_err(failed("syncing"))?;
                segment.synced = true;
            }
        }
        Ok(())
    }

    /// Reads reports that are neither done nor known, from a number on.
    fn read(&mut self, order: &mut Read, chore: &mut Chore) -> Result<(), DiskError> {
        order.from = order.from.max(self.first());
        let mut left = order.bytes;
        while order.from < self.next && left > 0 {
            let after = self.segments.partition_point(|it| it.first <= order.from);
            let index = after.saturating_sub(1);
            let numbers = self.numbers(index);
            let Some(segment) = self.segments.get(index) else {
                return Ok(());
            };
            if segment.unreadable || segment.undone == 0 {
                order.from = numbers.end;
                continue;
            }
            match self.read_segment(index, &numbers, order, chore, &mut left) {
                Ok(true) => order.from = numbers.end,
                Ok(false) => {}
                Err(error) => {
                    self.cursor = None;
                    if let Some(segment) = self.segments.get_mut(index) {
                        segment.unreadable = true;
                    }
                    order.from = numbers.end;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives whether the segment was read to its end.
    fn read_segment(
        &mut self,
        index: usize,
        numbers: &Range<u64>,
        order: &mut Read,
        chore: &mut Chore,
        left: &mut usize,
    ) -> Result<bool, DiskError> {
        let Some((first, bytes, done_bytes)) = self
            .segments
            .get(index)
            .map(|it| (it.first, it.bytes, it.done_bytes))
        else {
            return Ok(true);
        };
        let mut cursor = match self.cursor.take() {
            Some(cursor) if cursor.segment == first && cursor.expected <= order.from => cursor,
            _ => Cursor {
                segment: first,
                offset: 0,
                expected: first,
                done: self.read_done(first, done_bytes, &mut Totals::default()),
            },
        };
        let mut lines = Lines::new(Name::Segment(first), cursor.offset, bytes);
        let is_over = loop {
            if *left == 0 {
                break false;
            }
            let Some(text) = lines.next(&mut self.storage).map_err(failed("reading"))? else {
                break true;
            };
            let Some(Line::Report {
                number,
                at_ms,
                report,
            }) = line::read(text)
            else {
                continue;
            };
            // Another one may stand there from an attempt to write that failed.
            if number < cursor.expected || number >= numbers.end {
                continue;
            }
            let missing = cursor.expected.max(order.from)..number;
            note_missing(missing, &cursor.done, &order.known, &mut chore.damaged);
            cursor.expected = number + 1;
            let is_wanted = number >= order.from
                && !cursor.done.contains(number)
                && !order.known.contains(number);
            order.from = order.from.max(number + 1);
            if is_wanted {
                *left = left.saturating_sub(report.len());
                chore.found.push(StoredReport {
                    number,
                    at_ms,
                    report: report.to_vec(),
                });
            }
        };
        if is_over {
            let missing = cursor.expected.max(order.from)..numbers.end;
            note_missing(missing, &cursor.done, &order.known, &mut chore.damaged);
            cursor.expected = cursor.expected.max(numbers.end);
        }
        cursor.offset = lines.offset();
        self.cursor = Some(cursor);
        Ok(is_over)
    }

    /// Which reports of a segment are done with. What cannot be read is not known to be.
    fn read_done(&mut self, first: u64, bytes: u64, totals: &mut Totals) -> Ranges {
        let mut done = Ranges::default();
        let mut lines = Lines::new(Name::Done(first), 0, bytes);
        while let Ok(Some(text)) = lines.next(&mut self.storage) {
            if let Some(Line::Done {
                numbers,
                totals: told,
            }) = line::read(text)
            {
                for range in line::ranges(numbers) {
                    if done.len() >= MAX_DONE_RANGES {
                        break;
                    }
                    done.insert(*range.start()..range.end().saturating_add(1));
                }
                totals.raise(&told);
            }
        }
        done
    }

    fn read_done_of(&mut self, index: usize, bytes: u64, totals: &mut Totals) {
        let Some(first) = self.segments.get(index).map(|it| it.first) else {
            return;
        };
        let is_torn = !self.ends_with_newline(Name::Done(first), bytes);
        let mut told = Totals::default();
        let done = self.read_done(first, bytes, &mut told);
        if index + 1 == self.segments.len() {
            // A report that could not be written may be done nevertheless, and its number is used.
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
    }

    /// Finds out where the last segment ends: the next number, the clock and the totals by then. Gives the time of the
    /// last report, the number of one that was cut, and the totals that the heads tell.
    fn read_end(&mut self) -> (u64, Option<u64>, Totals) {
        let (mut last_ms, mut next, mut totals) = (0, 0, Totals::default());
        let mut cut = None;
        let mut clock = None;
        // One that was cut when it began has no head.
        for index in (0..self.segments.len()).rev() {
            let Some(segment) = self.segments.get(index) else {
                break;
            };
            let (segment_first, bytes) = (segment.first, segment.bytes);
            let name = Name::Segment(segment_first);
            let is_last = index + 1 == self.segments.len();
            next = next.max(segment_first);
            let mut lines = Lines::new(name, 0, bytes);
            let mut has_head = false;
            loop {
                match lines.next(&mut self.storage) {
                    Ok(Some(text)) => match line::read(text) {
                        Some(Line::Report { number, at_ms, .. }) => {
                            if is_last && number >= segment_first {
                                next = next.max(number.saturating_add(1));
                            }
                            last_ms = last_ms.max(at_ms);
                        }
                        Some(Line::Head {
                            kernel,
                            ahead_ms,
                            totals: told,
                        }) => {
                            has_head = true;
                            totals.raise(&told);
                            clock = Some((kernel == self.clock.kernel, ahead_ms));
                        }
                        _ => {}
                    },
                    Ok(None) => break,
                    Err(_) => {
                        // How many it holds cannot be known; as many as it has room for at most.
                        next = next.max(segment_first + bytes / LINE_OVERHEAD as u64 + 1);
                        self.mark_unreadable(index);
                        break;
                    }
                }
            }
            if is_last {
                let rest = lines.rest();
                cut = line::number_of_cut(rest);
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
            self.clock.ahead_ms = ahead_ms;
        }
        self.next = next;
        for index in 0..self.segments.len() {
            let numbers = self.numbers(index);
            if let Some(segment) = self.segments.get_mut(index) {
                segment.undone = numbers.end - numbers.start;
            }
        }
        (last_ms, cut, totals)
    }

    fn mark_unreadable(&mut self, index: usize) {
        if let Some(segment) = self.segments.get_mut(index) {
            segment.unreadable = true;
        }
    }

    fn ends_with_newline(&mut self, name: Name, bytes: u64) -> bool {
        let mut byte = [0];
        match bytes.checked_sub(1) {
            None => true,
            Some(last) => {
                matches!(self.storage.read(name, last, &mut byte), Ok(1)) && byte == [b'\n']
            }
        }
    }

    /// The numbers of a segment, from the first to the one after the last.
    fn numbers(&self, index: usize) -> Range<u64> {
        let first = self.segments.get(index).map_or(self.next, |it| it.first);
        let end = self
            .segments
            .get(index + 1)
            .map_or(self.next, |it| it.first);
        first..end.max(first)
    }

    fn first(&self) -> u64 {
        self.segments.front().map_or(0, |it| it.first)
    }

    fn undone(&self) -> u64 {
        self.segments.iter().map(|it| it.undone).sum()
    }

    fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|it| it.bytes + it.done_bytes)
            .sum()
    }
}

fn note_missing(range: Range<u64>, done: &Ranges, known: &Ranges, damaged: &mut Ranges) {
    if range.is_empty() {
        return;
    }
    damaged.insert(range.clone());
    for known in done.within(range.clone()).chain(known.within(range)) {
        damaged.remove(known);
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> DiskError {
    move |cause| DiskError { what, cause }
}

impl Segment {
    fn new(first: u64) -> Self {
        Segment {
            has_head: false,
            ..Segment::found(first, 0)
        }
    }

    fn found(first: u64, bytes: u64) -> Self {
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

impl Chore {
    /// Makes it an empty one that keeps its memory.
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
    fn report(&self, index: usize) -> &[u8] {
        let end_of = |index: usize| self.entries.get(index).map_or(0, |it| it.2);
        let start = index.checked_sub(1).map_or(0, end_of);
        self.reports.get(start..end_of(index)).unwrap_or_default()
    }
}

impl Totals {
    /// Takes the higher of each: they only grow.
    fn raise(&mut self, other: &Totals) {
        self.unstored = self.unstored.max(other.unstored);
        self.dropped.raise(&other.dropped);
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.what, self.cause)
    }
}

impl std::error::Error for DiskError {}

/// The lines of a file, up to a length.
struct Lines {
    name: Name,
    buffer: Vec<u8>,
    /// What of the buffer has been given out.
    taken: usize,
    /// Where in the file the buffer ends.
    read_to: u64,
    end: u64,
    /// The rest of a line that is too long.
    skips: bool,
    /// What has no end was given out.
    is_over: bool,
}

impl Lines {
    fn new(name: Name, offset: u64, end: u64) -> Self {
        Lines {
            name,
            buffer: Vec::new(),
            taken: 0,
            read_to: offset,
            end,
            skips: false,
            is_over: false,
        }
    }

    /// The next line without its end. The last one may lack it.
    fn next<S: Storage>(&mut self, storage: &mut S) -> io::Result<Option<&[u8]>> {
        let mut searched = self.taken;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.taken, searched + at);
                self.taken = end + 1;
                searched = self.taken;
                if !std::mem::take(&mut self.skips) {
                    return Ok(Some(self.buffer.get(start..end).unwrap_or_default()));
                }
                continue;
            }
            if self.buffer.len() - self.taken > MAX_LINE_BYTES {
                self.skips = true;
                self.taken = self.buffer.len();
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let kept = self.buffer.len();
            searched = kept;
            let wanted =
                usize::try_from(self.end.saturating_sub(self.read_to)).unwrap_or(usize::MAX);
            self.buffer.resize(kept + wanted.min(PIECE_BYTES), 0);
            let free = self.buffer.get_mut(kept..).unwrap_or_default();
            if free.is_empty() {
                return Ok(self.last());
            }
            let count = storage.read(self.name, self.read_to, free);
            self.buffer.truncate(kept + *count.as_ref().unwrap_or(&0));
            let count = count?;
            self.read_to += count as u64;
            if count == 0 {
                return Ok(self.last());
            }
        }
    }

    fn last(&mut self) -> Option<&[u8]> {
        let is_wanted = !std::mem::replace(&mut self.is_over, true) && !self.skips;
        Some(self.rest()).filter(|rest| is_wanted && !rest.is_empty())
    }

    /// Where in the file the next line begins.
    fn offset(&self) -> u64 {
        self.read_to - (self.buffer.len() - self.taken) as u64
    }

    /// After the last line: what has no end.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Folder;

    #[test]
    fn what_is_done_takes_no_more_memory_than_a_segment_is_worth() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Folder::new(folder.path());
        let many = MAX_DONE_RANGES as u64 + 1000;
        let mut lines = Vec::new();
        for start in (0..many).step_by(500) {
            let numbers = (start..start + 500).map(|it| 2 * it..=2 * it);
            line::write_done(&mut lines, numbers, &Totals::default());
        }
        storage.append(Name::Done(0), &lines).unwrap();
        let clock = Clock::default();
        let (mut log, _) = Log::open(storage, clock, 0).unwrap();
        let done = log.read_done(0, lines.len() as u64, &mut Totals::default());
        assert_eq!(done.len(), MAX_DONE_RANGES);
        assert!(done.contains(2) && !done.contains(2 * many));
    }
}
