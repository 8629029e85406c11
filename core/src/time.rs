//! Time as the core sees it: an argument, never a clock.

use core::fmt;

/// Milliseconds since some instant before the monitor was made, usually the start of the machine.
///
/// It must not go backwards and should go on while the machine sleeps (`CLOCK_BOOTTIME` on Linux).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// An instant that never comes.
    pub const NEVER: Uptime = Uptime(u64::MAX);

    /// The instant `millis` after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Uptime(millis)
    }

    /// Milliseconds since the start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The instant `millis` later; [`Uptime::NEVER`] at the end of the range.
    pub const fn after_millis(self, millis: u64) -> Self {
        Uptime(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this instant; 0 if it is not earlier.
    pub const fn millis_since(self, earlier: Uptime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time between two samples of a service: 0.1 s to 7 days, in steps of a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(u32);

impl Interval {
    /// 0.1 s
    pub const MIN: Interval = Interval(100);
    /// 7 days
    pub const MAX: Interval = Interval(604_800_000);

    /// `None` outside [`Interval::MIN`] to [`Interval::MAX`].
    pub const fn from_millis(millis: u32) -> Option<Self> {
        if millis < Self::MIN.0 || millis > Self::MAX.0 {
            None
        } else {
            Some(Interval(millis))
        }
    }

    /// `None` outside [`Interval::MIN`] to [`Interval::MAX`].
    pub const fn from_secs(seconds: u32) -> Option<Self> {
        match seconds.checked_mul(1000) {
            Some(millis) => Self::from_millis(millis),
            None => None,
        }
    }

    /// Rounded to whole milliseconds; `None` outside [`Interval::MIN`] to [`Interval::MAX`].
    #[cfg(feature = "decimal")]
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        // What is not a number is in no range.
        if !(0.1..=604_800.0).contains(&seconds) {
            return None;
        }
        let millis = seconds * 1000.0 + 0.5;
        Self::from_millis(millis as u32)
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        match millis {
            0 => write!(f, "{seconds} s"),
            _ if millis % 100 == 0 => write!(f, "{seconds}.{} s", millis / 100),
            _ => write!(f, "{seconds}.{millis:03} s"),
        }
    }
}

/// Extends a free-running 32-bit timer to 64 bits.
///
/// [`Extender::extend`] must see the timer at least once a wrap: every 49 days for a timer of
/// milliseconds, every 71 minutes for one of microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extender {
    last: u64,
}

impl Extender {
    /// A timer that starts at 0.
    pub const fn new() -> Self {
        Extender { last: 0 }
    }

    /// The 64-bit count for a reading of the timer.
    pub const fn extend(&mut self, ticks: u32) -> u64 {
        let passed = ticks.wrapping_sub(self.last as u32);
        self.last += passed as u64;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn intervals_outside_the_bounds_do_not_exist() {
        assert_eq!(Interval::from_millis(99), None);
        assert_eq!(Interval::from_millis(100), Some(Interval::MIN));
        assert_eq!(Interval::from_secs(604_800), Some(Interval::MAX));
        assert_eq!(Interval::from_secs(604_801), None);
        assert_eq!(Interval::from_secs(u32::MAX), None);
    }

    #[cfg(feature = "decimal")]
    #[test]
    fn decimal_seconds_are_rounded_to_milliseconds() {
        let millis = |seconds| Interval::from_secs_f64(seconds).map(Interval::as_millis);
        assert_eq!(millis(0.1), Some(100));
        assert_eq!(millis(1.0004), Some(1000));
        assert_eq!(millis(604_800.0), Some(604_800_000));
        for refused in [
            0.0,
            -1.0,
            0.09,
            0.099_999_9,
            604_800.000_1,
            604_800.1,
            1e300,
            f64::INFINITY,
            f64::NAN,
        ] {
            assert_eq!(millis(refused), None, "{refused}");
        }
    }

    #[test]
    fn intervals_read_as_seconds() {
        let text = |millis| Interval::from_millis(millis).unwrap().to_string();
        assert_eq!(text(15_000), "15 s");
        assert_eq!(text(500), "0.5 s");
        assert_eq!(text(1_250), "1.250 s");
    }

    #[test]
    fn a_wrapping_timer_goes_on() {
        let mut extender = Extender::new();
        let mut truth = 0u64;
        for step in [0, 1, u32::MAX - 1, 1, 1, u32::MAX, u32::MAX, 7] {
            truth += u64::from(step);
            assert_eq!(extender.extend(truth as u32), truth);
        }
        assert!(truth > 3 * u64::from(u32::MAX));
    }
}
