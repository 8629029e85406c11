//! JSON (RFC 8259) as mote writes and reads it: into a buffer, out of a buffer, without allocation and without a
//! way to panic.
//!
//! A reader and a writer of its own since those to be had can panic as far as a compiler sees, which links the
//! machinery for it into every board, and cost more flash than all the rest of the core.

mod reader;
mod writer;

pub use reader::{MAX_DEPTH, Malformed, Reader, unescape};
pub use writer::to_slice;
pub(crate) use writer::{Items, Writer};
