//! Reports that no server has taken yet: in memory, bounded by bytes and age, the oldest given up first.

use std::collections::VecDeque;

use mote_core::Uptime;

/// What a report costs beyond its bytes, roughly.
const OVERHEAD_BYTES: usize = 64;

/// Buffers of delivered reports that are kept for the next ones, so that a steady state allocates
/// nothing.
const MAX_SPARE: usize = 32;

/// Larger buffers are given back to the system.
const MAX_SPARE_BYTES: usize = 16 << 10;

/// One report that waits for its delivery.
#[derive(Debug)]
pub struct Record {
    /// The encoded report.
    pub report: Vec<u8>,
    /// Whose it is: the slot of its service.
    pub service: usize,
    /// When it was queued.
    pub queued: Uptime,
    /// Not to be sent before this instant.
    pub not_before: Uptime,
    /// Deliveries that failed although the server took other reports.
    pub tries: u8,
    /// How many reports the server had taken when this one failed last.
    pub taken_when_failed: u64,
    /// It was put back at another place than that of its age.
    misplaced: bool,
}

/// The reports that wait, in the order in which they are to be sent.
#[derive(Debug)]
pub struct Queue {
    records: VecDeque<Record>,
    spare: Vec<Vec<u8>>,
    /// Records out of the order of their ages; the others are in it.
    misplaced: usize,
    bytes: usize,
    max_bytes: usize,
    max_age_ms: u64,
}

/// How many reports a call gave up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// No room for them.
    pub overflow: u64,
    /// They waited too long.
    pub expired: u64,
}

impl Queue {
    /// An empty queue that holds at most about `max_bytes`, each report at most `max_age_ms`.
    pub fn new(max_bytes: usize, max_age_ms: u64) -> Self {
        Queue {
            records: VecDeque::new(),
            spare: Vec::with_capacity(MAX_SPARE),
            misplaced: 0,
            bytes: 0,
            max_bytes,
            max_age_ms,
        }
    }

    /// New bounds; what is too much now goes with the next report.
    pub fn set_bounds(&mut self, max_bytes: usize, max_age_ms: u64) {
        self.max_bytes = max_bytes;
        self.max_age_ms = max_age_ms;
    }

    /// Appends a report of a service, and gives up the oldest ones if there is no room.
    pub fn push(&mut self, report: &[u8], service: usize, now: Uptime) -> GivenUp {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(report);
        self.records.push_back(Record {
            report: bytes,
            service,
            queued: now,
            not_before: now,
            tries: 0,
            taken_when_failed: 0,
            misplaced: false,
        });
        self.bytes += report.len() + OVERHEAD_BYTES;
        self.enforce(now)
    }

    /// Puts a report that could not be delivered back: at the front to be the next, or else behind the
    /// others.
    pub fn put_back(&mut self, mut record: Record, first: bool, now: Uptime) -> GivenUp {
        // Also at the front: it may have been taken from behind older ones.
        record.misplaced = !first || self.records.iter().any(|it| it.queued < record.queued);
        self.misplaced += usize::from(record.misplaced);
        self.bytes += record.report.len() + OVERHEAD_BYTES;
        if first {
            self.records.push_front(record);
        } else {
            self.records.push_back(record);
        }
        self.enforce(now)
    }

    /// Takes out the first report that `wanted` says yes to.
    pub fn take(&mut self, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        let index = self.records.iter().position(wanted)?;
        self.remove(index)
    }

    /// Removes every report of a service and gives how many there were.
    pub fn remove_service(&mut self, service: usize) -> u64 {
        let before = self.records.len();
        self.records.retain(|record| record.service != service);
        let left = self.records.iter();
        self.bytes = left
            .clone()
            .map(|it| it.report.len() + OVERHEAD_BYTES)
            .sum();
        self.misplaced = left.filter(|it| it.misplaced).count();
        (before - self.records.len()) as u64
    }

    /// The reports that wait, in their order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// Keeps the buffer of a report that is done with for another one.
    pub fn recycle(&mut self, record: Record) {
        if self.spare.len() < MAX_SPARE && record.report.capacity() <= MAX_SPARE_BYTES {
            self.spare.push(record.report);
        }
    }

    /// Reports that wait.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no report waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What the waiting reports take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn enforce(&mut self, now: Uptime) -> GivenUp {
        let mut given_up = GivenUp::default();
        while let Some(oldest) = self.oldest() {
            let expired = self
                .records
                .get(oldest)
                .is_some_and(|it| now.millis_since(it.queued) > self.max_age_ms);
            if expired {
                given_up.expired += 1;
            } else if self.bytes > self.max_bytes {
                given_up.overflow += 1;
            } else {
                break;
            }
            if let Some(record) = self.remove(oldest) {
                self.recycle(record);
            }
        }
        given_up
    }

    fn remove(&mut self, index: usize) -> Option<Record> {
        let record = self.records.remove(index)?;
        self.bytes -= record.report.len() + OVERHEAD_BYTES;
        self.misplaced -= usize::from(record.misplaced);
        Some(record)
    }

    /// Reports that were put back keep their age, so the oldest may be anywhere. As long as none is misplaced
    /// it is the first: a long queue is not searched for each report that comes.
    fn oldest(&self) -> Option<usize> {
        if self.misplaced == 0 && !self.records.is_empty() {
            return Some(0);
        }
        let ages = self.records.iter().enumerate();
        ages.min_by_key(|(_, it)| it.queued).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    /// The first report, whatever it is.
    fn first(queue: &mut Queue) -> Record {
        queue.take(|_| true).unwrap()
    }

    #[test]
    fn the_oldest_goes_first_when_there_is_no_room() {
        let mut queue = Queue::new(3 * (10 + OVERHEAD_BYTES), 1000);
        for n in 0..5u8 {
            let given_up = queue.push(&[n; 10], 0, at(u64::from(n)));
            assert_eq!(given_up.overflow, u64::from(n >= 3));
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(first(&mut queue).report, [2; 10]);
    }

    #[test]
    fn old_reports_expire() {
        let mut queue = Queue::new(1 << 20, 1000);
        queue.push(b"a", 0, at(0));
        queue.push(b"b", 0, at(900));
        assert_eq!(queue.push(b"c", 0, at(1001)).expired, 1);
        assert_eq!(first(&mut queue).report, b"b");
    }

    #[test]
    fn a_report_that_was_put_behind_still_is_the_oldest() {
        let mut queue = Queue::new(2 * (1 + OVERHEAD_BYTES), 1000);
        queue.push(b"a", 0, at(0));
        queue.push(b"b", 0, at(1));
        let a = first(&mut queue);
        queue.put_back(a, false, at(1));
        assert_eq!(queue.push(b"c", 0, at(2)).overflow, 1);
        let left: Vec<_> = std::iter::from_fn(|| queue.take(|_| true))
            .map(|it| it.report)
            .collect();
        assert_eq!(left, [b"b", b"c"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_report_that_was_put_before_older_ones_is_not_the_oldest() {
        let mut queue = Queue::new(2 * (1 + OVERHEAD_BYTES), 1000);
        queue.push(b"a", 0, at(0));
        queue.push(b"b", 1, at(1));
        let b = queue.take(|it| it.service == 1).unwrap();
        queue.put_back(b, true, at(1));
        assert_eq!(queue.push(b"c", 0, at(2)).overflow, 1);
        assert_eq!(first(&mut queue).report, b"b");
        assert_eq!(first(&mut queue).report, b"c");
    }

    #[test]
    fn the_first_that_is_wanted_is_taken() {
        let mut queue = Queue::new(1 << 20, 1000);
        for (report, service) in [(b"a", 0), (b"b", 1), (b"c", 0), (b"d", 1)] {
            queue.push(report, service, at(0));
        }
        let mut take = |service| {
            let record = queue.take(|record| record.service == service);
            record.map(|record| record.report)
        };
        assert_eq!(take(1), Some(b"b".to_vec()));
        assert_eq!(take(1), Some(b"d".to_vec()));
        assert_eq!(take(1), None);
        let left: Vec<_> = queue.records().map(|record| &*record.report).collect();
        assert_eq!(left, [b"a", b"c"]);
    }

    #[test]
    fn a_service_is_removed_with_its_bytes() {
        let mut queue = Queue::new(1 << 20, 1000);
        for (report, service) in [(b"aa", 0), (b"bb", 1), (b"cc", 0)] {
            queue.push(report, service, at(0));
        }
        assert_eq!((queue.remove_service(0), queue.len()), (2, 1));
        assert_eq!(first(&mut queue).report, b"bb");
        assert_eq!(queue.bytes(), 0);
    }
}
