//! The real agent as a process: its commands, its plugins, its servers, and what it survives.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod docs;
#[cfg(feature = "serve")]
mod durability;
mod lifecycle;
mod limits;
mod plugins;
#[cfg(feature = "tls")]
mod security;
mod server;
