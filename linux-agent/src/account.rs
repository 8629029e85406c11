//! Where all reports are: the figures that everything else uses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where all sampled reports are: `sampled = acknowledged + queued + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Reports that were made.
    pub sampled: u64,
    /// Reports that the server has.
    pub acknowledged: u64,
    /// Reports that wait or are on their way.
    pub queued: u64,
    /// Reports that were given up.
    pub dropped: Dropped,
}

/// Reports that were given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// The queue was full.
    pub overflow: u64,
    /// They waited longer than the settings allow.
    pub expired: u64,
    /// The server refused them for good.
    pub refused: u64,
    /// The server failed on them again and again while it took others.
    pub gave_up: u64,
    /// They were on disk and are missing or damaged there.
    pub damaged: u64,
    /// They were in memory only when the agent ended, since the disk did not take them.
    pub forgotten: u64,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.dropped.total();
        write!(
            f,
            "{} sampled = {} acknowledged + {} queued + {dropped} dropped",
            self.sampled, self.acknowledged, self.queued
        )?;
        for (reason, count) in self.dropped.reasons().filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {reason}")?;
        }
        Ok(())
    }
}

impl Dropped {
    /// Each reason by its name.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("overflow", self.overflow),
            ("expired", self.expired),
            ("refused", self.refused),
            ("gave_up", self.gave_up),
            ("damaged", self.damaged),
            ("forgotten", self.forgotten),
        ]
        .into_iter()
    }

    /// Takes the higher of each.
    pub fn raise(&mut self, other: &Dropped) {
        for (own, other) in [
            (&mut self.overflow, other.overflow),
            (&mut self.expired, other.expired),
            (&mut self.refused, other.refused),
            (&mut self.gave_up, other.gave_up),
            (&mut self.damaged, other.damaged),
            (&mut self.forgotten, other.forgotten),
        ] {
            *own = other.max(*own);
        }
    }

    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.reasons().map(|(_, count)| count).sum()
    }
}
