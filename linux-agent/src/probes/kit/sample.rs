//! What every probe does.

use mote_core::{Envelope, TooLarge};
use serde::Serialize;

use super::context::{Context, Roots};
use super::error::ProbeError;

/// A report may be no larger, in bytes.
pub const MAX_REPORT: usize = 128 << 10;

/// A probe at work for one service: its open files and the counters of its last sample.
pub trait Sample: Sized {
    /// What one sample holds.
    type Data<'a>: Encode
    where
        Self: 'a;

    /// Opens what the probe reads and takes the baseline of its rates.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError>;

    /// Takes one sample.
    ///
    /// Allocates nothing, unless what the probe reads has changed its shape.
    fn sample(&mut self, context: &mut Context) -> Result<Self::Data<'_>, ProbeError>;
}

/// Data that goes into a report.
pub trait Encode {
    /// Writes the report into `buffer` and gives its length in bytes.
    fn encode(self, envelope: &Envelope<'_>, buffer: &mut [u8]) -> Result<usize, TooLarge>;
}

impl<T: Serialize> Encode for T {
    fn encode(self, envelope: &Envelope<'_>, buffer: &mut [u8]) -> Result<usize, TooLarge> {
        envelope.encode(&self, buffer)
    }
}

/// A probe at work, whichever it is.
pub trait Sampler {
    /// Takes one sample and writes it as a report into `buffer`; gives its length in bytes.
    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError>;
}

impl<P: Sample> Sampler for P {
    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(self.sample(context)?.encode(envelope, buffer)?)
    }
}
