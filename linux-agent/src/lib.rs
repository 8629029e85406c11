//! The Linux agent of mote: a shell around [`mote_core`] that samples this host and reports to a server.
//!
//! ```text
//! server ──► courier ──► orders ──► Monitor ──► sampling ──► a probe, or an executable ──► report
//!    ▲          │                   (core)      (agent: the one loop)                         │
//!    └── http ◄─┴── uplink ◄── queue ◄────────────────────────────────────────────────────────┘
//! ```

mod access;
pub mod agent;
pub mod clock;
pub mod commands;
pub mod control;
pub mod courier;
pub mod daemon;
pub mod dead;
#[cfg(feature = "serve")]
pub mod demo;
pub mod dispatch;
pub mod enroll;
mod fault;
pub mod gateway;
pub mod http;
pub mod log;
pub mod notify;
pub mod orders;
pub mod plugin;
pub mod privileges;
pub mod probes;
pub mod queue;
mod regular_file;
pub mod sampling;
pub mod secret;
#[cfg(feature = "serve")]
pub mod serve;
pub mod settings;
pub mod status;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
#[cfg(feature = "tls")]
pub use tls::MAX_CERTIFICATES;
pub mod transport;
pub mod uplink;
