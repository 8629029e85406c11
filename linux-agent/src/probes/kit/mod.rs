//! What probes are built from: where to read, how to read it, how to count, and how to report it.

pub mod asked;
mod context;
pub(crate) mod counters;
mod error;
pub(crate) mod file;
pub mod items;
mod of_file;
pub(crate) mod rate;
mod sample;
pub(crate) mod scan;
pub(crate) mod workers;

pub use context::{AgentCounters, Context, Roots};
pub use error::{Malformed, ProbeError};
pub use file::{MAX_FILE, MAX_OPEN, Scratch, SourceFile};
pub use of_file::FromFile;
pub(crate) use of_file::OfFile;
pub use sample::{Encode, MAX_REPORT, Sample, Sampler};
pub use workers::{MAX_THREADS, MAX_WORKERS};
