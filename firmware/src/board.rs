//! What a board can be asked to sample.

use mote_core::Uptime;
use serde::Serialize;

use crate::heartbeat::Link;

/// The probes of a board, and its watchdog.
pub trait Board {
    /// What a plugin's name stands for on this board.
    type Plugin: Copy + PartialEq;

    /// What a service keeps from one sample to the next, to turn counters into rates.
    type Baseline: Copy;

    /// A sample that waits to be sent. It serialises as the report's `data`, whose first field is a
    /// [`mote_core::Status`]. A ring of them waits in RAM, so it should be small.
    type Sample: Serialize;

    /// A baseline before there is any.
    const NO_BASELINE: Self::Baseline;

    /// The watchdog is fed at least this often, in milliseconds, as long as the schedule goes on.
    const FEED_EVERY_MS: u32 = 1000;

    /// The plugin of this name. `None` if the board has none.
    fn plugin(name: &str) -> Option<Self::Plugin>;

    /// A service of this plugin has its first sample as soon as it starts, before that of its schedule.
    fn at_once(_plugin: Self::Plugin) -> bool {
        false
    }

    /// A service starts. Returns what its first sample is compared with.
    fn start(&mut self, plugin: Self::Plugin, now: Uptime) -> Self::Baseline;

    /// Takes a sample. Should return within a millisecond or so, since nothing else is sampled meanwhile.
    fn sample(
        &mut self,
        plugin: Self::Plugin,
        baseline: &mut Self::Baseline,
        context: &Context,
    ) -> Result<Self::Sample, Failed>;

    /// Called when everything due has been sampled. Feed a watchdog here and nowhere else, so that it bites when
    /// sampling stops.
    fn feed(&mut self) {}

    /// How the node and its gateway get on, told as often as [`Board::feed`] is called: for a lamp, or a screen.
    fn link(&mut self, _link: Link) {}
}

/// What a probe can report besides what it samples itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The instant of the sample.
    pub now: Uptime,
    /// What the node counts.
    pub statistics: Statistics,
}

impl Context {
    /// The instant of the sample in seconds since reset. They wrap after 136 years.
    pub const fn uptime_s(&self) -> u32 {
        seconds(self.now)
    }
}

pub(crate) const fn seconds(instant: Uptime) -> u32 {
    (instant.as_millis() / 1000) as u32
}

/// Counts since reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Samples that were dropped unacknowledged: the ring was full, or their service left.
    pub dropped: u32,
    /// Instants at which a service was due and not sampled, of the services that are there now.
    pub missed: u32,
    /// Lines that were damaged or no messages.
    pub bad_lines: u32,
}

/// Why a sample failed: one plain sentence, the `error` of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub &'static str);
