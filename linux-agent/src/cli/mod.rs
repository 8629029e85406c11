//! What the commands do. Each ends in an exit code and, if it failed, one sentence.

#[cfg(feature = "serve")]
pub mod alarms;
pub mod arguments;
#[cfg(feature = "serve")]
pub mod ask;
#[cfg(feature = "serve")]
pub mod backup;
pub mod check;
#[cfg(feature = "serve")]
pub mod collector;
#[cfg(feature = "crash")]
pub mod crash;
#[cfg(feature = "serve")]
pub mod demo;
pub mod enroll;
#[cfg(feature = "serve")]
pub mod export;
#[cfg(feature = "serve")]
pub mod hosts;
#[cfg(feature = "serve")]
pub(crate) mod instant;
pub mod misspelt;
pub mod outcome;
#[cfg(feature = "serve")]
pub mod passwd;
pub mod probe;
pub mod process;
mod sample;
pub mod service;
pub mod source;
pub mod status;
#[cfg(feature = "serve")]
mod table;
