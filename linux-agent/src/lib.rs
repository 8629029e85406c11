//! agent
pub mod plugin;
pub mod probes;
pub mod settings;
