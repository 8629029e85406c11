//! One group: what is known of it, and what is reported.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::figures::{GroupFigures, Io};
use super::layout::Life;
use super::names::GroupKind;
use crate::probes::kit::rate::{grown, per_second, per_second_of, percent, round2};

/// What a group uses: rates since this service's last sample, and levels now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GroupData {
    /// `service`, `slice`, `scope`, `container`, or `others`.
    pub(super) kind: &'static str,
    /// CPU time in percent of one CPU, two decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_p: Option<f64>,
    /// How much of it is allowed, in percent of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_limit_p: Option<f64>,
    /// In how many periods of that limit it was reached, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) throttled_p: Option<f64>,
    /// In bytes, without pages of files that were not used for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<u64>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_limit: Option<u64>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_bytes: Option<f64>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_bytes: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tasks: Option<u64>,
    /// How many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tasks_limit: Option<u64>,
    /// Processes killed for lack of memory since the group is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oom_kills: Option<u64>,
}

impl GroupData {
    /// The sum of no groups.
    pub fn others() -> Self {
        GroupData {
            kind: "others",
            ..GroupData::default()
        }
    }

    /// `None` if a counter went backwards, or appeared: a group is reported whole or not at all.
    fn new(
        kind: GroupKind,
        now: &GroupFigures,
        before: &GroupFigures,
        elapsed: Duration,
    ) -> Option<Self> {
        // Microseconds a second are a millionth of the whole, which is a ten thousandth of a percent.
        let cpu = |now, before| per_second_of(now, before, elapsed, 1e-4);
        let bytes = |now, before| per_second(now, before, elapsed);
        let read = |io: Io| io.read;
        let written = |io: Io| io.written;
        let limit_p = now
            .cpu_limit
            .map(|limit| round2(limit.quota_us as f64 * 100.0 / limit.period_us as f64));
        let throttled_p = match (limit_p, now.periods, before.periods) {
            (Some(_), Some(now), Some(before)) => Some(percent(
                grown(now.throttled, before.throttled)?,
                grown(now.all, before.all)?,
            )),
            (Some(_), Some(_), None) => return None,
            _ => None,
        };
        Some(GroupData {
            kind: kind.text(),
            cpu_p: rate(now.cpu_us, before.cpu_us, cpu)?,
            cpu_limit_p: limit_p,
            throttled_p,
            memory: now.memory,
            memory_limit: now.memory_limit,
            read_bytes: rate(now.io.map(read), before.io.map(read), bytes)?,
            written_bytes: rate(now.io.map(written), before.io.map(written), bytes)?,
            tasks: now.tasks,
            tasks_limit: now.tasks_limit,
            oom_kills: now.oom_kills,
        })
    }

    /// Adds what can be added; limits cannot.
    pub fn add(&mut self, other: &GroupData) {
        fn sum<T: Copy>(one: &mut Option<T>, other: Option<T>, add: impl Fn(T, T) -> T) {
            *one = match (*one, other) {
                (Some(one), Some(other)) => Some(add(one, other)),
                (one, other) => one.or(other),
            };
        }
        let rates = |one: f64, other: f64| round2(one + other);
        sum(&mut self.cpu_p, other.cpu_p, rates);
        sum(&mut self.read_bytes, other.read_bytes, rates);
        sum(&mut self.written_bytes, other.written_bytes, rates);
        sum(&mut self.memory, other.memory, u64::saturating_add);
        sum(&mut self.tasks, other.tasks, u64::saturating_add);
        sum(&mut self.oom_kills, other.oom_kills, u64::saturating_add);
    }
}

/// `Some(None)` for what is not counted here, `None` for what has no rate.
fn rate(
    now: Option<u64>,
    before: Option<u64>,
    rate: impl Fn(u64, u64) -> Option<f64>,
) -> Option<Option<f64>> {
    match now {
        Some(now) => Some(Some(rate(now, before?)?)),
        None => Some(None),
    }
}

/// One group that was found.
pub struct Group {
    /// Below the roots of the hierarchies.
    pub path: Vec<u8>,
    pub name: String,
    pub kind: GroupKind,
    /// The group that this one is in, by its place in the list.
    pub above: Option<usize>,
    pub before: Option<Before>,
    pub now: Option<GroupData>,
}

/// The last reading of a group.
#[derive(Clone, Copy)]
pub struct Before {
    figures: GroupFigures,
    life: Life,
    read_at: Instant,
}

impl Group {
    /// The rates since the last reading, if it was of the same life.
    pub fn take(
        &mut self,
        figures: GroupFigures,
        life: Life,
        read_at: Instant,
    ) -> Option<GroupData> {
        let now = Before {
            figures,
            life,
            read_at,
        };
        let before = self.before.replace(now).filter(|it| it.life == life)?;
        let elapsed = read_at.saturating_duration_since(before.read_at);
        GroupData::new(self.kind, &figures, &before.figures, elapsed)
    }
}
