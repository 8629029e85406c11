//! Boards: the gateway on pseudo-terminals, and images as they are flashed, in emulators.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod builds;
mod c_example;
mod executors;
mod flip_link;
mod gateway;
mod lines;
mod load_accuracy;
mod load_riscv;
mod microbit;
mod pico;
mod rtic_example;
mod small_board;
