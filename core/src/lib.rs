#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]
//! core

#[cfg(test)]
extern crate std;

pub mod report;

pub use report::{ClientId, Envelope, Failure, Stamp, Status, TooLarge};
