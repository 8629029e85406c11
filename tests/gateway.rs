//! Boards on serial ports: the real program on pseudo-terminals, with a real collector or a scripted server behind it.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "gateway/bench.rs"]
mod bench;
#[path = "gateway/damage.rs"]
mod damage;
#[path = "gateway/link.rs"]
mod link;
#[path = "machines/mod.rs"]
mod machines;
#[path = "gateway/pico.rs"]
mod pico;
#[path = "gateway/reports.rs"]
mod reports;
#[path = "gateway/runs.rs"]
mod runs;
#[path = "gateway/services.rs"]
mod services;
