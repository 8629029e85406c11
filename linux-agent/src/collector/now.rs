//! The time, as the database has it.

use crate::system::clock;

/// Now, as SQLite's signed integers hold it: milliseconds since 1970-01-01 00:00 UTC.
pub fn now_ms() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX)
}
