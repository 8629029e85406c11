//! The Linux agent of mote: a shell around [`mote_core`] that samples this host and reports to a server.
//!
//! ```text
//! server ──► courier ──► orders ──► Monitor ──► sampling ──► a probe, or an executable ──► report
//!    ▲          │                   (core)      (agent: the one loop)                         │
//!    └── http ◄─┴── uplink ◄── queue ◄────────────────────────────────────────────────────────┘
//! ```

pub mod agent;
pub mod clock;
pub mod commands;
pub mod control;
pub mod courier;
pub mod daemon;
#[cfg(feature = "serve")]
pub mod demo;
mod fault;
pub mod gateway;
pub mod http;
pub mod log;
pub mod notify;
pub mod orders;
pub mod plugin;
pub mod probes;
pub mod queue;
mod regular_file;
pub mod sampling;
#[cfg(feature = "serve")]
pub mod serve;
pub mod settings;
pub mod status;
pub mod transport;
pub mod uplink;
