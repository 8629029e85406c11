//! What an answer means for the report that it is to, and for those that wait.

use mote_core::Uptime;

use super::{Blame, Uplink, WAY_TRIES};
use crate::delivery::failing::Said;
use crate::http::outcome::Outcome;
use crate::queue::Record;

/// A report that failed waits this long, doubled each time.
const AGAIN_MS: u64 = 1000;
const MAX_DOUBLINGS: u8 = 5;

impl Uplink {
    /// The server took a report. Returns whether another one is given up, since the server fails on that alone.
    pub(super) fn took(&mut self, record: Record, sent: Uptime, now: Uptime) -> bool {
        let service = record.service;
        self.queue.done(record);
        // What gathered while it failed is a backlog.
        self.pace.is_catching_up |= self.failing.knows(service);
        if self.failing.took(service, now) || std::mem::take(&mut self.is_out) {
            self.queue.wake(now);
        }
        self.answered(sent, now);
        let Some(spent) = self.spent.take() else {
            return false;
        };
        let spent = self.queue.take_all(|it| it.id() == spent);
        for record in &spent {
            self.failing.note_given_up(record.service);
        }
        self.give_up(spent)
    }

    pub(super) fn refused(&mut self, record: &Record, sent: Uptime, now: Uptime) {
        self.failing.refused(record.service);
        self.answered(sent, now);
    }

    fn answered(&mut self, sent: Uptime, now: Uptime) {
        self.pace.answered(sent);
        self.hold_until = Uptime::from_millis(0);
        // Reports that wait for another try are no backlog.
        let mut records = self.queue.records(now);
        let is_backlog = |it: &Record| it.not_before <= now && !self.failing.is_held(it.service);
        if self.queue.on_disk_only() == 0 && !records.any(|(it, _)| is_backlog(it)) {
            self.pace.caught_up();
        }
    }

    /// The server failed on a report. Returns whether reports are given up.
    pub(super) fn failed(
        &mut self,
        mut record: Record,
        outcome: Outcome,
        blame: Blame,
        took_ms: u64,
        now: Uptime,
    ) -> bool {
        let service = record.service;
        let said = self.failing.failed(service, took_ms, now);
        if !said.is_known {
            self.spent = None;
        }
        let is_first = record.tries == 0 && record.way_tries == 0;
        let counts = is_first || record.taken_when_failed < self.failing.taken();
        record.taken_when_failed = self.failing.taken();
        let is_spent = match blame {
            Blame::Report { attempts } => {
                record.tries += u8::from(counts);
                if attempts == 1 && record.tries > 0 && said.is_only_one {
                    // One failure says nothing until another report is taken after it.
                    self.spent = Some(record.id());
                }
                let was_same = match outcome {
                    Outcome::Doubtful => said.was_refused,
                    _ => said.was_given_up,
                };
                said.is_only_one
                    && (record.tries >= attempts.max(2) || said.others_work && was_same)
            }
            Blame::Way { .. } => {
                record.way_tries += u8::from(counts);
                said.is_only_one && record.way_tries >= WAY_TRIES
            }
        };
        let is_chance = matches!(blame, Blame::Way { retry_after: None }) && said.is_chance;
        if is_chance {
            self.pace.is_catching_up = true;
            self.failing.retry(service, now);
        } else {
            self.slow_down(service, blame, said, now);
        }
        if !is_spent {
            let doublings = record.tries.min(MAX_DOUBLINGS);
            let delay_ms = if is_chance { 0 } else { AGAIN_MS << doublings };
            record.not_before = now.after_millis(delay_ms);
            self.put_back(record, now);
            return false;
        }
        if outcome == Outcome::Doubtful {
            // A refusal is an answer: it holds up nothing.
            self.failing.note_refused(service);
            self.dead.push_back(record);
            // When it is not the first of the service, those that were refused before do not gather either.
            let alike = match said.others_work && said.was_refused {
                true => self
                    .queue
                    .take_all(|it| it.service == service && it.tries > 0),
                false => Vec::new(),
            };
            self.account.dropped.refused += 1 + alike.len() as u64;
            self.dead.extend(alike);
            return true;
        }
        let mut given_up = vec![record];
        if outcome == Outcome::Failed && said.was_given_up {
            given_up.extend(self.queue.take_all(|it| it.service == service));
        }
        if outcome == Outcome::Failed {
            self.failing.note_given_up(service);
        }
        self.give_up(given_up)
    }

    /// Leaves the server alone if the failure is the server's.
    fn slow_down(&mut self, service: u64, blame: Blame, said: Said, now: Uptime) {
        self.pace.is_catching_up = true;
        let retry_after_ms = match blame {
            Blame::Way { retry_after } => {
                retry_after.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
            }
            Blame::Report { .. } => None,
        };
        let is_alone = said.others_work && said.is_only_one;
        match retry_after_ms {
            Some(ms) if is_alone => self.failing.hold(service, now.after_millis(ms)),
            Some(ms) => self.hold(now, ms),
            None if is_alone => {}
            None if said.is_outage => {
                self.hold(now, 0);
                self.failing.note_hold();
            }
            None if said.is_again => {
                let until = self.pace.back_off(now);
                self.failing.hold(service, until);
            }
            None => {}
        }
    }

    /// Sends nothing for a while and `more_ms`.
    pub(super) fn hold(&mut self, now: Uptime, more_ms: u64) {
        self.pace.is_catching_up = true;
        self.is_out = true;
        self.hold_until = self.pace.back_off(now).after_millis(more_ms);
    }

    /// Gives whether there are any.
    fn give_up(&mut self, records: Vec<Record>) -> bool {
        self.account.dropped.gave_up += records.len() as u64;
        let is_any = !records.is_empty();
        self.dead.extend(records);
        is_any
    }
}
