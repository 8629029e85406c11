//! The Linux agent of mote: a shell around [`mote_core`] that samples this host and reports to a server.
//!
//! ```text
//! server ──► courier ──► orders ──► Monitor ──► sampling ──► a probe, or an executable ──► report
//!    ▲          │                   (core)      (agent: the one loop)                         │
//!    └── http ◄─┴── uplink ◄── queue ◄────────────────────────────────────────────────────────┘
//! ```

pub mod agent;
pub mod cli;
#[cfg(feature = "serve")]
pub mod collector;
pub mod delivery;
pub mod gateway;
pub mod http;
pub mod orders;
pub mod plugin;
pub mod probes;
pub mod queue;
pub mod settings;
pub mod system;
