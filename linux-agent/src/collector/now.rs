//! The time, as the database has it, and the one that nobody can set.

use crate::system::clock;

/// Now, as SQLite's signed integers hold it: milliseconds since 1970-01-01 00:00 UTC.
pub fn now_ms() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX)
}

/// Milliseconds since this machine started, suspended time included. No clock that is set and no change of zone
/// moves it.
pub fn steady_ms() -> i64 {
    i64::try_from(clock::uptime().as_millis()).unwrap_or(i64::MAX)
}
