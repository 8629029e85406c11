//! The reports that are on their way to the server, and what becomes of them meanwhile.

use super::record::Record;
use crate::ranges::Ranges;

/// Where a report is found when it is back from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// Nothing became of it.
    Here,
    /// There was no room on disk: it was given up, and counted as such.
    Lost,
    /// Only memory had it when the agent ended: the same.
    Forgotten,
}

/// The reports that are on their way to the server.
#[derive(Debug, Default)]
pub struct Flying(Vec<One>);

#[derive(Debug)]
struct One {
    id: u64,
    number: Option<u64>,
    /// The disk has it.
    stored: bool,
    landed: Landed,
}

impl Flying {
    /// Notes that a report is on its way.
    pub fn note(&mut self, record: &Record) {
        self.0.push(One {
            id: record.id(),
            number: record.number,
            stored: record.stored,
            landed: Landed::Here,
        });
    }

    /// A report is back. If it got to the disk meanwhile, it learns so.
    pub fn land(&mut self, record: &mut Record) -> Landed {
        let Some(index) = self.0.iter().position(|it| it.id == record.id()) else {
            return Landed::Here;
        };
        let one = self.0.swap_remove(index);
        record.stored |= one.stored;
        one.landed
    }

    /// How many of them only memory has.
    pub fn unstored(&self) -> u64 {
        let unstored = self.0.iter().filter(|it| !it.stored && !it.is_gone());
        unstored.count() as u64
    }

    /// How many of them were given up.
    pub fn gone(&self) -> u64 {
        self.0.iter().filter(|it| it.is_gone()).count() as u64
    }

    /// Notes which reports are on disk.
    pub fn mark_stored(&mut self, numbers: &Ranges) {
        for one in &mut self.0 {
            one.stored |= one.number.is_some_and(|it| numbers.contains(it));
        }
    }

    /// Gives up those below a number. Returns how many.
    pub fn lose_below(&mut self, below: u64) -> u64 {
        let is_lost = |it: &&mut One| it.number.is_some_and(|it| it < below) && !it.is_gone();
        let lost = self.0.iter_mut().filter(is_lost);
        lost.map(|it| it.landed = Landed::Lost).count() as u64
    }

    /// Gives up the reports that are in memory only. Returns their numbers, `None` for one without a number yet.
    pub fn forget(&mut self) -> impl Iterator<Item = Option<u64>> {
        let unstored = self.0.iter_mut().filter(|it| !it.stored && !it.is_gone());
        unstored.map(|it| {
            it.landed = Landed::Forgotten;
            it.number
        })
    }
}

impl One {
    fn is_gone(&self) -> bool {
        self.landed != Landed::Here
    }
}
