//! The reports on disk: segments that are appended to, and beside each a file of what is done of it.
//!
//! A segment is named by the number of its first report, so the reports in it are counted without reading
//! it. Nothing is ever changed in place. What a call that failed left behind is ended with a newline by the next
//! one, and whoever reads goes by the numbers: a line that is damaged is a number that is missing.

mod read;
mod recover;
mod table;
mod write;

pub use table::{MAX_DONE_RANGES, Segments};
