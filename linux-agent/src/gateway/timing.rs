//! When a board without a clock sampled what it sends, from its uptime, its ages and the times of arrival.
//!
//! The board's reset is estimated as the earliest that any line allows, since a line that was delayed or kept can
//! only make it look later. Since clocks drift, the estimate may move later by one part in [`DRIFT`].

use mote_core::Uptime;

/// The estimate may move later by one part in this many of the board's time. Oscillators without a crystal are off
/// by 2 % or so.
const DRIFT: i64 = 30;

/// The error of whole seconds is less than this.
pub const SLACK_S: u32 = 2;

/// What is known of a board's uptime. All times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing(Option<Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// When the board was reset, by the host's clock. May be before that clock's start.
    reset_ms: i64,
    /// The board's uptime up to which this was seen.
    uptime_ms: i64,
    /// The board was heard last at this instant of the host's clock, or later.
    heard_ms: i64,
}

impl Timing {
    /// Notes a line that arrived at `now` and may have lain unread for `lain_ms`, with the uptime that the board had
    /// `age_ms` before.
    pub fn set(&mut self, uptime_ms: i64, age_ms: i64, lain_ms: i64, now: Uptime) {
        let board_ms = uptime_ms + age_ms;
        let reset_ms = signed(now) - board_ms;
        let heard_ms = signed(now).saturating_sub(lain_ms);
        let known = self.0.get_or_insert(Known {
            reset_ms,
            uptime_ms: board_ms,
            heard_ms,
        });
        known.heard_ms = known.heard_ms.max(heard_ms);
        let passed_ms = (board_ms - known.uptime_ms).max(0);
        let latest_ms = known.reset_ms.saturating_add(passed_ms / DRIFT);
        known.reset_ms = reset_ms.min(latest_ms);
        known.uptime_ms = known.uptime_ms.max(board_ms);
    }

    /// When the board had this uptime. Not after `now`.
    pub fn instant(&self, uptime_ms: i64, now: Uptime) -> i64 {
        let now_ms = signed(now);
        let instant = |known: Known| known.reset_ms.saturating_add(uptime_ms);
        self.0.map_or(now_ms, instant).min(now_ms)
    }

    /// Whether a board with this uptime, in a line that may have lain unread for `lain_ms`, must have been reset
    /// meanwhile. One that has run for longer than it has been silent was only slow.
    pub fn is_behind(&self, uptime_ms: i64, lain_ms: i64, now: Uptime) -> bool {
        self.0.is_some_and(|known| {
            let silent_ms = signed(now).saturating_sub(known.heard_ms).max(0);
            if uptime_ms > silent_ms + silent_ms / DRIFT + millis(SLACK_S) {
                return false;
            }
            let expected_ms = signed(now)
                .saturating_sub(lain_ms)
                .saturating_sub(known.reset_ms);
            let unseen_ms = expected_ms.saturating_sub(known.uptime_ms).max(0);
            uptime_ms + millis(SLACK_S) + unseen_ms / DRIFT < expected_ms.max(known.uptime_ms)
        })
    }
}

/// Seconds in milliseconds.
pub fn millis(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

fn signed(instant: Uptime) -> i64 {
    i64::try_from(instant.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_000_000_000;

    /// A host that has run for long.
    fn at(seconds: u32) -> Uptime {
        Uptime::from_millis(START_MS + u64::from(seconds) * 1000)
    }

    /// In seconds after the reset.
    fn instant(timing: Timing, uptime_s: u32, now: Uptime) -> f64 {
        (timing.instant(millis(uptime_s), now) - START_MS as i64) as f64 / 1000.0
    }

    #[test]
    fn the_earliest_line_counts_and_drift_is_followed() {
        let mut timing = Timing::default();
        // Whole seconds of uptime, and now and then a delay of minutes.
        for n in 0..1000u32 {
            let now = Uptime::from_millis(1_000_000_000 + u64::from(n) * 7_300);
            let delay_ms = if n % 10 == 0 { 120_000 } else { 0 };
            let uptime_s = u32::try_from(u64::from(n) * 7_300 / 1000).unwrap();
            timing.set(millis(uptime_s), 0, 0, now.after_millis(delay_ms));
            if n > 20 {
                let error = instant(timing, uptime_s, now) - f64::from(n) * 7.3;
                assert!((-1.0..=0.001).contains(&error), "{n}: {error}");
            }
        }
        // A clock that is slow by 3 %, and one that is fast by 5 %.
        for (gain, least, most) in [(0.97, -1.0, 0.1), (1.05, -1.0, 0.0)] {
            let mut timing = Timing::default();
            for n in 0..2000u32 {
                let now_s = f64::from(n) * 10.0;
                let uptime_s = (now_s * gain) as u32;
                assert!(!timing.is_behind(millis(uptime_s), 0, at(n * 10)), "{n}");
                timing.set(millis(uptime_s), 0, 0, at(n * 10));
                let error = instant(timing, uptime_s, at(n * 10)) - now_s;
                assert!((least..=most).contains(&error), "{gain} {n}: {error}");
            }
        }
    }

    #[test]
    fn no_instant_is_in_the_future() {
        let mut timing = Timing::default();
        assert_eq!(instant(timing, 7, at(5)), 5.0);
        timing.set(millis(100), 0, 0, at(100));
        assert_eq!(instant(timing, 1000, at(100)), 100.0);
        assert_eq!(instant(timing, 99, at(100)), 99.0);
    }
}
