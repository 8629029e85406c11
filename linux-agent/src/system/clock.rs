//! The clocks of this host.

use std::time::{SystemTime, UNIX_EPOCH};

use mote_core::Uptime;
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
