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
//! load, RAM and uptime, and an application adds its own probes around it. The load is that of
//! the core that runs this, interrupts included, if it sleeps in a [`LoadMeter`] and nowhere else.
//!
//! The [`LoadMeter`] can be used alone; `examples/load_meter.rs` does.
//!
//! Nothing here allocates, panics, formats text with `core::fmt` or uses floating point. (Of what it links, the
//! writing of digits in serde-json-core has ways to panic that are never taken; `data` must be what
//! [`mote_core::Envelope::encode`] says.)

#![no_std]
#![warn(clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

// From top to bottom: a module uses only what stands below it, and ci/checks/layers holds the code to that.

mod shell;

mod node;

mod ring;

mod mcu;

#[cfg(feature = "sensors")]
pub mod sensors;

mod board;

mod heartbeat;

#[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
pub mod crash;

mod sleeper;

mod clock;

#[cfg(all(feature = "embassy", target_os = "none"))]
pub mod embassy;

#[cfg(all(feature = "tasks", target_os = "none"))]
pub mod tasks;

mod load;

mod ram;

mod received;

#[cfg(all(target_arch = "arm", target_os = "none"))]
mod systick;

mod arch;

pub use board::{Board, Context, Failed, Statistics};
pub use clock::Clock;
pub use heartbeat::{Heartbeat, Link, LinkCell};
pub use load::{Load, LoadMark, LoadMeter, Sleep};
pub use mcu::{Alive, Mcu, McuLoad, McuPlugin, McuRam, McuSample, Reset};
pub use mote_core;
pub use mote_core::{ClientId, Config, Fields, Interval, Service, Status, Uptime, Value};
pub use node::{MAX_LINE, Node, Settings};
pub use ram::{HeapUse, Ram};
pub use received::take_received;
pub use shell::{run, run_blocking, turn};
pub use sleeper::Sleeper;
#[cfg(all(target_arch = "arm", target_os = "none"))]
pub use systick::SysTick;
