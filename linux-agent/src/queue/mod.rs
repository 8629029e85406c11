//! Reports that no server has taken yet: on disk, and of those the next ones in memory.
//!
//! ```text
//! push ──► waiting (memory) ──► chore: append ──► segments (disk)
//!             ▲    │                                  │
//!             │    └── take ──► the server ──► done ──┤ chore: write what is done, remove
//!             └────────── chore: read the next ones ◄─┘
//! ```
//!
//! [`Queue`] keeps the books and does no I/O, so its owner's lock is never held while a disk takes its time. What
//! the disk has to do is a [`Chore`] that [`Queue::begin`] gives out, [`Disk::perform`] does and [`Queue::finish`]
//! enters. Memory holds a window of the backlog, however long that is. Without a disk, or while it is out of order,
//! the queue is one in memory.
//!
//! Why not a crate: each report is done with on its own, in any order, and may not be lost with its neighbours.
//! queue-file (2.0) and yaque (0.6) give up elements from the head only, and neither goes on behind a damaged one; yaque
//! has to be unlocked and its position guessed after a kill. redb (4) would have to sync for each report, or lose those since
//! its last durable commit even with the process; fjall (3) keeps journals and tables of many MiB in memory and
//! on disk, with threads of its own. A queue of append-only files is less than any of them, and can be cut at any
//! byte.

mod books;
mod chore;
mod chores;
mod key;
mod line;
mod line_reader;
mod ranges;
mod segments;
mod storage;

use std::collections::VecDeque;

use mote_core::Uptime;

pub use chore::{Chore, Clock, DiskError};
pub use key::service_key;
pub use line::Totals;
pub use segments::MAX_DONE_RANGES;
pub use storage::{Folder, Name, Storage};

use books::Books;
use ranges::Ranges;
use segments::Log;

/// What a report costs beyond its bytes, roughly.
pub const OVERHEAD_BYTES: usize = 64;

/// Buffers of delivered reports that are kept for the next ones, so that a steady state allocates
/// nothing.
const MAX_SPARE: usize = 32;

/// Larger buffers are given back to the system.
const MAX_SPARE_BYTES: usize = 16 << 10;

/// Of what is on disk, this much is in memory, in bytes.
pub const WINDOW_BYTES: usize = 256 << 10;

/// Of what is not on disk while that is out of order, this much is kept, in bytes.
pub const MEMORY_BYTES: usize = 1 << 20;

/// A disk that takes longer is not waited for.
const STALL_MS: u64 = 1000;

/// One report that waits for its delivery.
#[derive(Debug)]
pub struct Record {
    /// The encoded report.
    pub report: Vec<u8>,
    /// Whose it is: [`service_key`].
    pub service: u64,
    /// Not to be sent before this instant.
    pub not_before: Uptime,
    /// Deliveries that failed although the server took other reports.
    pub tries: u8,
    /// How many reports the server had taken when this one failed last.
    pub taken_when_failed: u64,
    /// When it was queued, by the queue's clock.
    queued_ms: u64,
    /// Its number on disk, once it was tried to write it there.
    number: Option<u64>,
    /// It is on disk.
    stored: bool,
    /// It was put back at another place than that of its age.
    misplaced: bool,
}

/// The reports that wait, in the order in which they are to be sent.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Record>,
    spare: Vec<Vec<u8>>,
    /// Records out of the order of their ages; the others are in it.
    misplaced: usize,
    bytes: usize,
    max_bytes: usize,
    max_age_ms: u64,
    /// What the queue's clock is ahead of the uptime.
    ahead_ms: u64,
    books: Option<Books>,
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

/// What a disk had when it was opened, and what became of the reports before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Reports that wait.
    pub queued: u64,
    /// Reports of earlier runs that the server has.
    pub acknowledged: u64,
    /// What became of the others.
    pub totals: Totals,
}

/// What [`Queue::finish`] found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Reports that were given up.
    pub given_up: GivenUp,
    /// The disk was opened.
    pub restored: Option<Restored>,
}

/// The disk of a queue, opened when its first chore is done.
#[derive(Debug)]
pub struct Disk<S> {
    storage: S,
    log: Option<Log<S>>,
}

impl<S: Storage + Clone> Disk<S> {
    /// The disk in `storage`.
    pub fn new(storage: S) -> Self {
        Disk { storage, log: None }
    }

    /// Does a chore, for as long as the disk takes.
    pub fn perform(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        match &mut self.log {
            Some(log) => log.perform(chore),
            None => {
                let storage = self.storage.clone();
                let (log, found) = Log::open(storage, chore.clock.clone(), chore.uptime_ms)?;
                self.log = Some(log);
                chore.opened = Some(found);
                Ok(())
            }
        }
    }
}

impl Queue {
    /// An empty queue in memory that holds at most about `max_bytes`, each report at most `max_age_ms`.
    pub fn new(max_bytes: usize, max_age_ms: u64) -> Self {
        Queue {
            waiting: VecDeque::new(),
            spare: Vec::with_capacity(MAX_SPARE),
            misplaced: 0,
            bytes: 0,
            max_bytes,
            max_age_ms,
            ahead_ms: 0,
            books: None,
        }
    }

    /// A queue on a disk, whose bytes are bounded. `kernel` is Linux's id of its run.
    pub fn on_disk(
        max_bytes: usize,
        max_age_ms: u64,
        sync_interval_ms: Option<u64>,
        kernel: &str,
    ) -> Self {
        let books = Books {
            kernel: kernel.to_owned(),
            sync_interval_ms,
            is_open: false,
            next: 0,
            read_from: 0,
            undone: 0,
            done: Ranges::default(),
            out: Ranges::default(),
            flying: None,
            flying_is_unstored: false,
            stored_in_flight: None,
            flying_is_lost: false,
            lost_below: 0,
            numbered: 0,
            unstored: 0,
            done_unnumbered: 0,
            untold: false,
            bytes: 0,
            running: None,
            retry_at: None,
            dirty: None,
        };
        Queue {
            books: Some(books),
            ..Queue::new(max_bytes, max_age_ms)
        }
    }

    /// New bounds; what is too much now goes with the next report.
    pub fn set_bounds(&mut self, max_bytes: usize, max_age_ms: u64, sync_interval_ms: Option<u64>) {
        self.max_bytes = max_bytes;
        self.max_age_ms = max_age_ms;
        if let Some(books) = &mut self.books {
            books.sync_interval_ms = sync_interval_ms;
        }
    }

    /// Appends a report of a service, and gives up the oldest ones if there is no room.
    pub fn push(&mut self, report: &[u8], service: u64, now: Uptime) -> GivenUp {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(report);
        self.waiting.push_back(Record {
            report: bytes,
            service,
            not_before: now,
            tries: 0,
            taken_when_failed: 0,
            queued_ms: self.queue_ms(now),
            number: None,
            stored: false,
            misplaced: false,
        });
        self.bytes += report.len() + OVERHEAD_BYTES;
        if let Some(books) = &mut self.books {
            books.unstored += 1;
        }
        self.enforce(now)
    }

    /// Puts a report that could not be delivered back: at the front to be the next, or else behind the
    /// others.
    pub fn put_back(&mut self, mut record: Record, first: bool, now: Uptime) -> GivenUp {
        if self.is_lost(&record) {
            self.recycle(record);
            let overflow = 1;
            return GivenUp {
                overflow,
                ..GivenUp::default()
            };
        }
        if let Some(books) = &mut self.books {
            if let Some(number) = record.number {
                books.out.remove(number..number + 1);
                books.numbered += 1;
                record.stored |= books.stored_in_flight == Some(number);
            }
            books.unstored += usize::from(!record.stored);
        }
        // Also at the front: it may have been taken from behind older ones.
        record.misplaced = !first
            || self
                .waiting
                .iter()
                .any(|it| it.queued_ms < record.queued_ms);
        self.misplaced += usize::from(record.misplaced);
        self.bytes += record.report.len() + OVERHEAD_BYTES;
        if first {
            self.waiting.push_front(record);
        } else {
            self.waiting.push_back(record);
        }
        self.enforce(now)
    }

    /// Takes out the first report that `wanted` says yes to, for the server. It comes back to [`Queue::landed`], and then
    /// to [`Queue::put_back`] or [`Queue::done`].
    pub fn take(&mut self, now: Uptime, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        let waits = self.waits_for_disk(now);
        let index = self
            .waiting
            .iter()
            .position(|it| (it.stored || !waits) && wanted(it))?;
        let record = self.take_at(index)?;
        if let Some(books) = &mut self.books {
            books.flying = record.number;
            books.flying_is_unstored = !record.stored;
            books.stored_in_flight = None;
        }
        Some(record)
    }

    /// The report that was on its way is back. Gives whether it was given up meanwhile, and counted as such.
    pub fn landed(&mut self) -> bool {
        self.books.as_mut().is_some_and(|books| {
            books.flying = None;
            books.flying_is_unstored = false;
            std::mem::take(&mut books.flying_is_lost)
        })
    }

    /// Whether the report that is on its way was given up meanwhile.
    pub fn flying_is_lost(&self) -> bool {
        self.books.as_ref().is_some_and(|it| it.flying_is_lost)
    }

    /// Takes out all reports of a service that are in memory.
    pub fn take_service(&mut self, service: u64) -> Vec<Record> {
        let mut taken = Vec::new();
        while let Some(index) = self.waiting.iter().position(|it| it.service == service) {
            taken.extend(self.take_at(index));
        }
        taken
    }

    /// A report that was taken out is done with, however it ended.
    pub fn done(&mut self, record: Record) {
        if !self.is_lost(&record)
            && let Some(books) = &mut self.books
        {
            books.note_done_of(record.number);
        }
        self.recycle(record);
    }

    /// Reports that only memory has; that on its way to the server is one of them if it is not on disk.
    pub fn unstored(&self) -> u64 {
        match &self.books {
            Some(books) => books.unstored as u64 + u64::from(books.flying_is_unstored),
            None => self.waiting.len() as u64,
        }
    }

    /// Gives up the reports that only memory has, since the agent ends; gives how many they are. The disk is to be told as
    /// of others that are done with.
    pub fn forget(&mut self) -> u64 {
        let mut count = 0;
        while let Some(index) = self.waiting.iter().position(|it| !it.stored) {
            self.give_up(index);
            count += 1;
        }
        if let Some(books) = &mut self.books
            && std::mem::take(&mut books.flying_is_unstored)
            && !books.flying_is_lost
        {
            books.flying_is_lost = true;
            books.note_done_of(books.flying);
            count += 1;
        }
        count
    }

    /// Has a disk that is out of order tried again at once.
    pub fn retry_disk(&mut self, now: Uptime) {
        if let Some(retry_at) = self.books.as_mut().and_then(|it| it.retry_at.as_mut()) {
            *retry_at = now.min(*retry_at);
        }
    }

    /// The reports in memory, in their order, each with the instant from which it may be sent as far as the disk is
    /// concerned.
    pub fn records(&self, now: Uptime) -> impl Iterator<Item = (&Record, Uptime)> {
        let waits = self.waits_for_disk(now);
        let stall = self.stall_at();
        self.waiting
            .iter()
            .map(move |it| match it.stored || !waits {
                true => (it, it.not_before),
                false => (it, it.not_before.max(stall)),
            })
    }

    /// Keeps memory within its bounds: what is on disk is read again when there is room. `is_held` says of which
    /// services nothing is sent at the moment; they go first.
    pub fn trim(&mut self, is_held: impl Fn(u64) -> bool) {
        if self.books.is_none() {
            return;
        }
        while self.bytes > WINDOW_BYTES {
            let stored = || {
                self.waiting
                    .iter()
                    .enumerate()
                    .rev()
                    .filter(|(_, it)| it.stored)
            };
            let held = stored().find(|(_, it)| is_held(it.service));
            // The last one stays: there must be one to send.
            let Some((index, _)) = held.or_else(|| stored().next()).filter(|(at, _)| *at > 0)
            else {
                return;
            };
            let Some(record) = self.remove(index) else {
                return;
            };
            if let (Some(books), Some(number)) = (&mut self.books, record.number) {
                books.read_from = books.read_from.min(number);
            }
            self.recycle(record);
        }
    }

    /// Keeps the buffer of a report that is done with for another one.
    fn recycle(&mut self, record: Record) {
        if self.spare.len() < MAX_SPARE && record.report.capacity() <= MAX_SPARE_BYTES {
            self.spare.push(record.report);
        }
    }

    /// Reports that wait, in memory or not.
    pub fn len(&self) -> u64 {
        self.waiting.len() as u64 + self.on_disk_only()
    }

    /// Whether no report waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reports that wait and have to be read before they can be sent.
    pub fn on_disk_only(&self) -> u64 {
        self.books.as_ref().map_or(0, |books| {
            let in_memory = books.numbered + books.out.count();
            books.undone.saturating_sub(in_memory)
        })
    }

    /// What the waiting reports take, in bytes: on disk if there is one, in memory otherwise.
    pub fn bytes(&self) -> u64 {
        match &self.books {
            Some(books) if books.is_open && !self.is_empty() => books.bytes.max(self.bytes as u64),
            _ => self.bytes as u64,
        }
    }

    /// Whether the disk is open and the last chore did not fail.
    pub fn disk_works(&self) -> bool {
        let books = self.books.as_ref();
        books.is_none_or(|it| it.is_open && it.retry_at.is_none())
    }

    /// Whether no report waits for the disk, or the disk is not there to be waited for. One that is on its way to the
    /// server, and was sent while there was no disk, counts until the server has it or it is back.
    pub fn is_stored(&self, now: Uptime) -> bool {
        self.unstored() == 0 || !self.waits_for_disk(now)
    }

    /// Whether a chore is under way.
    pub fn has_chore(&self) -> bool {
        self.books.as_ref().is_some_and(|it| it.running.is_some())
    }

    /// Whether the chore under way takes so long that it is not waited for.
    pub fn is_stalled(&self, now: Uptime) -> bool {
        let running = self.books.as_ref().and_then(|books| books.running);
        running.is_some_and(|since| now.millis_since(since) >= STALL_MS)
    }

    fn queue_ms(&self, now: Uptime) -> u64 {
        now.as_millis().saturating_add(self.ahead_ms)
    }

    /// Whether what is not on disk has to wait until it is.
    fn waits_for_disk(&self, now: Uptime) -> bool {
        let books = self.books.as_ref();
        books.is_some_and(|it| it.retry_at.is_none()) && !self.is_stalled(now)
    }

    fn stall_at(&self) -> Uptime {
        let running = self.books.as_ref().and_then(|books| books.running);
        running.map_or(Uptime::NEVER, |since| since.after_millis(STALL_MS))
    }

    fn wants_read(&self, books: &Books) -> bool {
        self.bytes < WINDOW_BYTES / 2 && books.read_from < books.next
    }

    /// Whether a report that was taken out has been given up meanwhile.
    fn is_lost(&self, record: &Record) -> bool {
        let books = self.books.as_ref();
        books.is_some_and(|books| record.number.is_some_and(|it| it < books.lost_below))
    }

    fn enforce(&mut self, now: Uptime) -> GivenUp {
        let mut given_up = GivenUp::default();
        let now_ms = self.queue_ms(now);
        while let Some(oldest) = self.oldest() {
            let record = self.waiting.get(oldest);
            if record.is_none_or(|it| now_ms.saturating_sub(it.queued_ms) <= self.max_age_ms) {
                break;
            }
            given_up.expired += 1;
            self.give_up(oldest);
        }
        if self.books.is_none() {
            while self.bytes > self.max_bytes
                && let Some(oldest) = self.oldest()
            {
                given_up.overflow += 1;
                self.give_up(oldest);
            }
            return given_up;
        }
        // With a disk its bytes are bounded, and in memory what could not be written.
        let limit = MEMORY_BYTES.min(self.max_bytes);
        while self.bytes > limit
            && let Some(oldest) = self.waiting.iter().position(|it| !it.stored)
        {
            given_up.overflow += 1;
            self.give_up(oldest);
        }
        given_up
    }

    fn give_up(&mut self, index: usize) {
        if let Some(record) = self.take_at(index) {
            self.done(record);
        }
    }

    fn take_at(&mut self, index: usize) -> Option<Record> {
        let record = self.remove(index)?;
        if let (Some(books), Some(number)) = (&mut self.books, record.number) {
            books.out.insert(number..number + 1);
        }
        Some(record)
    }

    fn remove(&mut self, index: usize) -> Option<Record> {
        let record = self.waiting.remove(index)?;
        self.bytes -= record.report.len() + OVERHEAD_BYTES;
        self.misplaced -= usize::from(record.misplaced);
        if let Some(books) = &mut self.books {
            books.numbered -= u64::from(record.number.is_some());
            books.unstored -= usize::from(!record.stored);
        }
        Some(record)
    }

    /// Reports that were put back keep their age, so the oldest may be anywhere. As long as none is misplaced
    /// it is the first: a long queue is not searched for each report that comes.
    fn oldest(&self) -> Option<usize> {
        if self.misplaced == 0 && !self.waiting.is_empty() {
            return Some(0);
        }
        let ages = self.waiting.iter().enumerate();
        ages.min_by_key(|(_, it)| it.queued_ms)
            .map(|(index, _)| index)
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
        queue.take(at(0), |_| true).unwrap()
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
        let left: Vec<_> = std::iter::from_fn(|| queue.take(at(0), |_| true))
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
        let b = queue.take(at(0), |it| it.service == 1).unwrap();
        queue.put_back(b, true, at(1));
        assert_eq!(queue.push(b"c", 0, at(2)).overflow, 1);
        assert_eq!(first(&mut queue).report, b"b");
        assert_eq!(first(&mut queue).report, b"c");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the flags of open")]
    fn a_report_that_was_sent_while_there_was_no_disk_counts_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let mut disk = Disk::new(Folder::new(&path));
        let mut queue = Queue::on_disk(1 << 20, 1000, None, "kernel");
        let mut chore = |queue: &mut Queue, works| {
            let mut chore = Chore::default();
            queue.begin(&mut chore, Totals::default(), at(0), 0);
            let worked = works && disk.perform(&mut chore).is_ok();
            queue.finish(&mut chore, worked, at(0));
        };
        chore(&mut queue, true);
        queue.push(b"a", 0, at(0));
        chore(&mut queue, false);
        let a = first(&mut queue);
        chore(&mut queue, true);
        assert!(!queue.is_stored(at(0)));
        queue.landed();
        queue.put_back(a, true, at(0));
        assert!(!queue.is_stored(at(0)));
        chore(&mut queue, true);
        assert!(queue.is_stored(at(0)));
    }

    #[test]
    fn the_first_that_is_wanted_is_taken() {
        let mut queue = Queue::new(1 << 20, 1000);
        for (report, service) in [(b"a", 0), (b"b", 1), (b"c", 0), (b"d", 1)] {
            queue.push(report, service, at(0));
        }
        let mut take = |service| {
            let record = queue.take(at(0), |record| record.service == service);
            record.map(|record| record.report)
        };
        assert_eq!(take(1), Some(b"b".to_vec()));
        assert_eq!(take(1), Some(b"d".to_vec()));
        assert_eq!(take(1), None);
        let left: Vec<_> = queue.records(at(0)).map(|(it, _)| &*it.report).collect();
        assert_eq!(left, [b"a", b"c"]);
    }

    #[test]
    fn a_service_is_taken_with_its_bytes() {
        let mut queue = Queue::new(1 << 20, 1000);
        for (report, service) in [(b"aa", 0), (b"bb", 1), (b"cc", 0)] {
            queue.push(report, service, at(0));
        }
        assert_eq!((queue.take_service(0).len(), queue.len()), (2, 1));
        assert_eq!(first(&mut queue).report, b"bb");
        assert_eq!(queue.bytes(), 0);
    }
}
