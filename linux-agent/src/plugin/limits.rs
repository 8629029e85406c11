//! The bounds of a run.

use std::time::Duration;

/// No run has a longer time limit.
pub const MAX_TIME_LIMIT: Duration = Duration::from_secs(3600);

/// After SIGTERM a group has this long before SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_secs(2);

/// Plugins that run at a time.
pub const MAX_RUNNING: usize = 16;

/// So many are started at a time, each in a folder of its own. A file system that hangs holds one up for good.
pub const MAX_STARTING: usize = 4;

/// A plugin may write this much to its standard output.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// This much of a plugin's first line on standard error is kept.
pub const MAX_ERROR_BYTES: usize = 256;

/// A plugin may write this much to its standard error, though little of it is kept: reading what is thrown away
/// takes the agent's time.
pub const MAX_COMPLAINT_BYTES: usize = 1 << 20;
