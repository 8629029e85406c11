//! A point in time, by both clocks.

/// The time, by the clock that nobody can set and by that of the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// All that is decided goes by this.
    pub steady_ms: i64,
    /// What people see: milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
}

impl Now {
    /// When that was that the wall's clock showed then. What it shows as the future is now.
    pub fn steady_at(&self, unix_ms: i64) -> i64 {
        self.steady_ms - (self.unix_ms - unix_ms).max(0)
    }
}
