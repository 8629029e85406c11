//! A lamp that shows how a board is.

use core::sync::atomic::{AtomicU8, Ordering};

use embedded_hal::digital::OutputPin;
use mote_core::Uptime;

use crate::clock::Clock;

/// How a node and its gateway get on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Link {
    /// Samples are acknowledged, or none is old enough to tell.
    #[default]
    Up = 0,
    /// A sample has waited for its acknowledgement for five seconds.
    Silent = 1,
    /// The last orders were refused; those before them are in force.
    Refused = 2,
}

/// A [`Link`] that one task sets and another reads.
pub struct LinkCell(AtomicU8);

/// Blinks with a lamp, every two seconds: once if all is well, twice while the link is silent, three times after
/// orders were refused. A lamp that does not change means that the firmware stands still.
pub struct Heartbeat<P> {
    lamp: P,
    shown: Link,
}

const PERIOD_MS: u64 = 2048;
const BLINK_MS: u64 = 256;
const LIT_MS: u64 = 96;

impl LinkCell {
    /// [`Link::Up`] to begin with.
    pub const fn new() -> Self {
        LinkCell(AtomicU8::new(Link::Up as u8))
    }

    /// For [`Board::link`](crate::Board::link).
    pub fn set(&self, link: Link) {
        self.0.store(link as u8, Ordering::Relaxed);
    }

    /// For [`Heartbeat::run`].
    pub fn get(&self) -> Link {
        match self.0.load(Ordering::Relaxed) {
            0 => Link::Up,
            1 => Link::Silent,
            _ => Link::Refused,
        }
    }
}

impl Default for LinkCell {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: OutputPin> Heartbeat<P> {
    /// Blinks with the lamp that a high level lights.
    pub const fn new(lamp: P) -> Self {
        Heartbeat {
            lamp,
            shown: Link::Up,
        }
    }

    /// Sets the lamp. Returns the milliseconds until it should be called again. Errors of the lamp are ignored.
    pub fn beat(&mut self, link: Link, now: Uptime) -> u32 {
        let phase_ms = now.as_millis() % PERIOD_MS;
        if phase_ms < LIT_MS {
            // A group of blinks is shown to its end.
            self.shown = link;
        }
        let blinks = self.shown as u64 + 1;
        let (blink, within_ms) = (phase_ms / BLINK_MS, phase_ms % BLINK_MS);
        let (lit, until_ms) = match blink < blinks {
            true if within_ms < LIT_MS => (true, LIT_MS - within_ms),
            true if blink + 1 < blinks => (false, BLINK_MS - within_ms),
            _ => (false, PERIOD_MS - phase_ms),
        };
        let _ = self.lamp.set_state(lit.into());
        until_ms as u32
    }

    /// Blinks for ever, as a task.
    pub async fn run(
        mut self,
        link: &LinkCell,
        clock: impl Clock,
        mut delay: impl embedded_hal_async::delay::DelayNs,
    ) -> ! {
        loop {
            let wait_ms = self.beat(link.get(), clock.now());
            delay.delay_ms(wait_ms).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::vec::Vec;

    /// The states of the lamp through a period, as it is called when it wants to be.
    fn period(link: Link) -> Vec<(u64, bool)> {
        let mut at_ms = 3 * PERIOD_MS;
        let mut states = Vec::new();
        while at_ms < 4 * PERIOD_MS {
            let before = states.last().is_some_and(|(_, lit)| *lit);
            let state = if before { State::Low } else { State::High };
            let mut lamp = Mock::new(&[Transaction::set(state)]);
            let mut heartbeat = Heartbeat::new(lamp.clone());
            heartbeat.shown = link;
            let wait_ms = heartbeat.beat(link, Uptime::from_millis(at_ms));
            lamp.done();
            states.push((at_ms - 3 * PERIOD_MS, !before));
            at_ms += u64::from(wait_ms);
        }
        assert_eq!(at_ms, 4 * PERIOD_MS);
        states
    }

    #[test]
    fn it_blinks_once_twice_or_three_times() {
        let blink = |index: u64| [(256 * index, true), (256 * index + 96, false)];
        assert_eq!(period(Link::Up), blink(0));
        assert_eq!(period(Link::Silent), [blink(0), blink(1)].concat());
        assert_eq!(
            period(Link::Refused),
            [blink(0), blink(1), blink(2)].concat()
        );
    }

    #[test]
    fn a_change_waits_for_the_next_beat() {
        let levels = [
            State::High,
            State::Low,
            State::Low,
            State::High,
            State::Low,
            State::High,
        ];
        let levels: Vec<_> = levels.into_iter().map(Transaction::set).collect();
        let mut lamp = Mock::new(&levels);
        let mut heartbeat = Heartbeat::new(lamp.clone());
        for (link, at_ms) in [
            (Link::Up, 0),
            (Link::Silent, 100),
            (Link::Silent, 300),
            (Link::Silent, 2050),
            (Link::Silent, 2200),
            (Link::Silent, 2350),
        ] {
            heartbeat.beat(link, Uptime::from_millis(at_ms));
        }
        lamp.done();
    }
}
