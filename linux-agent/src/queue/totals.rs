//! What became of the reports that are in no segment any more.

use serde::{Deserialize, Serialize};

use crate::account::Dropped;

/// Counts of reports that are in no segment any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Reports that were done before they had a number: the server took or refused them while the disk was out of
    /// order.
    pub unstored: u64,
    /// Reports that were given up, by reason.
    pub dropped: Dropped,
    /// All numbers below are done, so they need no segment. `None`: not known.
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
