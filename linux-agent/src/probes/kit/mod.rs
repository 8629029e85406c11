//! What probes are built from.

pub(crate) mod counters;
pub(crate) mod file;
pub mod items;
pub(crate) mod rate;
pub(crate) mod scan;
