//! `get_cgroups`: what services, slices and containers use, from the control groups that systemd and the engines of
//! containers put them into, version 2 or 1 (cgroups(7)). `figures.rs` says what is read, `names.rs` what a group is
//! called.
//!
//! A group's figures include those of the groups below it.

pub mod figures;
mod group;
mod layout;
mod names;
mod tree;

use std::time::{Duration, Instant};

use super::kit::items::Items;
use super::kit::{Context, ProbeError, Roots, Sample};
use figures::GroupFigures;
use group::{Group, GroupData};
use layout::{GroupReader, Hierarchy};
use names::Names;

pub use layout::MAX_TEXT;
pub use names::MAX_NAME;
pub use tree::MAX_GROUPS;

/// So many groups are reported: half of them for their CPU time, the others for their memory.
pub const MAX_REPORTED: usize = 50;

/// The name of the sum of all others. No group is called so: names end in what a group is, and those that engines give
/// have no space.
const OTHERS: &str = "all others";

/// Look for groups again after this time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The probe: what it found, and its last readings.
pub(crate) struct Cgroups {
    roots: Roots,
    hierarchies: Vec<Hierarchy>,
    names: Names,
    reader: GroupReader,
    groups: Vec<Group>,
    /// Groups that are not read.
    unread: usize,
    looked_at: Instant,
    /// Of all groups.
    weights: Vec<Weight>,
    /// Places of groups with data, the largest first, and which of all groups are reported.
    order: Vec<usize>,
    is_reported: Vec<bool>,
    items: Items<GroupData>,
}

impl Sample for Cgroups {
    type Data<'a> = &'a mut Items<GroupData>;

    /// Finds the groups and takes the baseline. There may be none.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut cgroups = Cgroups {
            roots: roots.clone(),
            hierarchies: layout::hierarchies(roots)?,
            names: Names::default(),
            reader: GroupReader::new(),
            groups: Vec::new(),
            unread: 0,
            looked_at: context.now,
            weights: Vec::with_capacity(MAX_GROUPS),
            order: Vec::with_capacity(MAX_GROUPS),
            is_reported: Vec::with_capacity(MAX_GROUPS),
            items: Items::new(MAX_REPORTED + 1),
        };
        cgroups.look();
        ProbeError::unless_nothing_known(cgroups.sample(context))?;
        Ok(cgroups)
    }

    /// What the groups use. A group has no data at its first sight, nor where a counter went backwards.
    ///
    /// Allocates only when it looks for groups again, every ten seconds.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<GroupData>, ProbeError> {
        if context.now.saturating_duration_since(self.looked_at) >= LOOK_AGAIN {
            self.look();
            self.looked_at = context.now;
        }
        self.items.clear();
        self.items.omit(self.unread);
        let mut left_out = false;
        for group in &mut self.groups {
            group.now = None;
            match self.reader.read(&self.hierarchies, &group.path) {
                Ok(Some((figures, life))) if figures != GroupFigures::default() => {
                    group.now = group.take(figures, life, context.now);
                    left_out |= group.now.is_none();
                }
                // It ended.
                Ok(None) => group.before = None,
                Ok(Some(_)) | Err(_) => self.items.omit(1),
            }
        }
        self.choose();
        self.fill();
        if left_out && self.items.is_empty() {
            return Err(ProbeError::NothingKnown);
        }
        Ok(&mut self.items)
    }
}

impl Cgroups {
    fn look(&mut self) {
        let before = std::mem::take(&mut self.groups);
        let found = tree::look(&self.roots, &self.hierarchies, &mut self.names, before);
        (self.groups, self.unread) = found;
    }

    /// Chooses what is reported. A parent counts for at least as much as each of its children, and stands before them, so
    /// that no group is reported without its parents. By its own figures it may be smaller, since not all figures are
    /// read at one instant.
    fn choose(&mut self) {
        let (groups, order, weights) = (&self.groups, &mut self.order, &mut self.weights);
        weights.clear();
        weights.extend(groups.iter().map(|group| Weight::of(group.now.as_ref())));
        for (place, group) in groups.iter().enumerate().rev() {
            let weight = weight(weights, place);
            if let Some(above) = group.above.and_then(|above| weights.get_mut(above)) {
                above.cpu_p = above.cpu_p.max(weight.cpu_p);
                above.memory = above.memory.max(weight.memory);
            }
        }
        order.clear();
        order.extend((0..groups.len()).filter(|place| now(groups, *place).is_some()));
        let cpu = |place: &usize| weight(weights, *place).cpu_p;
        order.sort_unstable_by(|a, b| cpu(b).total_cmp(&cpu(a)).then(a.cmp(b)));
        let by_memory = order.get_mut(MAX_REPORTED / 2..).unwrap_or_default();
        let memory = |place: &usize| weight(weights, *place).memory;
        by_memory.sort_unstable_by(|a, b| memory(b).cmp(&memory(a)).then(a.cmp(b)));
        self.is_reported.clear();
        self.is_reported.resize(groups.len(), false);
        for place in order.iter().take(MAX_REPORTED) {
            if let Some(is_reported) = self.is_reported.get_mut(*place) {
                *is_reported = true;
            }
        }
    }

    fn fill(&mut self) {
        let (groups, is_reported, items) = (&self.groups, &self.is_reported, &mut self.items);
        let is_left_out =
            |place| now(groups, place).is_some() && is_reported.get(place) == Some(&false);
        let mut others = GroupData::others();
        let mut left_out = 0;
        for (place, group) in groups.iter().enumerate() {
            let Some(data) = group.now.filter(|_| is_left_out(place)) else {
                continue;
            };
            left_out += 1;
            let mut above = std::iter::successors(group.above, |it| groups.get(*it)?.above);
            if !above.any(is_left_out) {
                others.add(&data);
            }
        }
        // First, since what comes last is left out where a report is too large.
        if left_out > 0 {
            items.push(OTHERS.as_bytes(), others);
            items.omit(left_out);
        }
        for (place, group) in groups.iter().enumerate() {
            if let Some(data) = group.now.filter(|_| !is_left_out(place)) {
                items.push(group.name.as_bytes(), data);
            }
        }
    }
}

/// What a group is chosen by.
#[derive(Clone, Copy, Default)]
struct Weight {
    cpu_p: f64,
    memory: u64,
}

impl Weight {
    fn of(data: Option<&GroupData>) -> Self {
        Weight {
            cpu_p: data.and_then(|it| it.cpu_p).unwrap_or(0.0),
            memory: data.and_then(|it| it.memory).unwrap_or(0),
        }
    }
}

fn weight(weights: &[Weight], place: usize) -> Weight {
    weights.get(place).copied().unwrap_or_default()
}

fn now(groups: &[Group], place: usize) -> Option<&GroupData> {
    groups.get(place)?.now.as_ref()
}

#[cfg(test)]
mod tests;
