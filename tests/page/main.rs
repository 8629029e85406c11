//! The collector's page: how its files are served, and what a person sees in a real browser.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod account;
mod add;
mod alarms;
mod charts;
mod demo;
mod files;
mod keys;
mod live;
mod login;
mod paper;
mod phone;
mod proxy;
mod readme;
mod scale;
mod seen;
mod states;
