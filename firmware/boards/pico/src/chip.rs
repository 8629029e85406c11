//! What is not alike in the chips of the Pico and of the Pico 2.

#[cfg(all(feature = "rp2040", feature = "rp2350"))]
compile_error!("a board has one chip: --no-default-features --features rp2350");
#[cfg(not(any(feature = "rp2040", feature = "rp2350")))]
compile_error!("a board has a chip: --features rp2040, or rp2350");

#[cfg(feature = "rp2040")]
mod rp2040;
#[cfg(feature = "rp2040")]
pub use rp2040::*;

#[cfg(all(feature = "rp2350", not(feature = "rp2040")))]
mod rp2350;
#[cfg(all(feature = "rp2350", not(feature = "rp2040")))]
pub use rp2350::*;

/// Bytes of the id that a board has for itself.
pub const UNIQUE_BYTES: usize = 8;
