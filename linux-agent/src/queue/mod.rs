//! Reports that no server has taken yet: all on disk, the next ones also in memory.
//!
//! ```text
//! push ──► waiting (memory) ──► chore: append ──► segments (disk)
//!             ▲    │                                  │
//!             │    └── take ──► the server ──► done ──┤ chore: write what is done, remove
//!             └────────── chore: read the next ones ◄─┘
//! ```
//!
//! [`Queue`] keeps the books and does no I/O, so no lock is held while the disk is slow. The disk's work is a
//! [`Chore`]: [`Queue::begin`] makes it, [`Disk::perform`] does it, [`Queue::finish`] takes the result. Memory
//! holds a window of the backlog, no matter how long that is. Without a disk, or while the disk is out of order,
//! the queue is in memory only. The format of the files is in `line.rs`.
//!
//! Why not a crate: each report is done on its own, in any order, and damage to one may not lose its neighbours.
//! queue-file (2.0) and yaque (0.6) remove elements from the head only, and neither reads past a damaged one; yaque
//! has to be unlocked after a kill and its position guessed. redb (4) would have to sync each report, or lose those
//! since its last durable commit when the process is killed. fjall (3) keeps journals and tables of many MiB in
//! memory and on disk, and threads of its own. A queue of append-only files is simpler than all of them, and can be
//! cut at any byte.

mod books;
mod chore;
mod disk;
mod flying;
mod key;
mod line;
mod line_reader;
mod record;
mod segments;
mod storage;
#[cfg(test)]
mod tests;
mod totals;
mod waiting;

use mote_core::Uptime;

pub use books::WINDOW_BYTES;
pub use chore::{Chore, DiskError};
pub use disk::Disk;
pub use flying::Landed;
pub use key::Whose;
pub use record::{Finished, GivenUp, Record, Restored};
pub use segments::MAX_DONE_RANGES;
pub use storage::{FileName, Folder, Storage};
pub use totals::Totals;
pub use waiting::OVERHEAD_BYTES;

use books::Books;
use waiting::Waiting;

/// Of what is not on disk while that is out of order, this much is kept, in bytes.
pub const MEMORY_BYTES: usize = 1 << 20;

/// A disk that takes longer is not waited for.
const STALL_MS: u64 = 1000;

/// The reports that wait, in the order in which they are to be sent.
#[derive(Debug)]
pub struct Queue {
    waiting: Waiting,
    max_bytes: usize,
    max_age_ms: u64,
    /// None: it is in memory only.
    books: Option<Books>,
}

impl Queue {
    /// An empty queue in memory that holds at most about `max_bytes`, each report at most `max_age_ms`.
    pub fn new(max_bytes: usize, max_age_ms: u64) -> Self {
        Queue {
            waiting: Waiting::new(),
            max_bytes,
            max_age_ms,
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
        Queue {
            books: Some(Books::new(kernel, sync_interval_ms)),
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
    pub fn push(&mut self, report: &[u8], whose: Whose<'_>, now: Uptime) -> GivenUp {
        self.waiting.append(report, whose, now);
        self.enforce(now)
    }

    /// Puts a report that could not be delivered back to its place.
    pub fn put_back(&mut self, record: Record, now: Uptime) -> GivenUp {
        if self.is_lost(&record) {
            self.waiting.recycle(record);
            let overflow = 1;
            return GivenUp {
                overflow,
                ..GivenUp::default()
            };
        }
        if let Some(books) = &mut self.books {
            books.note_back(&record);
        }
        self.waiting.put_back(record);
        self.enforce(now)
    }

    /// Takes out the first report that `wanted` says yes to, for the server. It comes back to [`Queue::landed`], and then
    /// to [`Queue::put_back`] or [`Queue::done`].
    pub fn take(&mut self, now: Uptime, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        self.take_by(now, wanted, |_| 0)
    }

    /// As [`Queue::take`], the lowest by `order`.
    pub fn take_by(
        &mut self,
        now: Uptime,
        wanted: impl Fn(&Record) -> bool,
        order: impl Fn(&Record) -> u64,
    ) -> Option<Record> {
        let waits = self.waits_for_disk(now);
        let ready = self.waiting.iter().enumerate();
        let ready = ready.filter(|(_, it)| (it.stored || !waits) && wanted(it));
        let (index, _) = ready.min_by_key(|(_, it)| order(it))?;
        let record = self.take_at(index)?;
        if let Some(books) = &mut self.books {
            books.flying.note(&record);
        }
        Some(record)
    }

    /// A report that was on its way is back. Gives whether it was given up meanwhile, and counted as such.
    pub fn landed(&mut self, record: &mut Record) -> Landed {
        let books = self.books.as_mut();
        books.map_or(Landed::Here, |it| it.flying.land(record))
    }

    /// How many of the reports that are on their way were given up meanwhile.
    pub fn flying_gone(&self) -> u64 {
        self.books.as_ref().map_or(0, |it| it.flying.gone())
    }

    /// An outage is over: the newest reports are due, whatever they waited for.
    pub fn wake(&mut self, now: Uptime) {
        self.waiting.wake(now);
    }

    /// Takes out all reports in memory that are wanted.
    pub fn take_all(&mut self, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut taken = Vec::new();
        while let Some(index) = self.waiting.position(&wanted) {
            taken.extend(self.take_at(index));
        }
        taken
    }

    /// A report that was taken out is done with, however it ended.
    pub fn done(&mut self, record: Record) {
        if !self.is_lost(&record)
            && let Some(books) = &mut self.books
        {
            books.note_done(record.number);
        }
        self.waiting.recycle(record);
    }

    /// Reports that only memory has; those on their way to the server are among them if they are not on disk.
    pub fn unstored(&self) -> u64 {
        let flying = self.books.as_ref().map_or(0, |it| it.flying.unstored());
        self.waiting.unstored() as u64 + flying
    }

    /// Gives up the reports that only memory has, since the agent ends. Returns how many. The disk is to be told as
    /// of others that are done with.
    pub fn forget(&mut self) -> u64 {
        let mut count = 0;
        while let Some(index) = self.waiting.position(|it| !it.stored) {
            self.give_up(index);
            count += 1;
        }
        count + self.books.as_mut().map_or(0, Books::forget_flying)
    }

    /// When the disk has something to do: now, or at the instant that is returned. `idle`: there is nothing else to
    /// do.
    pub fn chore_at(&self, now: Uptime, idle: bool) -> Uptime {
        let books = self.books.as_ref();
        books.map_or(Uptime::NEVER, |it| it.chore_at(&self.waiting, now, idle))
    }

    /// Begins a chore. `chore` may be one that is finished; its memory is used again.
    pub fn begin(&mut self, chore: &mut Chore, totals: Totals, now: Uptime, unix_ms: u64) {
        if let Some(books) = &mut self.books {
            books.begin(&mut self.waiting, chore, totals, now, unix_ms);
            chore.max_bytes = self.max_bytes as u64;
        }
    }

    /// Takes the result of a chore.
    pub fn finish(&mut self, chore: &mut Chore, worked: bool, now: Uptime) -> Finished {
        let Some(books) = &mut self.books else {
            return Finished::default();
        };
        let mut finished = books.finish(&mut self.waiting, chore, worked, now);
        let enforced = self.enforce(now);
        finished.given_up.overflow += enforced.overflow;
        finished.given_up.expired += enforced.expired;
        finished
    }

    /// Tries a disk that is out of order again at once.
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
    /// services nothing is sent at the moment; they go first, and what is fresh goes last.
    pub fn trim(&mut self, is_held: impl Fn(u64) -> bool) {
        let Some(books) = &mut self.books else { return };
        while self.waiting.bytes() > WINDOW_BYTES {
            let newest = |goes: &dyn Fn(&Record) -> bool| {
                let mut records = self.waiting.iter().enumerate().rev();
                let found = records.find(|(_, it)| it.stored && goes(it));
                found.map(|(index, _)| index)
            };
            let index = newest(&|it| !it.is_fresh && is_held(it.service))
                .or_else(|| newest(&|it| !it.is_fresh))
                .or_else(|| newest(&|_| true));
            // The last one stays: there must be one to send.
            let Some(index) = index.filter(|it| *it > 0) else {
                return;
            };
            let Some(record) = self.waiting.remove(index) else {
                return;
            };
            books.note_left(&record);
            self.waiting.recycle(record);
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
        let books = self.books.as_ref();
        books.map_or(0, |it| it.on_disk_only(&self.waiting))
    }

    /// What the waiting reports take, in bytes: on disk if there is one, in memory otherwise.
    pub fn bytes(&self) -> u64 {
        let in_memory = self.waiting.bytes() as u64;
        match &self.books {
            Some(books) if books.is_open && !self.is_empty() => books.bytes.max(in_memory),
            _ => in_memory,
        }
    }

    /// Whether some reports below a number could not be read and are to be tried again.
    pub fn is_left(&self, below: u64) -> bool {
        let books = self.books.as_ref();
        books.is_some_and(|it| it.is_left(below))
    }

    /// Whether the disk is open and the last chore did not fail.
    pub fn disk_works(&self) -> bool {
        let books = self.books.as_ref();
        books.is_none_or(|it| it.is_open && it.retry_at.is_none())
    }

    /// Whether no report waits for the disk, or the disk is away, so that waiting is no use. A report that was sent while
    /// the disk was away counts as waiting until the server has it or the disk is back.
    pub fn is_stored(&self, now: Uptime) -> bool {
        self.unstored() == 0 || !self.waits_for_disk(now)
    }

    /// Whether a chore is under way.
    pub fn has_chore(&self) -> bool {
        self.running().is_some()
    }

    /// Whether the chore under way takes so long that it is not waited for.
    pub fn is_stalled(&self, now: Uptime) -> bool {
        let running = self.running();
        running.is_some_and(|since| now.millis_since(since) >= STALL_MS)
    }

    fn running(&self) -> Option<Uptime> {
        self.books.as_ref().and_then(|books| books.running)
    }

    /// Whether what is not on disk has to wait until it is.
    fn waits_for_disk(&self, now: Uptime) -> bool {
        let books = self.books.as_ref();
        books.is_some_and(|it| it.retry_at.is_none()) && !self.is_stalled(now)
    }

    fn stall_at(&self) -> Uptime {
        let running = self.running();
        running.map_or(Uptime::NEVER, |since| since.after_millis(STALL_MS))
    }

    fn is_lost(&self, record: &Record) -> bool {
        self.books.as_ref().is_some_and(|it| it.is_lost(record))
    }

    fn enforce(&mut self, now: Uptime) -> GivenUp {
        let mut given_up = GivenUp::default();
        let now_ms = self.waiting.queue_ms(now);
        while let Some(oldest) = self.waiting.oldest() {
            let record = self.waiting.get(oldest);
            if record.is_none_or(|it| now_ms.saturating_sub(it.queued_ms) <= self.max_age_ms) {
                break;
            }
            given_up.expired += 1;
            self.give_up(oldest);
        }
        if self.books.is_none() {
            while self.waiting.bytes() > self.max_bytes
                && let Some(oldest) = self.waiting.oldest()
            {
                given_up.overflow += 1;
                self.give_up(oldest);
            }
            return given_up;
        }
        // With a disk its bytes are bounded, and in memory what could not be written.
        let limit = MEMORY_BYTES.min(self.max_bytes);
        while self.waiting.bytes() > limit
            && let Some(oldest) = self.waiting.position(|it| !it.stored)
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
        let record = self.waiting.remove(index)?;
        if let Some(books) = &mut self.books {
            books.note_out(&record);
        }
        Some(record)
    }
}
