//! What time it is on a board.

use mote_core::Uptime;

/// The time since reset.
pub trait Clock {
    /// Now. It must not go backwards, and goes on in sleep.
    fn now(&self) -> Uptime;
}

impl<F: Fn() -> Uptime> Clock for F {
    fn now(&self) -> Uptime {
        self()
    }
}
