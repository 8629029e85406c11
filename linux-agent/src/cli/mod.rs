//! What the commands do. Each ends in an exit code and, if it failed, one sentence.

pub mod check;
#[cfg(feature = "serve")]
pub mod collector;
#[cfg(feature = "crash")]
pub mod crash;
#[cfg(feature = "serve")]
pub mod demo;
pub mod enroll;
pub mod outcome;
pub mod probe;
pub mod process;
mod sample;
pub mod source;
pub mod status;
