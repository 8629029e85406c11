//! The bounds of a run.

use std::time::Duration;

/// No run has a longer time limit.
pub const MAX_TIME_LIMIT: Duration = Duration::from_secs(3600);

/// After SIGTERM a group has this long before SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_secs(2);

/// Plugins that run at a time.
pub const MAX_RUNNING: usize = 16;

/// So many are started at a time, each in a folder of its own.
pub const MAX_STARTING: usize = 4;

/// A start that takes longer hangs with its file system, perhaps for good, and is none of those.
pub const START_HANGS_AFTER: Duration = Duration::from_secs(1);

/// So many may hang, each in a folder of its own and with its thread, before plugins of other folders wait, too.
pub const MAX_HANGING: usize = 16;

/// A plugin may write this much to its standard output.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// This much of a plugin's first line on standard error is kept.
pub const MAX_ERROR_BYTES: usize = 256;

/// A plugin may write this much to its standard error, though little of it is kept: reading what is thrown away
/// takes the agent's time.
pub const MAX_COMPLAINT_BYTES: usize = 1 << 20;
