//! Messages on their way. They are on disk too, so that a restart forgets none.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::Message;
use super::moment::Now;

/// At most this many wait. Beyond that the oldest is given up.
pub const MAX_WAITING: usize = 1000;

/// A message is given up after this time, in milliseconds.
pub const MAX_AGE_MS: i64 = 86_400_000;

/// The first pause after a failure, and the longest, in milliseconds. Each is twice the one before.
const PAUSES_MS: (i64, i64) = (10_000, 600_000);

/// At most this many are with the messenger at a time.
const MAX_OUT: usize = 8;

/// At most this many alarms are listed in a message as JSON.
pub const MAX_LISTED: usize = 200;

/// A message to one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// Its number.
    pub id: i64,
    /// When it was written, in milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: i64,
    /// Who gets it.
    pub target: String,
    /// What it says.
    pub letter: Arc<Letter>,
    /// How often it was tried.
    pub tries: u32,
    /// What became of it.
    pub fate: MessageFate,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// What a message says, ready to be sent in any form.
#[derive(Debug, PartialEq)]
pub struct Letter {
    /// Why it is sent.
    pub kind: String,
    /// How bad it is.
    pub severity: String,
    /// One line.
    pub title: String,
    /// Some more.
    pub text: String,
    /// Its alarms, as JSON.
    pub alarms: String,
    /// The numbers of its alarms.
    pub ids: Vec<i64>,
}

impl Letter {
    /// That of a message.
    pub fn of(message: &Message) -> Letter {
        Letter {
            kind: message.kind.name().to_owned(),
            severity: message.severity.name().to_owned(),
            title: message.title.clone(),
            text: message.text.clone(),
            // Nothing in it can fail to be written.
            alarms: serde_json::to_string(
                message.alarms.get(..MAX_LISTED).unwrap_or(&message.alarms),
            )
            .unwrap_or_default(),
            ids: message.alarms.iter().map(|it| it.id).collect(),
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFate {
    /// It waits.
    Waiting,
    /// It arrived then, in milliseconds since 1970-01-01 00:00 UTC.
    Arrived(i64),
    /// It was given up then.
    GivenUp(i64),
}

/// Messages that have not arrived yet.
#[derive(Default)]
pub struct Outbox {
    waiting: BTreeMap<i64, Waiting>,
    next: i64,
}

struct Waiting {
    entry: OutboxEntry,
    /// When it is tried next, by the steady clock.
    due_ms: i64,
    is_out: bool,
}

impl Outbox {
    /// With those that were left, and the number of the next.
    pub fn restored(left: Vec<OutboxEntry>, next: i64, now: Now) -> Outbox {
        let waiting = left.into_iter().map(|entry| {
            let waiting = Waiting {
                due_ms: now.steady_ms,
                is_out: false,
                entry,
            };
            (waiting.entry.id, waiting)
        });
        Outbox {
            waiting: waiting.collect(),
            next,
        }
    }

    /// Adds a message to each of these. Gives what is new, and what is given up for it.
    pub fn add<'a>(
        &mut self,
        message: &Message,
        targets: impl Iterator<Item = &'a String>,
        now: Now,
    ) -> Vec<OutboxEntry> {
        let letter = Arc::new(Letter::of(message));
        let mut changed = Vec::new();
        for target in targets {
            let entry = OutboxEntry {
                id: self.next,
                at_ms: now.unix_ms,
                target: target.clone(),
                letter: Arc::clone(&letter),
                tries: 0,
                fate: MessageFate::Waiting,
                error: None,
            };
            self.next += 1;
            changed.push(entry.clone());
            let waiting = Waiting {
                due_ms: now.steady_ms,
                is_out: false,
                entry,
            };
            self.waiting.insert(waiting.entry.id, waiting);
        }
        while self.waiting.len() > MAX_WAITING {
            let Some((_, oldest)) = self.waiting.pop_first() else {
                break;
            };
            changed.push(given_up(oldest.entry, "too many messages wait", now));
        }
        changed
    }

    /// Those that have not arrived.
    pub fn waiting(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.waiting.values().map(|it| &it.entry)
    }

    /// Those to try now, and those that are given up: they are too old, or nobody is there any more to get them.
    pub fn due(
        &mut self,
        has: impl Fn(&str) -> bool,
        now: Now,
    ) -> (Vec<OutboxEntry>, Vec<OutboxEntry>) {
        let mut lost = Vec::new();
        self.waiting.retain(|_, it| {
            let reason = match (has(&it.entry.target), now.unix_ms - it.entry.at_ms) {
                _ if it.is_out => return true,
                (false, _) => "the settings do not have this receiver any more",
                (true, age_ms) if age_ms >= MAX_AGE_MS => "it did not arrive within a day",
                (true, _) => return true,
            };
            lost.push(given_up(it.entry.clone(), reason, now));
            false
        });
        let out = self.waiting.values().filter(|it| it.is_out).count();
        let due = self
            .waiting
            .values_mut()
            .filter(|it| !it.is_out && it.due_ms <= now.steady_ms);
        let mut due: Vec<_> = due.collect();
        // One whose receiver does not answer holds up no other.
        due.sort_by_key(|it| (it.entry.tries.min(1), it.entry.id));
        due.truncate(MAX_OUT.saturating_sub(out));
        let try_it = |it: &mut Waiting| {
            it.is_out = true;
            it.entry.clone()
        };
        (due.into_iter().map(try_it).collect(), lost)
    }

    /// Notes how a try ended. Gives the message as it is now.
    pub fn tried(&mut self, id: i64, result: Result<(), String>, now: Now) -> Option<OutboxEntry> {
        let waiting = self.waiting.get_mut(&id)?;
        waiting.is_out = false;
        let entry = &mut waiting.entry;
        entry.tries = entry.tries.saturating_add(1);
        match result {
            Ok(()) => {
                (entry.fate, entry.error) = (MessageFate::Arrived(now.unix_ms), None);
                self.waiting.remove(&id).map(|it| it.entry)
            }
            Err(sentence) => {
                entry.error = Some(sentence);
                let (first_ms, most_ms) = PAUSES_MS;
                let pause_ms = first_ms << (entry.tries - 1).min(20);
                waiting.due_ms = now.steady_ms + pause_ms.min(most_ms);
                Some(entry.clone())
            }
        }
    }
}

fn given_up(mut entry: OutboxEntry, reason: &str, now: Now) -> OutboxEntry {
    entry.fate = MessageFate::GivenUp(now.unix_ms);
    entry.error = Some(match entry.error {
        Some(error) => format!("{reason}; the last try: {error}"),
        None => reason.to_owned(),
    });
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::alarms::message::{MessageKind, joint};

    fn at(steady_ms: i64) -> Now {
        Now {
            steady_ms,
            unix_ms: 1_000_000 + steady_ms,
        }
    }

    fn add(outbox: &mut Outbox, count: usize) -> Vec<OutboxEntry> {
        let message = joint(MessageKind::Many, "t", "s", Vec::new());
        let target = "ops".to_owned();
        let added = (0..count).flat_map(|_| outbox.add(&message, std::iter::once(&target), at(0)));
        added.collect()
    }

    fn ids(entries: &[OutboxEntry]) -> Vec<i64> {
        entries.iter().map(|it| it.id).collect()
    }

    #[test]
    fn a_message_is_tried_again_with_growing_pauses_until_it_arrives() {
        let mut outbox = Outbox::default();
        add(&mut outbox, 1);
        let mut now_ms = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(outbox.due(|_| true, at(now_ms)).0.len(), 1);
            // It is out, so nobody else gets it meanwhile.
            assert_eq!(outbox.due(|_| true, at(now_ms)).0, []);
            let tried = outbox.tried(0, Err("no".to_owned()), at(now_ms)).unwrap();
            assert_eq!(
                (tried.fate, tried.error.as_deref()),
                (MessageFate::Waiting, Some("no"))
            );
            let before = now_ms;
            while outbox.due(|_| true, at(now_ms)).0.is_empty() {
                now_ms += 1000;
            }
            outbox.waiting.get_mut(&0).unwrap().is_out = false;
            pauses.push((now_ms - before) / 1000);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(outbox.due(|_| true, at(now_ms)).0.len(), 1);
        let arrived = outbox.tried(0, Ok(()), at(now_ms)).unwrap();
        assert_eq!(
            (arrived.fate, arrived.tries),
            (MessageFate::Arrived(at(now_ms).unix_ms), 10)
        );
        assert!(outbox.waiting.is_empty() && outbox.tried(0, Ok(()), at(now_ms)).is_none());
    }

    #[test]
    fn what_is_too_much_too_old_or_for_nobody_is_given_up_and_said() {
        let mut outbox = Outbox::default();
        let added = add(&mut outbox, MAX_WAITING + 1);
        let lost: Vec<_> = added
            .iter()
            .filter(|it| it.fate != MessageFate::Waiting)
            .collect();
        assert_eq!((lost.len(), lost[0].id), (1, 0));
        assert_eq!(lost[0].error.as_deref(), Some("too many messages wait"));
        let (due, lost) = outbox.due(|_| true, at(MAX_AGE_MS - 1));
        assert_eq!((due.len(), lost.len()), (MAX_OUT, 0));
        // Those that are out are waited for.
        let (_, lost) = outbox.due(|_| true, at(MAX_AGE_MS));
        assert_eq!(lost.len(), MAX_WAITING - MAX_OUT);
        let mut outbox = Outbox::default();
        add(&mut outbox, 1);
        assert_eq!(outbox.due(|_| false, at(0)).1.len(), 1);
    }

    #[test]
    fn one_that_fails_holds_up_no_new_one() {
        let mut outbox = Outbox::default();
        add(&mut outbox, 20);
        let first = ids(&outbox.due(|_| true, at(0)).0);
        assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7]);
        for id in first {
            outbox.tried(id, Err(String::new()), at(0));
        }
        let second = ids(&outbox.due(|_| true, at(20_000)).0);
        assert_eq!(second, [8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn those_that_were_left_are_tried_at_once() {
        let mut outbox = Outbox::default();
        let left = add(&mut outbox, 3);
        let mut outbox = Outbox::restored(left, 3, at(50_000));
        assert_eq!(ids(&outbox.due(|_| true, at(50_000)).0), [0, 1, 2]);
        assert_eq!(add(&mut outbox, 1)[0].id, 3);
    }
}
