//! The bounds that `docs/limits.md` lists: its table says what the constants say, and the real programs keep them under load.

mod agent;
mod queue;
mod table;

/// What an agent with as much to do as it can have may take; the docs say so too.
const MAX_THREADS: usize = 7 + 3 * mote_agent::probes::MAX_THREADS;
const MAX_FILES: usize = 1024;
const MAX_OWN_MIB: usize = 6;
