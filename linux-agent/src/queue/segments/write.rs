//! Does a chore: notes what is done, appends what is new, and reads what is wanted.

use std::io;

use super::table::{
    HEAD_OVERHEAD, LINE_OVERHEAD, MAX_SEGMENT_BYTES, MIN_SEGMENTS, REACH, Segment, Segments, failed,
};
use crate::queue::chore::{Chore, DiskError, QueueClock};
use crate::queue::line;
use crate::queue::storage::{FileName, Storage};
use crate::queue::totals::Totals;
use crate::ranges::inclusive;

impl<S: Storage> Segments<S> {
    /// Does a chore. After an error `chore` says how far it got; the rest may be tried again.
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
        // Each step is tried even if one before failed: removing makes room, and a disk that cannot be written can
        // be read.
        let written = self.write_done(chore);
        if written.is_err() {
            // Some that were dropped are not noted as done yet. Counted all the same, they would be counted again.
            chore.totals = self.noted;
        }
        let removed = self.remove_done(chore);
        let appended = self.append(chore);
        self.noted = chore.totals;
        let synced = if chore.sync { self.sync() } else { Ok(()) };
        if let Some(mut wanted) = chore.wanted.take() {
            for range in chore.done.iter() {
                wanted.known.insert(range);
            }
            chore.unread = self.read(&mut wanted, chore).err();
            chore.wanted = Some(wanted);
        }
        written.and(removed).and(appended).and(synced)
    }

    /// Writes which reports are done with.
    fn write_done(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        // Reports that are gone are done anyway.
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
                // Removing the segment says as much.
                if let Some(segment) = self.segments.get_mut(index) {
                    segment.undone = 0;
                }
                chore.done.remove(numbers);
                continue;
            }
            self.scratch.clear();
            let part = chore.done.within(numbers.clone()).map(inclusive);
            let is_last = chore.done.end() <= numbers.end;
            let totals = if is_last { &chore.totals } else { &self.noted };
            let totals = self.as_of_now(totals);
            line::write_done(&mut self.scratch, part, &totals);
            let result = self.append_done(index);
            if result.as_ref().is_err_and(DiskError::is_no_room)
                && index + 1 == self.segments.len()
                && self.leave_last(self.untried, count)
            {
                continue;
            }
            result?;
            if index + 1 == self.segments.len() {
                self.told = totals;
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
        // A note without numbers, for reports that never had one.
        self.tell(self.as_of_now(&chore.totals))
    }

    /// Removes the segments of which nothing is left to do.
    fn remove_done(&mut self, chore: &Chore) -> Result<(), DiskError> {
        let last = self.segments.len().saturating_sub(1);
        if !self.segments.iter().take(last).any(|it| it.undone == 0) {
            return Ok(());
        }
        let left = self.segments.iter().enumerate();
        let below = left
            .filter(|(index, it)| it.undone > 0 || *index == last)
            .map(|(_, it)| it.first)
            .next();
        let totals = Totals {
            below,
            ..chore.totals
        };
        // Before removing, as long as there is room for it.
        let mut told = self.tell_for_good(totals, chore);
        let mut index = 0;
        while index + 1 < self.segments.len() {
            let is_done = self.segments.get(index).is_some_and(|it| it.undone == 0);
            if is_done {
                self.leave_to_the_one_before(index, &totals)?;
                self.remove(index)?;
            } else {
                index += 1;
            }
        }
        if told.is_err() {
            told = self.tell(totals);
        }
        told
    }

    /// A segment's numbers end where the next segment begins. So the numbers of a removed segment become those of
    /// the one before.
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
            // Halfway, so that numbers that must stay with this segment are within its reach too.
            let is_full = last.bytes > target || number.saturating_sub(last.first) > REACH / 2;
            if is_full && last.first < number && self.can_begin(number) {
                self.rotate(number);
            }
            self.make_room(number, chore.report(chore.stored).len() as u64, chore)?;
            let totals = self.as_of_now(&chore.totals);
            let count = self.encode(chore, target, &totals);
            let Some(last) = self.segments.back_mut() else {
                return Ok(());
            };
            let result = self
                .storage
                .append(FileName::Segment(last.first), &self.scratch);
            last.bytes += self.scratch.len() as u64;
            last.synced = false;
            last.torn = result.is_err();
            if let Err(error) = &result {
                // The file may have been replaced.
                self.cursor = None;
                if error.kind() == io::ErrorKind::NotFound {
                    chore.gone_from = Some(last.first);
                }
            }
            let result = result.map_err(failed("writing"));
            if result.as_ref().is_err_and(DiskError::is_file_too_large)
                && last.first < number
                && self.can_begin(number)
            {
                // A limit of this process or of the file system; another file may have room.
                self.rotate(number);
                continue;
            }
            if result.as_ref().is_err_and(DiskError::is_no_room) && self.leave_last(number, 0) {
                self.remove_done(chore)?;
                continue;
            }
            result?;
            let Some(last) = self.segments.back_mut() else {
                return Ok(());
            };
            if !last.has_head {
                last.has_head = true;
                self.told = totals;
            }
            chore.stored += count;
        }
        if chore.entries.is_empty() {
            // The bounds may be narrower than before.
            self.make_room(self.next, 0, chore)?;
        }
        Ok(())
    }

    /// Puts as many reports into the scratch as there is room for, at least one. Returns how many.
    fn encode(&mut self, chore: &Chore, target: u64, totals: &Totals) -> usize {
        self.scratch.clear();
        let others = self.bytes();
        let Some(last) = self.segments.back() else {
            return 0;
        };
        if last.torn {
            self.scratch.push(b'\n');
        }
        if !last.has_head {
            let QueueClock { kernel, ahead_ms } = &self.clock;
            line::write_head(&mut self.scratch, kernel, *ahead_ms, totals);
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

    /// Gives up the oldest segments until there is room for a report of this many bytes, or nothing is left before
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
                if is_new || !self.can_begin(number) {
                    break;
                }
                self.rotate(number);
            }
            let undone = self.segments.front().map_or(0, |it| it.undone);
            let end = self.numbers(0).end;
            let mut totals = chore.totals;
            totals.dropped.overflow += undone;
            totals.below = Some(end);
            // Before removing, as long as there is room for it.
            told = self.tell_for_good(totals, chore);
            self.remove(0)?;
            chore.lost += undone;
            chore.lost_below = end;
            chore.totals = totals;
            if told.is_err() {
                told = self.tell(totals);
            }
        }
        told
    }

    /// Whether a segment may begin with this number.
    pub fn can_begin(&self, number: u64) -> bool {
        number >= self.untried && !self.others.contains(&number)
    }

    /// Begins another segment if only `count` reports before `number` are left to do in the last one, so that it
    /// can be removed.
    fn leave_last(&mut self, number: u64, count: u64) -> bool {
        let left = self.next.saturating_sub(number) + count;
        let is_done = |last: &Segment| last.first < number && last.undone <= left;
        let can_leave = self.can_begin(number) && self.segments.back().is_some_and(is_done);
        if can_leave {
            self.rotate(number);
        }
        can_leave
    }

    pub fn rotate(&mut self, number: u64) {
        let mut segment = Segment::new(number, &self.strays);
        segment.undone = self.next.saturating_sub(number);
        if let Some(last) = self.segments.back_mut() {
            last.undone = last.undone.saturating_sub(segment.undone);
        }
        self.segments.push_back(segment);
        self.told = Totals::default();
    }

    /// The totals with `below`: the first number that is still there.
    fn as_of_now(&self, totals: &Totals) -> Totals {
        Totals {
            below: Some(self.first()),
            ..*totals
        }
    }

    /// Notes the totals in the last segment's files.
    pub fn tell(&mut self, totals: Totals) -> Result<(), DiskError> {
        if self.told == totals {
            return Ok(());
        }
        self.scratch_apart(|log| {
            line::write_done(&mut log.scratch, [], &totals);
            let last = log.segments.len().saturating_sub(1);
            log.append_done(last)
        })?;
        self.told = totals;
        Ok(())
    }

    /// Notes the totals before a segment is removed, and syncs: a loss of power may not lose the note but keep the
    /// removal.
    fn tell_for_good(&mut self, totals: Totals, chore: &Chore) -> Result<(), DiskError> {
        self.tell(totals)?;
        let Some(last) = self.segments.back().filter(|_| chore.outlives_power) else {
            return Ok(());
        };
        let name = match last.done_bytes {
            0 => FileName::Segment(last.first),
            _ => FileName::Done(last.first),
        };
        self.storage.sync(name).map_err(failed("syncing"))
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
            .append(FileName::Done(segment.first), &self.scratch);
        segment.done_bytes += self.scratch.len() as u64;
        segment.done_torn = result.is_err();
        result.map_err(failed("writing"))
    }

    fn remove(&mut self, index: usize) -> Result<(), DiskError> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let (first, has_done) = (segment.first, segment.done_bytes > 0);
        // In this order: while a segment is there, its note of what is done must be there too.
        let name = FileName::Segment(first);
        if let Err(error) = self.storage.remove(name) {
            // The file may be gone all the same, and then none of its reports waits.
            let files = self.storage.list().map_err(failed("listing the folder"))?;
            if files.iter().any(|(it, _)| *it == name) {
                return Err(failed("removing a file")(error));
            }
        }
        self.segments.remove(index);
        if has_done {
            // Left over, it is removed at the next start.
            let _ = self.storage.remove(FileName::Done(first));
        }
        if self.cursor.as_ref().is_some_and(|it| it.segment == first) {
            self.cursor = None;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        for segment in &mut self.segments {
            if !segment.synced {
                let name = FileName::Segment(segment.first);
                self.storage.sync(name).map_err(failed("syncing"))?;
                segment.synced = true;
            }
        }
        Ok(())
    }
}
