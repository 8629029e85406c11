//! Which changes people hear of, and in how few messages.
//!
//! An alarm knows what people know of it. A message is due when that is not what they should know; a silence, a storm and
//! a gateway that is away only hold it back. So nothing that was held back is forgotten, and nothing is said twice.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::alarm::{Alarm, AlarmKey};
use super::engine::Engine;
use super::machine::{Phase, Told};
use super::message::{Brief, MAX_NAMED, Message, MessageKind, joint, single};
use super::moment::Now;
use super::records::AlarmRecord;

/// Many hosts are late at once if more than this share of them are, in percent, and at least [`STORM_HOSTS`].
pub const STORM_SHARE: usize = 30;

/// See [`STORM_SHARE`].
pub const STORM_HOSTS: usize = 3;

/// At once: within this time, in milliseconds.
const STORM_WINDOW_MS: i64 = 120_000;

/// Where there are hosts enough for a storm, a late one is told after this time, in milliseconds, with others of then.
const GATHER_MS: i64 = 20_000;

/// When what held a message back is over, the alarm has this time to end as well, in milliseconds.
const HANDOVER_MS: i64 = 120_000;

/// The built-in alarm that storms are made of.
const LATE: &str = "late";

/// What is to be said of one alarm, and who hears it.
type Single = (MessageKind, Brief, Vec<String>);

/// What is said of many hosts as one.
#[derive(Default)]
pub struct Teller {
    /// When it was told that many hosts are late, by the steady clock, while they are.
    storm_ms: Option<i64>,
}

impl Teller {
    /// The messages that are due. What lasts is said again after `repeat_ms`.
    pub fn tell(&mut self, engine: &mut Engine, repeat_ms: i64, now: Now) -> Vec<Message> {
        engine.silences.pass(now);
        for alarm in engine.alarms.values_mut() {
            alarm.machine.pass(now.steady_ms);
        }
        let mut messages = Vec::new();
        messages.extend(self.storm(engine, repeat_ms, now));
        self.hold_back(engine, now);
        let mut singles: BTreeMap<&str, Vec<Single>> = BTreeMap::new();
        for (key, kind) in due(engine, repeat_ms, now) {
            let behind = behind(engine, &key);
            let label = engine.label(key.client.as_ref());
            let Some(alarm) = engine.alarms.get_mut(&key) else {
                continue;
            };
            // What was part of a larger message ends without one.
            let is_quiet = alarm.is_joined && kind == MessageKind::Cleared;
            let mut brief = Brief::of(&alarm.row, &label);
            if kind == MessageKind::Fired && !behind.is_empty() {
                brief.text = format!("{}; behind it: {}", brief.text, behind.join(", "));
            }
            let notify = alarm.notify.clone();
            alarm.note_told(alarm.machine.wants(), false, now);
            let row = alarm.row.clone();
            if row.id > 0 {
                engine.record(AlarmRecord::Alarm(row));
            }
            if !is_quiet {
                singles
                    .entry(kind.name())
                    .or_default()
                    .push((kind, brief, notify));
            }
        }
        messages.extend(singles.into_values().flat_map(in_few));
        let alarms = &mut engine.alarms;
        alarms.retain(|_, it| !(it.machine.is_forgettable() && it.told == Told::Nothing));
        messages
    }

    /// Begins a storm, ends it, or says again that it lasts.
    fn storm(&mut self, engine: &mut Engine, repeat_ms: i64, now: Now) -> Option<Message> {
        let late = late(engine);
        let share = |hosts: usize| hosts * 100 / engine.reporting.max(1);
        let is_recent = |key: &&AlarmKey| {
            let alarm = engine.alarms.get(*key);
            alarm.is_some_and(|it| now.steady_ms - it.machine.since_ms() < STORM_WINDOW_MS)
        };
        let recent = late.iter().filter(is_recent).count();
        let total = engine.reporting;
        let (kind, title, sentence) = match self.storm_ms {
            None if recent >= STORM_HOSTS && share(recent) > STORM_SHARE => {
                self.storm_ms = Some(now.steady_ms);
                let title = format!("[critical] {recent} of {total} hosts went late at once");
                let sentence = "Perhaps what connects them to the collector is away, or the collector itself is cut off. \
                                Nothing more is said of single hosts until most report again.";
                (MessageKind::Storm, title, sentence)
            }
            Some(_) if share(late.len()) <= STORM_SHARE / 2 => {
                self.storm_ms = None;
                let title = format!(
                    "[cleared] {} of {total} hosts report again",
                    total - late.len().min(total)
                );
                let sentence = match late.is_empty() {
                    true => "All hosts report again.",
                    false => "Most hosts report again. Still late:",
                };
                (MessageKind::Over, title, sentence)
            }
            Some(told_ms) if now.steady_ms - told_ms >= repeat_ms => {
                self.storm_ms = Some(now.steady_ms);
                let title = format!("[critical, still] {} of {total} hosts are late", late.len());
                (
                    MessageKind::Repeat,
                    title,
                    "They have been late since many went at once:",
                )
            }
            _ => return None,
        };
        let briefs = late.iter().filter_map(|key| {
            let label = engine.label(key.client.as_ref());
            Some(Brief::of(&engine.alarms.get(key)?.row, &label))
        });
        let message = joint(kind, &title, sentence, briefs.collect());
        for key in late {
            note(engine, &key, kind != MessageKind::Over, now);
        }
        Some(message)
    }

    /// What something larger explains counts as told.
    fn hold_back(&self, engine: &mut Engine, now: Now) {
        for key in late(engine) {
            let is_held = self.storm_ms.is_some() || gateway_is_late(engine, &key);
            let is_free = |it: &Alarm| it.told == Told::Nothing || it.is_joined;
            if is_held && engine.alarms.get(&key).is_some_and(is_free) {
                note(engine, &key, true, now);
            }
        }
    }
}

/// Notes that people know of an alarm that fires.
fn note(engine: &mut Engine, key: &AlarmKey, is_joined: bool, now: Now) {
    let Some(alarm) = engine.alarms.get_mut(key) else {
        return;
    };
    let is_new = alarm.told != Told::Firing;
    alarm.note_told(Told::Firing, is_joined, now);
    if is_new {
        let row = alarm.row.clone();
        engine.record(AlarmRecord::Alarm(row));
    }
}

/// Late hosts of which somebody wants to hear.
fn late(engine: &Engine) -> Vec<AlarmKey> {
    let fires = |(key, alarm): &(&AlarmKey, &Alarm)| {
        key.name == LATE
            && alarm.machine.phase() == Phase::Firing
            && alarm.machine.wants() == Told::Firing
            && engine.silences.of(key.client.as_ref(), LATE).is_none()
    };
    let late = engine.alarms.iter().filter(fires);
    late.map(|(key, _)| key.clone()).collect()
}

fn gateway_is_late(engine: &Engine, key: &AlarmKey) -> bool {
    let mut hosts = engine.hosts.iter();
    let carries = |host: &[_]| host.iter().any(|board| Some(board) == key.client.as_ref());
    let Some((gateway, _)) = hosts.find(|(_, host)| carries(&host.reports_for)) else {
        return false;
    };
    let client = Some(gateway.clone());
    let alarm = engine.alarms.get(&AlarmKey {
        client,
        ..key.clone()
    });
    alarm.is_some_and(|it| it.machine.phase() == Phase::Firing)
}

/// The late boards of a late gateway.
fn behind(engine: &Engine, key: &AlarmKey) -> Vec<String> {
    let gateway = key.client.as_ref().and_then(|it| engine.hosts.get(it));
    let Some(gateway) = gateway.filter(|_| key.name == LATE) else {
        return Vec::new();
    };
    let boards = gateway.reports_for.iter().filter(|board| {
        let client = Some((*board).clone());
        let alarm = engine.alarms.get(&AlarmKey {
            client,
            ..key.clone()
        });
        alarm.is_some_and(|it| it.machine.phase() == Phase::Firing)
    });
    boards
        .take(MAX_NAMED)
        .map(|it| engine.label(Some(it)))
        .collect()
}

/// The alarms of which people know something else than they should, and what to say.
fn due(engine: &Engine, repeat_ms: i64, now: Now) -> Vec<(AlarmKey, MessageKind)> {
    let gathers = engine.reporting >= STORM_HOSTS;
    let mut due = Vec::new();
    for (key, alarm) in &engine.alarms {
        if engine.silences.of(key.client.as_ref(), &key.name).is_some() {
            continue;
        }
        let known_ms = now.steady_ms - alarm.told_ms;
        let kind = match (alarm.machine.wants(), alarm.told) {
            (Told::Firing, Told::Firing) if alarm.is_joined && known_ms >= HANDOVER_MS => {
                MessageKind::Fired
            }
            (Told::Firing, Told::Firing) if !alarm.is_joined && known_ms >= repeat_ms => {
                MessageKind::Repeat
            }
            (wants, told) if wants == told => continue,
            (Told::Firing, _) => {
                let age_ms = now.steady_ms - alarm.machine.since_ms();
                if key.name == LATE && gathers && age_ms < GATHER_MS {
                    continue;
                }
                MessageKind::Fired
            }
            (Told::Flapping, _) => MessageKind::Flapping,
            (Told::Nothing, _) => MessageKind::Cleared,
        };
        due.push((key.clone(), kind));
    }
    due
}

/// Each its own, unless they are many.
fn in_few(mut messages: Vec<Single>) -> Vec<Message> {
    if messages.len() <= MAX_NAMED {
        let each = messages.into_iter();
        return each
            .map(|(kind, brief, notify)| single(kind, brief, notify))
            .collect();
    }
    messages.sort_by_key(|(_, brief, _)| Reverse(brief.severity));
    let kind = messages
        .first()
        .map_or(MessageKind::Many, |(kind, ..)| *kind);
    let title = format!("[{}] {} alarms at once", kind.name(), messages.len());
    let briefs = messages.into_iter().map(|(_, brief, _)| brief).collect();
    vec![joint(
        MessageKind::Many,
        &title,
        "They are too many for a message each:",
        briefs,
    )]
}
