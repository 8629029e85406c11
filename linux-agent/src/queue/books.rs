//! What is known of the disk without asking it, and the chores that it gets.

use mote_core::Uptime;

use super::chore::{Chore, Found, QueueClock, Wanted};
use super::flying::Flying;
use super::key::read_whose;
use super::record::{Finished, GivenUp, Record, Restored};
use super::totals::Totals;
use super::waiting::Waiting;
use crate::ranges::Ranges;

/// Memory holds this much of what is on disk, in bytes.
pub const WINDOW_BYTES: usize = 256 << 10;

/// A chore appends at most this many bytes, and one report more.
const MAX_APPEND_BYTES: usize = 256 << 10;

/// Pause after a call on the disk failed.
const RETRY_MS: u64 = 5000;

/// This many ranges of done reports are noted on disk even while there is more to send.
const MAX_DONE: usize = 64;

/// What is known of the disk.
#[derive(Debug, Default)]
pub struct Books {
    kernel: String,
    /// With `durability = "power"`: how long appended reports may stay unsynced.
    pub sync_interval_ms: Option<u64>,
    pub is_open: bool,
    /// The number that the next report gets.
    next: u64,
    /// All reports below this that are not done are in memory.
    read_from: u64,
    /// From this number on some could not be read, and when to try again.
    left: Option<(u64, Uptime)>,
    /// Numbers that are not done, in memory or not.
    undone: u64,
    /// Numbers that are done, which is not noted on disk yet.
    done: Ranges,
    /// Numbers of reports that were taken out and are not done yet.
    out: Ranges,
    /// The reports that are on their way to the server.
    pub flying: Flying,
    /// All numbers below were given up for want of room.
    lost_below: u64,
    /// Reports of all runs that were done with before they had a number.
    done_unnumbered: u64,
    /// Not all of them are noted on disk.
    untold: bool,
    /// What the files take, in bytes.
    pub bytes: u64,
    /// When the chore that is under way was begun.
    pub running: Option<Uptime>,
    /// The last chore failed; when to try again.
    pub retry_at: Option<Uptime>,
    /// Since when there is something that is not synced.
    dirty: Option<Uptime>,
}

impl Books {
    /// The books of a disk that is to be opened.
    pub fn new(kernel: &str, sync_interval_ms: Option<u64>) -> Self {
        Books {
            kernel: kernel.to_owned(),
            sync_interval_ms,
            ..Books::default()
        }
    }

    /// When the disk has something to do: now, or at the instant that is returned. `idle`: there is nothing else to
    /// do.
    pub fn chore_at(&self, waiting: &Waiting, now: Uptime, idle: bool) -> Uptime {
        if self.running.is_some() {
            return Uptime::NEVER;
        }
        if let Some(retry_at) = self.retry_at {
            return retry_at;
        }
        let has_news = self.untold || !self.done.is_empty();
        let wants_flush = has_news && (idle || self.done.len() > MAX_DONE);
        let wants_read = self.wants_read(waiting);
        if !self.is_open || waiting.unstored() > 0 || wants_flush || wants_read {
            return now;
        }
        let again_at = self.left.filter(|_| self.has_room(waiting));
        let again_at = again_at.map_or(Uptime::NEVER, |(_, at)| at.max(now));
        self.sync_at().unwrap_or(Uptime::NEVER).min(again_at)
    }

    /// Begins a chore. `chore` may be one that is finished; its memory is used again.
    pub fn begin(
        &mut self,
        waiting: &mut Waiting,
        chore: &mut Chore,
        totals: Totals,
        now: Uptime,
        unix_ms: u64,
    ) {
        if let Some((left, _)) = self.left.take_if(|(_, at)| *at <= now) {
            self.read_from = self.read_from.min(left);
        }
        let wants_read = self.wants_read(waiting);
        self.running = Some(now);
        chore.reset();
        if !self.is_open {
            chore.uptime_ms = now.as_millis();
            chore.clock = QueueClock {
                kernel: self.kernel.clone(),
                ahead_ms: unix_ms.saturating_sub(now.as_millis()),
            };
            return;
        }
        chore.totals = Totals {
            unstored: self.done_unnumbered,
            ..totals
        };
        self.untold = false;
        std::mem::swap(&mut chore.done, &mut self.done);
        self.number(waiting, chore);
        chore.next = self.next;
        chore.sync = self.sync_at().is_some_and(|at| at <= now);
        chore.outlives_power = self.sync_interval_ms.is_some();
        if wants_read {
            let mut known = self.out.clone();
            for number in waiting.iter().filter_map(|it| it.number) {
                known.insert(number..number + 1);
            }
            chore.wanted = Some(Wanted {
                from: self.read_from,
                left: None,
                bytes: WINDOW_BYTES.saturating_sub(waiting.bytes()),
                known,
            });
            // A report that leaves memory meanwhile lowers it.
            self.read_from = self.next;
        }
    }

    /// Takes the result of a chore.
    pub fn finish(
        &mut self,
        waiting: &mut Waiting,
        chore: &mut Chore,
        worked: bool,
        now: Uptime,
    ) -> Finished {
        self.running = None;
        self.retry_at = (!worked).then(|| now.after_millis(RETRY_MS));
        if let Some(found) = chore.opened.take() {
            return Finished {
                restored: Some(self.opened(found, waiting, now)),
                given_up: GivenUp::default(),
            };
        }
        if !self.is_open {
            return Finished::default();
        }
        let mut given_up = GivenUp::default();
        self.bytes = chore.bytes;
        self.untold |= !worked;
        // These could not be written.
        for range in chore.done.iter() {
            self.done.insert(range);
        }
        self.enter_stored(chore, waiting, now);
        if let Some(first) = chore.gone_from {
            // Files were removed: write again what memory still has of them.
            waiting.mark_unstored(first);
        }
        given_up.overflow += self.enter_lost(chore, waiting);
        for range in chore.damaged.iter() {
            let count = self.done.insert(range);
            self.undone = self.undone.saturating_sub(count);
            given_up.damaged += count;
        }
        if let Some(wanted) = &chore.wanted {
            self.read_from = self.read_from.min(wanted.from);
            if let Some(left) = wanted.left {
                let before = self.left.map_or(left, |(before, _)| before);
                self.left = Some((before.min(left), now.after_millis(RETRY_MS)));
            }
        }
        self.enter_found(chore, waiting, now);
        Finished {
            given_up,
            restored: None,
        }
    }

    /// Reports that wait and have to be read before they can be sent.
    pub fn on_disk_only(&self, waiting: &Waiting) -> u64 {
        let in_memory = waiting.numbered() + self.out.count();
        self.undone.saturating_sub(in_memory)
    }

    /// Whether some reports below a number could not be read and are to be tried again.
    pub fn is_left(&self, below: u64) -> bool {
        self.left.is_some_and(|(left, _)| left < below)
    }

    /// Notes that a report was taken out of memory. Later it is done, or comes back to [`Books::note_back`].
    pub fn note_out(&mut self, record: &Record) {
        if let Some(number) = record.number {
            self.out.insert(number..number + 1);
        }
    }

    /// Notes that a report that was taken out is back.
    pub fn note_back(&mut self, record: &Record) {
        if let Some(number) = record.number {
            self.out.remove(number..number + 1);
        }
    }

    /// Gives up the reports on their way that only memory has. Returns how many.
    pub fn forget_flying(&mut self) -> u64 {
        let mut flying = std::mem::take(&mut self.flying);
        let mut count = 0;
        for number in flying.forget() {
            self.note_done(number);
            count += 1;
        }
        self.flying = flying;
        count
    }

    /// Notes that a report on disk left memory and is to be read again.
    pub fn note_left(&mut self, record: &Record) {
        if let Some(number) = record.number {
            self.read_from = self.read_from.min(number);
        }
    }

    /// Notes that a report is done, whether it has a number or not.
    pub fn note_done(&mut self, number: Option<u64>) {
        match number {
            Some(number) => {
                let range = number..number + 1;
                self.out.remove(range.clone());
                self.undone -= self.done.insert(range).min(self.undone);
            }
            None => {
                self.done_unnumbered += 1;
                self.untold = true;
            }
        }
    }

    /// Whether a report that was taken out has been given up meanwhile.
    pub fn is_lost(&self, record: &Record) -> bool {
        record.number.is_some_and(|it| it < self.lost_below)
    }

    fn wants_read(&self, waiting: &Waiting) -> bool {
        self.has_room(waiting) && self.read_from < self.next
    }

    fn has_room(&self, waiting: &Waiting) -> bool {
        waiting.bytes() < WINDOW_BYTES / 2
    }

    fn sync_at(&self) -> Option<Uptime> {
        let interval_ms = self.sync_interval_ms?;
        Some(self.dirty?.after_millis(interval_ms))
    }

    /// Gives the reports that are not on disk their numbers, in their order, and copies them into the chore.
    fn number(&mut self, waiting: &mut Waiting, chore: &mut Chore) {
        let unstored = waiting
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, it)| !it.stored);
        // They are the newest, so the search ends soon.
        let unstored = unstored
            .take(waiting.unstored())
            .map(|(index, it)| (it.number.unwrap_or(u64::MAX), it.queued_ms, index));
        chore.order.extend(unstored);
        chore.order.sort_unstable_by_key(|(.., index)| *index);
        let all_is_in_memory = self.read_from == self.next;
        for (_, at_ms, index) in chore.order.drain(..) {
            if chore.reports.len() > MAX_APPEND_BYTES {
                break;
            }
            let Some((number, is_new)) = waiting.number(index, self.next) else {
                break;
            };
            self.undone += u64::from(is_new);
            self.next += u64::from(is_new);
            let report = waiting.get(index).map(|it| it.report.as_slice());
            chore.reports.extend_from_slice(report.unwrap_or_default());
            chore.entries.push((number, at_ms, chore.reports.len()));
        }
        if all_is_in_memory {
            self.read_from = self.next;
        }
    }

    fn opened(&mut self, found: Found, waiting: &mut Waiting, now: Uptime) -> Restored {
        let Found {
            next,
            first,
            undone,
            totals,
            clock,
        } = found;
        waiting.set_clock(clock.ahead_ms);
        self.is_open = true;
        // An earlier run may have ended before it synced, so a sync is due at once.
        let interval_ms = self.sync_interval_ms.unwrap_or_default();
        let since = Uptime::from_millis(now.as_millis().saturating_sub(interval_ms));
        self.dirty = (undone > 0).then_some(since);
        self.next = next;
        self.read_from = first;
        self.undone = undone;
        self.done_unnumbered += totals.unstored;
        let done = (next + totals.unstored).saturating_sub(undone);
        Restored {
            queued: undone,
            acknowledged: done.saturating_sub(totals.dropped.total()),
            totals,
        }
    }

    fn enter_stored(&mut self, chore: &Chore, waiting: &mut Waiting, now: Uptime) {
        if chore.sync && self.retry_at.is_none() {
            self.dirty = None;
        } else if chore.stored > 0 {
            self.dirty.get_or_insert(now);
        }
        if chore.stored == 0 {
            return;
        }
        let mut stored = Ranges::default();
        for (number, ..) in chore.entries.iter().take(chore.stored) {
            stored.insert(*number..number + 1);
        }
        self.flying.mark_stored(&stored);
        waiting.mark_stored(&stored);
    }

    /// Takes which reports the disk gave up for want of room. Returns how many.
    fn enter_lost(&mut self, chore: &Chore, waiting: &mut Waiting) -> u64 {
        self.lost_below = self.lost_below.max(chore.lost_below);
        if chore.lost == 0 {
            return 0;
        }
        let below = 0..self.lost_below;
        // These were done meanwhile, so they are accounted for already.
        let done_meanwhile = self.done.remove(below.clone());
        let lost_flying = self.flying.lose_below(self.lost_below);
        // The others that were taken out are accounted for when they come back.
        let out = self.out.remove(below) - lost_flying;
        self.undone = self.undone.saturating_sub(chore.lost - done_meanwhile);
        waiting.drop_below(chore.lost_below);
        chore.lost - done_meanwhile - out
    }

    fn enter_found(&mut self, chore: &mut Chore, waiting: &mut Waiting, now: Uptime) {
        let now_ms = waiting.queue_ms(now);
        for found in chore.found.drain(..) {
            let (service, service_name) = read_whose(&found.report);
            waiting.put_back(Record {
                report: found.report,
                service,
                service_name,
                not_before: now,
                is_fresh: false,
                is_late: false,
                tries: 0,
                way_tries: 0,
                is_alone: false,
                taken_when_failed: 0,
                // No report is from the future, no matter what its line says.
                queued_ms: found.at_ms.min(now_ms),
                number: Some(found.number),
                stored: true,
                misplaced: false,
                nth: 0,
                since: 0,
            });
        }
    }
}
