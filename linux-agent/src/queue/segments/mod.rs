//! The reports on disk: segments that are appended to, and beside each a file of what is done of it.
//!
//! A segment is named by the number of its first report, so its reports are counted without reading it. Nothing is
//! changed in place. If a write fails, the next one begins with a newline. Reading goes by the numbers: a damaged
//! line is a missing number.

mod read;
mod recover;
mod table;
mod write;

pub use table::{MAX_DONE_RANGES, Segments};
