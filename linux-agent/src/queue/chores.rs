//! What the disk is asked to do, and what that comes to.

use mote_core::Uptime;

use super::chore::{Chore, Clock, Found, Read};
use super::key::key_of;
use super::line::Totals;
use super::ranges::Ranges;
use super::{Finished, GivenUp, OVERHEAD_BYTES, Queue, Record, Restored, WINDOW_BYTES};

/// After a call on the disk failed, the next is made after this time.
const RETRY_MS: u64 = 5000;

/// So many ranges of reports are done with before that is written although there is more to send.
const MAX_DONE: usize = 64;

impl Queue {
    /// When the disk has something to do: now, or at the instant that is given. `idle`: there is nothing else to do.
    pub fn chore_at(&self, now: Uptime, idle: bool) -> Uptime {
        let Some(books) = self.books.as_ref().filter(|it| it.running.is_none()) else {
            return Uptime::NEVER;
        };
        if let Some(retry_at) = books.retry_at {
            return retry_at;
        }
        let has_news = books.untold || !books.done.is_empty();
        let wants_flush = has_news && (idle || books.done.len() > MAX_DONE);
        if !books.is_open || books.unstored > 0 || wants_flush || self.wants_read(books) {
            return now;
        }
        books.sync_at().unwrap_or(Uptime::NEVER)
    }

    /// Begins a chore. `chore` may be one that is finished; its memory is used again.
    pub fn begin(&mut self, chore: &mut Chore, mut totals: Totals, now: Uptime, unix_ms: u64) {
        let wants_read = self.books.as_ref().is_some_and(|it| self.wants_read(it));
        let Some(books) = &mut self.books else { return };
        books.running = Some(now);
        chore.reset();
        if !books.is_open {
            chore.uptime_ms = now.as_millis();
            chore.clock = Clock {
                kernel: books.kernel.clone(),
                ahead_ms: unix_ms.saturating_sub(now.as_millis()),
            };
            return;
        }
        totals.unstored = books.done_unnumbered;
        books.untold = false;
        chore.totals = totals;
        chore.max_bytes = self.max_bytes as u64;
        std::mem::swap(&mut chore.done, &mut books.done);
        books.number(&mut self.waiting, chore);
        chore.next = books.next;
        chore.sync = books.sync_at().is_some_and(|at| at <= now);
        chore.outlives_power = books.sync_interval_ms.is_some();
        if wants_read {
            let waiting = self.waiting.iter().filter_map(|it| it.number);
            let mut known = books.out.clone();
            for number in waiting {
                known.insert(number..number + 1);
            }
            chore.read = Some(Read {
                from: books.read_from,
                bytes: WINDOW_BYTES.saturating_sub(self.bytes),
                known,
            });
            // What leaves memory meanwhile lowers it.
            books.read_from = books.next;
        }
    }

    /// Enters what became of a chore.
    pub fn finish(&mut self, chore: &mut Chore, worked: bool, now: Uptime) -> Finished {
        let Some(books) = &mut self.books else {
            return Finished::default();
        };
        books.running = None;
        books.retry_at = (!worked).then(|| now.after_millis(RETRY_MS));
        if let Some(found) = chore.opened.take() {
            let restored = Some(self.opened(found, now));
            let given_up = self.enforce(now);
            return Finished { given_up, restored };
        }
        if !books.is_open {
            return Finished::default();
        }
        let mut given_up = GivenUp::default();
        books.bytes = chore.bytes;
        books.untold |= !worked;
        // Those that could not be written.
        for range in chore.done.iter() {
            books.done.insert(range);
        }
        self.enter_stored(chore, now);
        self.enter_gone(chore);
        given_up.overflow += self.enter_lost(chore);
        if let Some(books) = &mut self.books {
            for range in chore.damaged.iter() {
                let count = books.done.insert(range);
                books.undone = books.undone.saturating_sub(count);
                given_up.damaged += count;
            }
            if let Some(read) = &chore.read {
                books.read_from = books.read_from.min(read.from);
            }
        }
        self.enter_found(chore, now);
        let enforced = self.enforce(now);
        given_up.overflow += enforced.overflow;
        given_up.expired += enforced.expired;
        Finished {
            given_up,
            restored: None,
        }
    }

    fn opened(&mut self, found: Found, now: Uptime) -> Restored {
        let Found {
            next,
            first,
            undone,
            totals,
            clock,
        } = found;
        let shift = |at_ms: u64| {
            at_ms
                .saturating_add(clock.ahead_ms)
                .saturating_sub(self.ahead_ms)
        };
        for record in &mut self.waiting {
            record.queued_ms = shift(record.queued_ms);
        }
        self.ahead_ms = clock.ahead_ms;
        if let Some(books) = &mut self.books {
            books.is_open = true;
            // Whoever wrote it may have been about to sync it, and whoever was before, too: so it is due at once.
            let interval_ms = books.sync_interval_ms.unwrap_or_default();
            let since = Uptime::from_millis(now.as_millis().saturating_sub(interval_ms));
            books.dirty = (undone > 0).then_some(since);
            books.next = next;
            books.read_from = first;
            books.undone = undone;
            books.done_unnumbered += totals.unstored;
        }
        let done = (next + totals.unstored).saturating_sub(undone);
        Restored {
            queued: undone,
            acknowledged: done.saturating_sub(totals.dropped.total()),
            totals,
        }
    }

    fn enter_stored(&mut self, chore: &Chore, now: Uptime) {
        let Some(books) = &mut self.books else { return };
        if chore.sync && books.retry_at.is_none() {
            books.dirty = None;
        } else if chore.stored > 0 {
            books.dirty.get_or_insert(now);
        }
        if chore.stored == 0 {
            return;
        }
        let mut stored = Ranges::default();
        for (number, ..) in chore.entries.iter().take(chore.stored) {
            stored.insert(*number..number + 1);
        }
        if books.flying.is_some_and(|it| stored.contains(it)) {
            books.flying_is_unstored = false;
            books.stored_in_flight = books.flying;
        }
        for record in self.waiting.iter_mut().filter(|it| !it.stored) {
            if record.number.is_some_and(|it| stored.contains(it)) {
                record.stored = true;
                books.unstored -= 1;
            }
        }
    }

    /// What memory still has of files that were removed is written again.
    fn enter_gone(&mut self, chore: &Chore) {
        let (Some(first), Some(books)) = (chore.gone_from, &mut self.books) else {
            return;
        };
        for record in self.waiting.iter_mut().filter(|it| it.stored) {
            if record.number.is_some_and(|it| it >= first) {
                record.stored = false;
                books.unstored += 1;
            }
        }
    }

    /// Enters which reports the disk gave up for want of room; gives how many that are.
    fn enter_lost(&mut self, chore: &Chore) -> u64 {
        let Some(books) = &mut self.books else {
            return 0;
        };
        books.lost_below = books.lost_below.max(chore.lost_below);
        if chore.lost == 0 {
            return 0;
        }
        let below = 0..books.lost_below;
        // These were done while the disk was at it, so they are accounted for already.
        let done_meanwhile = books.done.remove(below.clone());
        let is_lost = books.flying.is_some_and(|it| below.contains(&it)) && !books.flying_is_lost;
        books.flying_is_lost |= is_lost;
        // The others that were taken out are given up for another reason.
        let out = books.out.remove(below) - u64::from(is_lost);
        books.undone = books.undone.saturating_sub(chore.lost - done_meanwhile);
        let mut index = 0;
        while let Some(record) = self.waiting.get(index) {
            if record.number.is_some_and(|it| it < chore.lost_below) {
                if let Some(record) = self.remove(index) {
                    self.recycle(record);
                }
            } else {
                index += 1;
            }
        }
        chore.lost - done_meanwhile - out
    }

    /// What was read belongs before what is newer.
    fn enter_found(&mut self, chore: &mut Chore, now: Uptime) {
        let now_ms = self.queue_ms(now);
        for mut found in chore.found.drain(..) {
            // No report is from the future, whatever its line says.
            found.at_ms = found.at_ms.min(now_ms);
            let Some(books) = &mut self.books else { return };
            let is_older = |it: &Record| !it.misplaced && it.queued_ms <= found.at_ms;
            let is_older =
                |it: &Record| is_older(it) && it.number.is_some_and(|it| it < found.number);
            let index = self
                .waiting
                .iter()
                .rposition(is_older)
                .map_or(0, |index| index + 1);
            books.numbered += 1;
            self.bytes += found.report.len() + OVERHEAD_BYTES;
            let record = Record {
                service: key_of(&found.report),
                report: found.report,
                not_before: now,
                tries: 0,
                taken_when_failed: 0,
                queued_ms: found.at_ms,
                number: Some(found.number),
                stored: true,
                misplaced: false,
            };
            self.waiting.insert(index, record);
        }
    }
}
