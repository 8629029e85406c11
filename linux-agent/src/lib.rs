//! agent
pub mod plugin;
pub mod probes;
