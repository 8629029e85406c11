//! The clocks of this host.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use mote_core::Uptime;
use nix::libc;
use nix::time::{ClockId, clock_gettime};

/// Milliseconds since boot, suspended time included, so that a host that slept samples at once.
pub fn uptime() -> Uptime {
    // Linux has CLOCK_BOOTTIME since 2.6.39, and reading it cannot fail.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * 1000 + nanos / 1_000_000
    });
    Uptime::from_millis(now)
}

/// Milliseconds since 1970-01-01 00:00 UTC; 0 before.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What the kernel was told about the wall clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Discipline {
    /// Whether a program said that the clock is right, not too long ago.
    pub is_synchronised: bool,
    /// What is still to be corrected, in µs.
    pub offset_us: f64,
    /// How far off the clock may be, in µs.
    pub max_error_us: f64,
    /// How far off it is by estimate, in µs.
    pub estimated_error_us: f64,
    /// By how much its pace is corrected, in millionths.
    pub frequency_ppm: f64,
}

/// Asks the kernel about the wall clock. Needs no rights, but filters of system calls often forbid it.
pub(crate) fn discipline() -> io::Result<Discipline> {
    // SAFETY: the structure holds numbers only, for which zero is a value. With no mode set, the call changes nothing
    // but this structure.
    let (answer, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(Discipline::from_timex(&timex)),
    }
}

impl Discipline {
    fn from_timex(timex: &libc::timex) -> Self {
        let is_set = |bit| timex.status & bit != 0;
        let per_us = if is_set(libc::STA_NANO) { 1000.0 } else { 1.0 };
        Discipline {
            is_synchronised: !is_set(libc::STA_UNSYNC),
            offset_us: timex.offset as f64 / per_us,
            max_error_us: timex.maxerror as f64,
            estimated_error_us: timex.esterror as f64,
            // The lower 16 bits are a fraction.
            frequency_ppm: timex.freq as f64 / 65536.0,
        }
    }
}

/// How far the wall clock is ahead of the time since boot, in ns. Changes only when the wall clock is set.
///
/// The two cannot be read at once: of several tries the one that took the shortest counts, so that a thread that is
/// held up between them tells of no step.
pub(crate) fn lead_ns() -> i128 {
    let read = |clock| {
        let time = clock_gettime(clock).map_or((0, 0), |it| (it.tv_sec(), it.tv_nsec()));
        i128::from(time.0) * 1_000_000_000 + i128::from(time.1)
    };
    let tries = (0..5).map(|_| {
        let before = read(ClockId::CLOCK_BOOTTIME);
        let wall = read(ClockId::CLOCK_REALTIME);
        let took = read(ClockId::CLOCK_BOOTTIME) - before;
        (took, wall - before - took / 2)
    });
    tries.min().map_or(0, |(_, lead)| lead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_in_the_unit_that_the_status_says() {
        // SAFETY: the structure holds numbers only.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        timex.offset = -1500;
        timex.freq = -3 << 15;
        timex.maxerror = 16_000_000;
        timex.esterror = 7;
        timex.status = libc::STA_UNSYNC | libc::STA_PLL;
        let mut expected = Discipline {
            is_synchronised: false,
            offset_us: -1500.0,
            max_error_us: 16_000_000.0,
            estimated_error_us: 7.0,
            frequency_ppm: -1.5,
        };
        assert_eq!(Discipline::from_timex(&timex), expected);
        timex.status = libc::STA_NANO;
        (expected.is_synchronised, expected.offset_us) = (true, -1.5);
        assert_eq!(Discipline::from_timex(&timex), expected);
    }

    #[test]
    fn the_lead_is_the_time_of_boot() {
        let by_other_clocks = i128::from(unix_ms()) - i128::from(uptime().as_millis());
        let lead_ms = lead_ns() / 1_000_000;
        assert!((lead_ms - by_other_clocks).abs() < 60_000, "{lead_ms}");
    }
}
