//! An alarm of one host, and its row in the table.

use super::machine::{FLAP_WINDOW_MS, Judgement, Machine, Phase, Told};
use super::moment::Now;
use crate::client_name::ClientName;
use crate::collector::settings::alarms::Severity;

/// Which alarm. At most one of each key is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmKey {
    /// Of which host. `None`: of the collector itself.
    pub client: Option<ClientName>,
    /// Which of its alarms.
    pub name: String,
    /// Of which item; empty: of none.
    pub item: String,
}

/// What the database keeps of one time that it was bad.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmRow {
    /// Its number.
    pub id: i64,
    /// Of which host. `None`: of the collector itself.
    pub client: Option<ClientName>,
    /// Which of its alarms.
    pub name: String,
    /// Of which item; empty: of none.
    pub item: String,
    /// How bad it is.
    pub severity: Severity,
    /// When it began to be bad, in milliseconds since 1970-01-01 00:00 UTC.
    pub began_ms: i64,
    /// When it fired, if it did.
    pub fired_ms: Option<i64>,
    /// When it ended, if it has.
    pub ended_ms: Option<i64>,
    /// The figure, as it was seen last while it was bad.
    pub value: Option<f64>,
    /// What it must not go beyond.
    pub level: Option<f64>,
    /// What that is in words.
    pub text: String,
    /// What people know.
    pub told: Told,
}

/// What was seen of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// How it is.
    pub verdict: Judgement,
    /// Its value, if it has one.
    pub value: Option<f64>,
    /// What it must not go beyond.
    pub level: Option<f64>,
    /// What that is in words.
    pub text: String,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fires now.
    Fired,
    /// It ended.
    Cleared,
    /// It began to be bad.
    Began,
    /// It is good again without having fired.
    Withdrawn,
}

/// An alarm.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub machine: Machine,
    /// Of now, or of the last time.
    pub row: AlarmRow,
    /// What people know.
    pub told: Told,
    /// Since when, by the steady clock.
    pub told_ms: i64,
    /// They know it by a message about something larger: a storm, or the gateway.
    pub is_joined: bool,
    /// Why, if it is known that something larger is behind it.
    pub cause: Option<String>,
    /// Since when reports are missing, if it is about that, in milliseconds since 1970-01-01 00:00 UTC.
    pub quiet_ms: Option<i64>,
    /// Who is to hear of it; nobody: everybody.
    pub notify: Vec<String>,
}

impl Alarm {
    /// One that nothing is wrong with yet.
    pub fn new(key: &AlarmKey, severity: Severity, notify: &[String], now: Now) -> Alarm {
        Alarm {
            machine: Machine::new(now.steady_ms),
            row: AlarmRow {
                id: 0,
                name: key.name.clone(),
                client: key.client.clone(),
                item: key.item.clone(),
                severity,
                began_ms: now.unix_ms,
                fired_ms: None,
                ended_ms: None,
                value: None,
                level: None,
                text: String::new(),
                told: Told::Nothing,
            },
            told: Told::Nothing,
            told_ms: now.steady_ms,
            is_joined: false,
            cause: None,
            quiet_ms: None,
            notify: notify.to_vec(),
        }
    }

    /// One that the database remembers. `firings` are the times at which it fired lately.
    pub fn restored(row: AlarmRow, firings: &[i64], now: Now) -> Alarm {
        let phase = match (row.ended_ms, row.fired_ms) {
            (Some(_), _) => Phase::Good,
            (None, Some(_)) => Phase::Firing,
            (None, None) => Phase::Pending,
        };
        let since_ms = row.ended_ms.or(row.fired_ms).unwrap_or(row.began_ms);
        let firings = firings.iter().map(|at| now.steady_at(*at));
        let recent = firings.filter(|at| now.steady_ms - at < FLAP_WINDOW_MS);
        let is_flapping = row.told == Told::Flapping;
        Alarm {
            machine: Machine::restored(phase, now.steady_at(since_ms), recent, is_flapping),
            told: row.told,
            told_ms: now.steady_at(row.fired_ms.unwrap_or(row.began_ms)),
            is_joined: false,
            cause: None,
            quiet_ms: None,
            notify: Vec::new(),
            row,
        }
    }

    /// Which one a row is of.
    pub fn new_key(row: &AlarmRow) -> AlarmKey {
        AlarmKey {
            client: row.client.clone(),
            name: row.name.clone(),
            item: row.item.clone(),
        }
    }

    /// Takes a look. `next` gives the number of a new row.
    pub fn look(&mut self, sight: Sight, hold_ms: i64, now: Now, next: &mut i64) -> Option<Change> {
        let before = self.machine.phase();
        let flaps = self.flaps();
        self.machine.look(sight.verdict, hold_ms, now.steady_ms);
        let after = self.machine.phase();
        let row = &mut self.row;
        if before == Phase::Good && after != Phase::Good {
            row.ended_ms = None;
            // What flaps is one time that it was bad.
            if !flaps || row.id == 0 {
                (row.id, *next) = (*next, *next + 1);
                (row.began_ms, row.fired_ms) = (now.unix_ms, None);
            }
        }
        // How it ended stands in the row; what it was about does too.
        if after != Phase::Good {
            (row.value, row.level, row.text) = (sight.value, sight.level, sight.text);
        }
        match (before, after) {
            (Phase::Good | Phase::Pending, Phase::Firing) => {
                row.fired_ms = row.fired_ms.or(Some(now.unix_ms));
                Some(Change::Fired)
            }
            (Phase::Firing, Phase::Good) => {
                row.ended_ms = Some(now.unix_ms);
                Some(Change::Cleared)
            }
            (Phase::Good, Phase::Pending) => Some(Change::Began),
            (Phase::Pending, Phase::Good) => Some(Change::Withdrawn),
            _ => None,
        }
    }

    /// Whether it comes and goes so often that single changes are not worth a word, nor a row.
    pub fn flaps(&self) -> bool {
        self.machine.wants() == Told::Flapping
    }

    /// Notes that people know.
    pub fn note_told(&mut self, told: Told, is_joined: bool, now: Now) {
        (self.told, self.row.told) = (told, told);
        (self.told_ms, self.is_joined) = (now.steady_ms, is_joined);
    }
}
