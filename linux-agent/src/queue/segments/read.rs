//! Reading the reports that wait.

use std::io;
use std::ops::Range;

use super::table::{Cursor, MAX_DONE_RANGES, REACH, Segments, failed};
use crate::queue::chore::{Chore, DiskError, StoredReport, Wanted};
use crate::queue::line::{self, Line};
use crate::queue::line_reader::Lines;
use crate::queue::storage::{FileName, Storage};
use crate::queue::totals::Totals;
use crate::ranges::Ranges;

impl<S: Storage> Segments<S> {
    /// Reads reports that are neither done nor known, from a number on. What cannot be read is left for another time.
    pub fn read(&mut self, wanted: &mut Wanted, chore: &mut Chore) -> Result<(), DiskError> {
        let mut result = Ok(());
        wanted.from = wanted.from.max(self.first());
        let mut left = wanted.bytes;
        while wanted.from < self.next && left > 0 {
            let after = self.segments.partition_point(|it| it.first <= wanted.from);
            let index = after.saturating_sub(1);
            let numbers = self.numbers(index);
            let Some(segment) = self.segments.get(index) else {
                break;
            };
            let (first, done_bytes) = (segment.first, segment.done_bytes);
            if segment.undone == 0 {
                wanted.from = numbers.end;
                continue;
            }
            match self.read_segment(index, &numbers, wanted, chore, &mut left) {
                Ok(true) => wanted.from = numbers.end,
                Ok(false) => {}
                Err(error) if error.cause.kind() == io::ErrorKind::NotFound => {
                    // Somebody has removed it.
                    let missing = wanted.from..numbers.end;
                    self.cursor = None;
                    let (done, _) = self.read_done(first, done_bytes, &mut Totals::default());
                    note_missing(missing, &done, &wanted.known, &mut chore.damaged);
                    wanted.from = numbers.end;
                }
                Err(error) => {
                    self.cursor = None;
                    wanted.left.get_or_insert(wanted.from);
                    wanted.from = numbers.end;
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    /// Returns whether the segment was read to its end.
    fn read_segment(
        &mut self,
        index: usize,
        numbers: &Range<u64>,
        wanted: &mut Wanted,
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
            Some(cursor) if cursor.segment == first && cursor.expected <= wanted.from => cursor,
            _ => {
                let (done, result) = self.read_done(first, done_bytes, &mut Totals::default());
                // Otherwise what is done would be sent again.
                result.map_err(failed("reading"))?;
                Cursor {
                    segment: first,
                    offset: 0,
                    expected: first,
                    done,
                }
            }
        };
        let from = wanted.from;
        let name = FileName::Segment(first);
        let mut lines = Lines::new(name, cursor.offset, bytes);
        // Lines that come after lines with higher numbers. The agent writes none, but they are whole.
        let mut all_late = None;
        let mut late = Ranges::default();
        let is_over = loop {
            if *left == 0 {
                break false;
            }
            let start = lines.offset();
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
            if number >= numbers.end {
                continue;
            }
            if number < cursor.expected {
                // Other lines may be there twice, from a failed attempt to write.
                if late.remove(number..number + 1) == 0 {
                    continue;
                }
            } else {
                let missing = cursor.expected.max(from)..number;
                if !missing.is_empty() {
                    let all_late = match &mut all_late {
                        Some(all_late) => all_late,
                        none => none.insert(
                            self::late(&mut self.storage, name, start, bytes)
                                .map_err(failed("reading"))?,
                        ),
                    };
                    for range in all_late.within(missing.clone()) {
                        note_missing(range, &cursor.done, &wanted.known, &mut late);
                    }
                    note_missing(missing, &cursor.done, &wanted.known, &mut chore.damaged);
                    for range in late.iter() {
                        chore.damaged.remove(range);
                    }
                }
                cursor.expected = number + 1;
            }
            let is_wanted =
                number >= from && !cursor.done.contains(number) && !wanted.known.contains(number);
            // Reading again from a late line finds it. The others are known.
            wanted.from = late.first().unwrap_or(cursor.expected).max(from);
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
            let missing = cursor.expected.max(from)..numbers.end;
            note_missing(missing, &cursor.done, &wanted.known, &mut chore.damaged);
            for range in late.iter() {
                chore.damaged.insert(range);
            }
            cursor.expected = cursor.expected.max(numbers.end);
        }
        cursor.offset = lines.offset();
        self.cursor = Some(cursor);
        Ok(is_over)
    }

    /// Reads which reports of a segment are done. What cannot be read counts as not done.
    pub fn read_done(
        &mut self,
        first: u64,
        bytes: u64,
        totals: &mut Totals,
    ) -> (Ranges, io::Result<()>) {
        let mut done = Ranges::default();
        // Other numbers are damage, and would mark reports as done that are yet to come.
        let after = self.segments.partition_point(|it| it.first <= first);
        let after = self.segments.get(after).map(|it| it.first);
        let end = after.unwrap_or(first + REACH);
        let mut lines = Lines::new(FileName::Done(first), 0, bytes);
        loop {
            let text = match lines.next(&mut self.storage) {
                Ok(Some(text)) => text,
                Ok(None) => return (done, Ok(())),
                // Somebody has removed it, or nothing was done.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return (done, Ok(())),
                Err(error) => return (done, Err(error)),
            };
            if let Some(Line::Done {
                numbers,
                totals: told,
            }) = line::read(text)
            {
                for range in line::ranges(numbers).filter(|it| *it.end() < end) {
                    if done.len() >= MAX_DONE_RANGES {
                        break;
                    }
                    done.insert(*range.start()..range.end().saturating_add(1));
                }
                totals.raise(&told);
            }
        }
    }
}

/// The numbers of lines from `offset` on that come after a higher number. If there are too many, the rest counts as
/// missing.
fn late<S: Storage>(
    storage: &mut S,
    name: FileName,
    offset: u64,
    bytes: u64,
) -> io::Result<Ranges> {
    let mut late = Ranges::default();
    let mut highest = 0;
    let mut lines = Lines::new(name, offset, bytes);
    while let Some(text) = lines.next(storage)? {
        if let Some(Line::Report { number, .. }) = line::read(text) {
            if number < highest && late.len() < MAX_DONE_RANGES {
                late.insert(number..number + 1);
            }
            highest = highest.max(number);
        }
    }
    Ok(late)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::chore::QueueClock;
    use crate::queue::storage::Folder;

    #[test]
    #[cfg_attr(miri, ignore = "17,000 ranges take Miri many minutes")]
    fn what_is_done_takes_no_more_memory_than_a_segment_is_worth() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Folder::new(folder.path());
        let many = MAX_DONE_RANGES as u64 + 1000;
        let mut lines = Vec::new();
        for start in (0..many).step_by(500) {
            let numbers = (start..start + 500).map(|it| 2 * it..=2 * it);
            line::write_done(&mut lines, numbers, &Totals::default());
        }
        storage.append(FileName::Done(0), &lines).unwrap();
        let clock = QueueClock::default();
        let (mut log, _) = Segments::open(storage, clock, 0, false).unwrap();
        let (done, _) = log.read_done(0, lines.len() as u64, &mut Totals::default());
        assert_eq!(done.len(), MAX_DONE_RANGES);
        assert!(done.contains(2) && !done.contains(2 * many));
    }
}
