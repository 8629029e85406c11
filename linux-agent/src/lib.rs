//! agent
pub mod probes;
#[cfg(feature = "serve")]
pub mod serve;
