//! What every probe does.

use mote_core::Envelope;

use super::context::{Context, Roots};
use super::error::ProbeError;

/// A report may be no larger, in bytes.
pub const MAX_REPORT: usize = 128 << 10;

/// A probe at work for one service: its open files and the counters of its last sample.
pub trait Sample {
    /// Opens what the probe reads and takes the baseline of its rates.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError>
    where
        Self: Sized;

    /// Takes one sample and writes it as a report into `buffer`; gives its length in bytes.
    ///
    /// Allocates nothing, unless what the probe reads has changed its shape.
    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError>;
}
