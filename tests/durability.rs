//! The real program and what its reports survive: kills, disks out of order, a long backlog, a server that refuses.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[allow(dead_code)] // That of the collector's own tests.
#[path = "collector/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "collector/program.rs"]
mod program;

#[path = "durability/backlog.rs"]
mod backlog;
#[path = "durability/dead.rs"]
mod dead;
#[path = "durability/faults.rs"]
mod faults;
#[path = "durability/kills.rs"]
mod kills;
#[path = "durability/replaced.rs"]
mod replaced;
