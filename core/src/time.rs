//! Time as the core sees it: an argument, never a clock.

use core::fmt;

use crate::json::number::Decimal;

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

    /// How many whole intervals lie between `earlier` and this instant, and the milliseconds that remain.
    pub(crate) const fn intervals_since(self, earlier: Uptime, interval: Interval) -> (u64, u32) {
        // Digit by digit in binary: the compiler's division of 64 bits costs a small board 1 KiB of flash, and
        // there is rarely more than one interval.
        let mut rest_ms = self.millis_since(earlier);
        let mut step_ms = interval.0 as u64;
        let mut intervals = 1;
        while step_ms <= rest_ms / 2 {
            step_ms *= 2;
            intervals *= 2;
        }
        let mut count = 0;
        while intervals > 0 {
            if step_ms <= rest_ms {
                rest_ms -= step_ms;
                count += intervals;
            }
            step_ms /= 2;
            intervals /= 2;
        }
        (count, rest_ms as u32)
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

    /// Seconds as a number of JSON (RFC 8259, section 6), rounded to whole milliseconds. `None` if the text is no
    /// number, or outside [`Interval::MIN`] to [`Interval::MAX`].
    ///
    /// Uses neither floating point nor division, which cost a small board much. So every platform reads alike.
    pub fn from_json(seconds: &[u8]) -> Option<Self> {
        let Decimal {
            whole,
            fraction,
            power,
        } = Decimal::parse(seconds)?;
        // The power of ten of the last digit taken, in milliseconds.
        let mut place = power + i32::try_from(whole.len()).ok()? + 3;
        let (mut millis, mut half, mut rest) = (0u32, false, false);
        for digit in whole.iter().chain(fraction).map(|it| it - b'0') {
            place -= 1;
            match place {
                0.. => millis = millis.checked_mul(10)?.checked_add(digit.into())?,
                _ => {
                    half |= place == -1 && digit >= 5;
                    rest |= digit > 0;
                }
            }
        }
        while place > 0 {
            millis = millis.checked_mul(10).filter(|it| *it > 0)?;
            place -= 1;
        }
        if millis < Self::MIN.0 || (millis == Self::MAX.0 && rest) {
            return None;
        }
        // Wraps to 0, which is no valid interval.
        Self::from_millis(millis.wrapping_add(u32::from(half)))
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
/// [`Extender::extend`] must see the timer at least twice a wrap: every 24 days for a timer of milliseconds, every 35
/// minutes for one of microseconds. A step of more than half a wrap is a step back and changes nothing: an interrupt may
/// read the timer and report it before the code that it interrupted reports its older reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extender {
    last: u64,
}

impl Extender {
    /// A timer that starts at 0.
    pub const fn new() -> Self {
        Extender { last: 0 }
    }

    /// The count of the latest reading.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The 64-bit count for a reading of the timer.
    pub const fn extend(&mut self, ticks: u32) -> u64 {
        let passed = ticks.wrapping_sub(self.last as u32);
        if passed <= 1 << 31 {
            self.last += passed as u64;
        }
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

    #[test]
    fn numbers_of_json_are_rounded_to_milliseconds() {
        let millis = |seconds: &str| Interval::from_json(seconds.as_bytes()).map(|it| it.0);
        for (seconds, expected) in [
            ("15", 15_000),
            ("15.0", 15_000),
            ("0.1", 100),
            ("1e-1", 100),
            ("0.00001E+4", 100),
            ("1.0004", 1000),
            ("1.0005", 1001),
            ("1.00049999999999999999999", 1000),
            ("604800", 604_800_000),
            ("604800.000", 604_800_000),
            ("6.048e5", 604_800_000),
            ("604799.9996", 604_800_000),
            ("100000000000000000000000e-20", 1_000_000),
        ] {
            assert_eq!(millis(seconds), Some(expected), "{seconds}");
        }
        for refused in [
            "",
            "0",
            "-1",
            "-0.5",
            "0.09",
            "0.0999999",
            "604800.0001",
            "604800.0000000000000000000001",
            "604800.1",
            "604801",
            "1e300",
            "1e99999999999",
            "1e-99999999999",
            "0e99999999999",
            "18446744073709551616",
            "4294967.2955",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "1x",
            "1.5.5",
            "NaN",
            "null",
            "\"15\"",
            "true",
            "0x10",
            "1 5",
        ] {
            assert_eq!(millis(refused), None, "{refused}");
        }
    }

    #[test]
    fn numbers_read_as_floating_point_would() {
        let text = "(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?([eE][+-]?[0-5])?";
        let text = proptest::string::string_regex(text).unwrap();
        let mut runner = proptest::test_runner::TestRunner::default();
        runner
            .run(&text, |text| {
                let seconds: f64 = text.parse().unwrap();
                let millis = Interval::from_json(text.as_bytes()).map(|it| f64::from(it.0));
                match millis {
                    Some(millis) => assert!((millis - seconds * 1000.0).abs() < 0.500_01, "{text}"),
                    None => assert!(!(0.1..=604_800.0).contains(&seconds), "{text}"),
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn intervals_are_counted_as_division_would() {
        let instants = [
            0,
            1,
            99,
            100,
            101,
            1 << 32,
            u64::MAX / 3,
            u64::MAX - 1,
            u64::MAX,
        ];
        for interval in [
            Interval::MIN,
            Interval(1024),
            Interval(65_537),
            Interval::MAX,
        ] {
            for (now, then) in instants
                .iter()
                .flat_map(|now| instants.map(|then| (*now, then)))
            {
                let passed = now.saturating_sub(then);
                let divisor = u64::from(interval.0);
                assert_eq!(
                    Uptime(now).intervals_since(Uptime(then), interval),
                    (passed / divisor, (passed % divisor) as u32)
                );
            }
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
        for step in [0, 1, 1 << 31, 1 << 31, 1, (1 << 31) - 1, 1 << 31, 7] {
            truth += step;
            assert_eq!(extender.extend(truth as u32), truth);
        }
        assert!(truth > 2 * u64::from(u32::MAX));
    }

    #[test]
    fn a_step_back_is_none() {
        let mut extender = Extender::new();
        for start in [1_000_000, 1 << 31, (1 << 32) - 3, 1 << 32, (1 << 32) + 2] {
            assert_eq!(extender.extend(start as u32), start);
            for back in [1, 2, 125_000, (1 << 31) - 1] {
                let earlier = (start as u32).wrapping_sub(back);
                assert_eq!(extender.extend(earlier), start, "{back} before {start}");
            }
            assert_eq!(extender.extend((start as u32).wrapping_add(1)), start + 1);
        }
    }
}
