//! Monitoring for microcontrollers, to be taken into an application's own firmware.
//!
//! ```text
//!  serial line ──► Node::receive ──► services document, acknowledgements
//!                     │
//!  clock ──► Node::poll ──► mote_core::Monitor ──► Board::sample ──► ring of samples
//!                                                                        │ encoded when there is room to send
//!  serial line ◄── Node::outgoing ◄── sealed lines ◄─────────────────────┘
//! ```
//!
//! A [`Node`] does all that without I/O, interrupts or a clock of its own. [`run`] drives it as one task over
//! `embedded-io-async`, [`turn`] from a loop over `embedded-io`. What can be sampled is a [`Board`]: [`Mcu`] has
//! load, RAM and uptime, and an application adds its own probes around it. The load is that of the whole
//! processor, interrupts included, if the place where the firmware sleeps is a [`LoadMeter`]'s.
//!
//! Nothing here allocates, panics, formats text with `core::fmt` or uses floating point.

#![no_std]
#![warn(clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

mod arch;
mod board;
#[cfg(all(feature = "embassy", target_os = "none"))]
pub mod embassy;
mod heartbeat;
mod load;
mod mcu;
mod node;
mod ram;
mod ring;
#[cfg(feature = "sensors")]
pub mod sensors;
mod shell;
mod sleeper;
#[cfg(all(target_arch = "arm", target_os = "none"))]
mod systick;

pub use board::{Board, Context, Failed, Statistics};
pub use heartbeat::{Heartbeat, Link, LinkCell};
pub use load::{Load, LoadMark, LoadMeter};
pub use mcu::{Alive, Mcu, McuLoad, McuPlugin, McuRam, McuSample, Reset};
pub use mote_core;
pub use mote_core::{ClientId, Config, Interval, Service, Status, Uptime};
pub use node::{MAX_LINE, Node, Settings};
pub use ram::{HeapUse, Ram};
pub use shell::{Clock, run, run_blocking, turn};
pub use sleeper::Sleeper;
#[cfg(all(target_arch = "arm", target_os = "none"))]
pub use systick::SysTick;
