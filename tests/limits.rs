//! The bounds that `docs/limits.md` lists: its table says what the constants say, and the real programs keep them under load.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "limits/agent.rs"]
mod agent;
#[cfg(feature = "serve")]
#[path = "limits/collector.rs"]
mod collector;
#[path = "limits/process.rs"]
mod process;
#[path = "limits/queue.rs"]
mod queue;
#[path = "limits/table.rs"]
mod table;

/// What an agent with as much to do as it can have may take; the docs say so too.
const MAX_THREADS: usize = 4 + mote_agent::probes::MAX_THREADS;
const MAX_FILES: usize = 1024;
const MAX_RESIDENT_MIB: usize = 16;
