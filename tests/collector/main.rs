//! The collector as its clients see it: over loopback, and what is left after a restart.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod accounting;
mod alarms;
mod api;
mod batch;
mod clock;
mod commands;
mod enrolment;
mod fleet;
mod full;
mod history;
mod hung;
mod kept;
mod limits;
mod live;
mod messages;
mod openapi;
mod posting;
mod refused;
mod reload;
mod running;
mod said;
mod sessions;
mod ten_hosts;
mod tls;
mod tokens;
mod words;
