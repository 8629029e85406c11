//! agent
pub mod probes;
