//! What decides, against models of it: in simulated time, with drawn lots, and with no process but this one.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk_queue;
mod fleet;
mod node;
mod schedule;
mod simulation;
mod uplink;
