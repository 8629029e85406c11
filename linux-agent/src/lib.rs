//! agent
pub mod probes;
pub mod queue;
pub mod uplink;
