//! What is known of the disk without asking it.

use std::collections::VecDeque;

use mote_core::Uptime;

use super::Record;
use super::chore::Chore;
use super::ranges::Ranges;

/// A chore appends at most this much, in bytes, and one report.
const MAX_APPEND_BYTES: usize = 256 << 10;

/// What is known of the disk.
#[derive(Debug)]
pub struct Books {
    pub kernel: String,
    /// With `durability = "power"`: how long what was appended may stay unsynced.
    pub sync_interval_ms: Option<u64>,
    pub is_open: bool,
    /// The number that the next report gets.
    pub next: u64,
    /// What is not done and below this is in memory.
    pub read_from: u64,
    /// Numbers that are not done, in memory or not.
    pub undone: u64,
    /// Those that are done and the disk does not know it.
    pub done: Ranges,
    /// Those of reports that were taken out and are not done yet.
    pub out: Ranges,
    /// The number of the report that is on its way to the server, whether only memory has it, and whether it was given up
    /// meanwhile.
    pub flying: Option<u64>,
    pub flying_is_unstored: bool,
    pub flying_is_lost: bool,
    /// The number of one that got to the disk while it was on its way.
    pub stored_in_flight: Option<u64>,
    /// All below were given up for want of room.
    pub lost_below: u64,
    /// Waiting records that have a number.
    pub numbered: u64,
    /// Waiting records that are not on disk.
    pub unstored: usize,
    /// Reports of all runs that were done with before they had a number.
    pub done_unnumbered: u64,
    /// The disk does not know of all of them.
    pub untold: bool,
    /// What the files take.
    pub bytes: u64,
    /// When the chore that is under way was begun.
    pub running: Option<Uptime>,
    /// The last chore failed; when to try again.
    pub retry_at: Option<Uptime>,
    /// When something was appended that has not been synced.
    pub dirty: Option<Uptime>,
}

impl Books {
    /// A report is done with, whether it has a number or not.
    pub fn note_done_of(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.note_done(number),
            None => {
                self.done_unnumbered += 1;
                self.untold = true;
            }
        }
    }

    fn note_done(&mut self, number: u64) {
        self.out.remove(number..number + 1);
        self.undone -= self.done.insert(number..number + 1).min(self.undone);
    }

    pub fn sync_at(&self) -> Option<Uptime> {
        let interval_ms = self.sync_interval_ms?;
        Some(self.dirty?.after_millis(interval_ms))
    }

    /// Gives the reports that are not on disk their numbers and copies them into the chore: first those that have
    /// one from an attempt that failed, then the others by age.
    pub fn number(&mut self, waiting: &mut VecDeque<Record>, chore: &mut Chore) {
        let unstored = waiting
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, it)| !it.stored);
        // They are the newest, so the search ends soon.
        let unstored = unstored
            .take(self.unstored)
            .map(|(index, it)| (it.number.unwrap_or(u64::MAX), it.queued_ms, index));
        chore.order.extend(unstored);
        chore.order.sort_unstable();
        let all_is_in_memory = self.read_from == self.next;
        for (_, at_ms, index) in chore.order.drain(..) {
            let Some(record) = waiting.get_mut(index) else {
                break;
            };
            if chore.reports.len() > MAX_APPEND_BYTES {
                break;
            }
            let number = *record.number.get_or_insert_with(|| {
                self.numbered += 1;
                self.undone += 1;
                self.next += 1;
                self.next - 1
            });
            chore.reports.extend_from_slice(&record.report);
            chore.entries.push((number, at_ms, chore.reports.len()));
        }
        if all_is_in_memory {
            self.read_from = self.next;
        }
    }
}
