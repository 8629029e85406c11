//! The Linux agent of mote: a shell around [`mote_core`] that samples this host and reports to a server.
//!
//! ```text
//! server ──► delivery ──► orders ──► Monitor ──► agent::sampling ──► a probe, or a plugin ──► report
//!    ▲          │                    (core)      (agent: the one loop)                          │
//!    └── http ◄─┴── uplink ◄── queue ◄──────────────────────────────────────────────────────────┘
//! ```
//!
//! The modules stand from top to bottom, each on its floor: it uses only what stands below it. `ci/checks/layers` reads
//! the order here and holds the code to it.

// The command line: one file a command, and the exit codes.
pub mod cli;

// The one loop: timers, signals, plugins, the control socket.
pub mod agent;

// Boards on serial ports.
pub mod gateway;

// The server that agents report to.
#[cfg(feature = "serve")]
pub mod collector; // only: account, client_name, http, protocol, ranges, toml_reader, system

// What a services document means on this host.
pub mod orders;

// Reports on their way from the queue to the server, and who waits for the disk and the server meanwhile.
pub mod delivery;

// Calls to the server: sockets, name service, TLS, the token.
pub mod http;

// The agent's settings and their variables.
pub mod settings;

// What this host can report: one file a probe.
pub mod probes;

// Executables that the settings allow.
pub mod plugin;

// Reports that wait, on disk and the next ones in memory.
pub mod queue;

// Sets of numbers.
mod ranges;

// What became of all reports: sampled = acknowledged + queued + dropped.
pub mod account;

// The number or the name that tells clients apart.
pub mod client_name;

// What agents and the collector agree on.
pub mod protocol;

// Settings files, those of the agent and those of the collector.
pub(crate) mod toml_reader;

// What the rest asks of the operating system.
pub mod system;
