//! What became of the reports that no segment tells of any more.

use serde::{Deserialize, Serialize};

use crate::account::Dropped;

/// Reports of the past that no segment tells of any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Reports that were done with before they had a number: their server took or refused them while the disk was
    /// out of order.
    pub unstored: u64,
    /// Reports that were given up, by reason.
    pub dropped: Dropped,
    /// All numbers below are done, so no segment has to be there for them. None: whoever wrote this did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<u64>,
}

impl Totals {
    /// Takes the higher of each: they only grow.
    pub fn raise(&mut self, other: &Totals) {
        self.unstored = self.unstored.max(other.unstored);
        self.below = self.below.max(other.below);
        self.dropped.raise(&other.dropped);
    }
}
