//! The probes on this machine, and on the oddest that there are.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod hung_mount;
mod links;
mod odd_hosts;
mod report_data;
mod tools;
mod truth;
mod truth_cgroups;
mod truth_clock;
mod truth_cores;
mod truth_sockets;
mod watched;
