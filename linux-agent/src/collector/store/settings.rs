//! What the settings say of the store.

use std::time::Duration;

/// What the store does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// How long and how much it keeps.
    pub retention: Retention,
    /// How long it gathers reports after a commit of few.
    pub commit_pause: Duration,
    /// SQLite's write-ahead log is emptied once it is larger than this, in bytes.
    pub log_bytes: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings {
            retention: Retention::default(),
            commit_pause: Duration::ZERO,
            log_bytes: 128 << 20,
        }
    }
}

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Reports as they came, in milliseconds.
    pub reports_ms: i64,
    /// All of those together, in bytes, more or less.
    pub reports_bytes: i64,
    /// Every number of the history, in milliseconds.
    pub points_ms: i64,
    /// The history in steps of ten minutes, in milliseconds. `None`: for ever.
    pub partials_ms: Option<i64>,
    /// The database, in bytes.
    pub bytes: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            reports_ms: 48 * 3_600_000,
            reports_bytes: 1 << 30,
            points_ms: 400 * 86_400_000,
            partials_ms: None,
            bytes: 10 << 30,
        }
    }
}
