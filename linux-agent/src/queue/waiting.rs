//! The reports in memory, in the order in which they came.

use std::collections::VecDeque;

use mote_core::Uptime;

use super::key::Whose;
use super::record::Record;
use crate::ranges::Ranges;

/// What a report costs in memory beyond its bytes, roughly.
pub const OVERHEAD_BYTES: usize = 64;

/// This many buffers of delivered reports are kept for the next ones, so that a steady state allocates nothing.
const MAX_SPARE: usize = 32;

/// Larger buffers are given back to the system.
const MAX_SPARE_BYTES: usize = 16 << 10;

/// The reports in memory.
#[derive(Debug)]
pub struct Waiting {
    records: VecDeque<Record>,
    spare: Vec<Buffers>,
    /// Records out of the order of their ages: clocks of earlier runs went wrong, or the disk was away.
    misplaced: usize,
    /// Reports that came so far.
    came: u64,
    bytes: usize,
    /// Those that have a number.
    numbered: u64,
    /// Those that are not on disk.
    unstored: usize,
    /// The queue's clock minus the uptime, in milliseconds.
    ahead_ms: u64,
}

/// The memory of a record.
#[derive(Debug, Default)]
struct Buffers {
    report: Vec<u8>,
    service_name: String,
}

impl Waiting {
    pub fn new() -> Self {
        Waiting {
            records: VecDeque::new(),
            spare: Vec::with_capacity(MAX_SPARE),
            misplaced: 0,
            came: 0,
            bytes: 0,
            numbered: 0,
            unstored: 0,
            ahead_ms: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn numbered(&self) -> u64 {
        self.numbered
    }

    pub fn unstored(&self) -> usize {
        self.unstored
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }

    pub fn get(&self, index: usize) -> Option<&Record> {
        self.records.get(index)
    }

    pub fn position(&self, wanted: impl Fn(&Record) -> bool) -> Option<usize> {
        self.records.iter().position(wanted)
    }

    /// What the queue's clock says.
    pub fn queue_ms(&self, now: Uptime) -> u64 {
        now.as_millis().saturating_add(self.ahead_ms)
    }

    /// Sets the queue's clock. The ages of waiting reports stay.
    pub fn set_clock(&mut self, ahead_ms: u64) {
        for record in &mut self.records {
            record.queued_ms = record
                .queued_ms
                .saturating_add(ahead_ms)
                .saturating_sub(self.ahead_ms);
        }
        self.ahead_ms = ahead_ms;
    }

    /// A new report, in buffers that were used before.
    pub fn append(&mut self, report: &[u8], whose: Whose<'_>, now: Uptime) {
        let mut buffers = self.spare.pop().unwrap_or_default();
        buffers.report.clear();
        buffers.report.extend_from_slice(report);
        buffers.service_name.clear();
        buffers.service_name.push_str(whose.name);
        self.came += 1;
        let since = self.stale(whose.key).unwrap_or(self.came);
        let record = Record {
            report: buffers.report,
            service: whose.key,
            service_name: buffers.service_name,
            not_before: now,
            is_fresh: true,
            is_late: false,
            tries: 0,
            way_tries: 0,
            is_alone: false,
            taken_when_failed: 0,
            queued_ms: self.queue_ms(now),
            number: None,
            stored: false,
            misplaced: false,
            nth: self.came,
            since,
        };
        self.insert(record);
    }

    /// One that was taken out, or read from the disk.
    pub fn put_back(&mut self, mut record: Record) {
        if record.nth == 0 {
            self.came += 1;
            record.nth = self.came;
        }
        record.is_fresh &= !self
            .records
            .iter()
            .rev()
            .any(|it| it.is_fresh && it.service == record.service);
        self.insert(record);
    }

    /// An outage is over: the newest reports are due, whatever they waited for.
    pub fn wake(&mut self, now: Uptime) {
        for record in self.records.iter_mut().filter(|it| it.is_fresh) {
            record.is_late = true;
            record.not_before = record.not_before.min(now);
        }
    }

    pub fn remove(&mut self, index: usize) -> Option<Record> {
        let record = self.records.remove(index)?;
        self.bytes -= record.report.len() + OVERHEAD_BYTES;
        self.misplaced -= usize::from(record.misplaced);
        self.numbered -= u64::from(record.number.is_some());
        self.unstored -= usize::from(!record.stored);
        Some(record)
    }

    /// Keeps the buffers of a report that is done with for another one.
    pub fn recycle(&mut self, record: Record) {
        if self.spare.len() < MAX_SPARE && record.report.capacity() <= MAX_SPARE_BYTES {
            self.spare.push(Buffers {
                report: record.report,
                service_name: record.service_name,
            });
        }
    }

    /// As long as none is misplaced it is the first: a long queue is not searched for each report that comes.
    pub fn oldest(&self) -> Option<usize> {
        if self.misplaced == 0 && !self.records.is_empty() {
            return Some(0);
        }
        let ages = self.records.iter().enumerate();
        ages.min_by_key(|(_, it)| it.queued_ms)
            .map(|(index, _)| index)
    }

    /// The number of a record, which gets `next` if it has none. Also returns whether the number is new.
    pub fn number(&mut self, index: usize, next: u64) -> Option<(u64, bool)> {
        let record = self.records.get_mut(index)?;
        let is_new = record.number.is_none();
        self.numbered += u64::from(is_new);
        Some((*record.number.get_or_insert(next), is_new))
    }

    /// Notes that the reports with these numbers are on disk.
    pub fn mark_stored(&mut self, numbers: &Ranges) {
        for record in self.records.iter_mut().filter(|it| !it.stored) {
            if record.number.is_some_and(|it| numbers.contains(it)) {
                record.stored = true;
                self.unstored -= 1;
            }
        }
    }

    /// Notes that the reports from this number on are not on disk any more.
    pub fn mark_unstored(&mut self, first: u64) {
        for record in self.records.iter_mut().filter(|it| it.stored) {
            if record.number.is_some_and(|it| it >= first) {
                record.stored = false;
                self.unstored += 1;
            }
        }
    }

    /// Removes the reports below a number.
    pub fn drop_below(&mut self, number: u64) {
        let mut index = 0;
        while let Some(record) = self.records.get(index) {
            if record.number.is_some_and(|it| it < number) {
                if let Some(record) = self.remove(index) {
                    self.recycle(record);
                }
            } else {
                index += 1;
            }
        }
    }

    /// The newest of a service is so no more. Gives since when it waited.
    fn stale(&mut self, service: u64) -> Option<u64> {
        let mut newest = self.records.iter_mut().rev();
        let record = newest.find(|it| it.is_fresh && it.service == service)?;
        record.is_fresh = false;
        Some(record.since)
    }

    fn insert(&mut self, mut record: Record) {
        let index = self
            .records
            .partition_point(|it| it.turn() <= record.turn());
        let before = index.checked_sub(1).and_then(|it| self.records.get(it));
        let after = self.records.get(index);
        record.misplaced = before.is_some_and(|it| it.queued_ms > record.queued_ms)
            || after.is_some_and(|it| it.queued_ms < record.queued_ms);
        self.bytes += record.report.len() + OVERHEAD_BYTES;
        self.misplaced += usize::from(record.misplaced);
        self.numbered += u64::from(record.number.is_some());
        self.unstored += usize::from(!record.stored);
        self.records.insert(index, record);
    }
}
