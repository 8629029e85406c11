//! One monitoring core for microcontrollers and hosts: it decides which service is due when, and what a
//! report looks like. It never reads a clock, opens a file, allocates, blocks or panics, as long as the data of reports
//! is what [`Envelope::encode`] says.
//!
//! ```text
//! {"services": {name: [plugin, interval]}} ──► Config::parse ──► Monitor::apply
//!                                                                    │
//! clock ──► Monitor::poll(now) ──► Action::Sample(slot) ──► a probe of the platform ──► data
//!                 ▲                                                                      │
//!                 └── poll_at() ── sleep until then         Envelope::encode(data) ◄─────┘
//!                                                                    │ bytes of one report
//! ```
//!
//! ```
//! use mote_core::{Action, ClientId, Config, Envelope, Monitor, MonitorSettings, Stamp, Status, Uptime};
//!
//! #[derive(serde::Serialize)]
//! struct Load {
//!     status: Status,
//!     load_permille: u32,
//! }
//!
//! // At most 8 services with names of at most 31 bytes; a plugin is what its name means here.
//! type Board = Monitor<Option<&'static str>, 8, 31>;
//!
//! let settings = MonitorSettings {
//!     client: mote_core::client_hash(ClientId::Number(7)),
//!     first_sample_spread_ms: 0,
//!     refresh: None,
//! };
//! let mut monitor = Board::new(settings, Uptime::from_millis(0));
//! let document = br#"{"services": {"McuLoad": ["get_mcu_load", 5]}}"#;
//! let orders = Config::parse(document, |plugin| (plugin == "get_mcu_load").then_some("load"));
//! monitor.apply(&orders.unwrap());
//!
//! let mut buffer = [0; 256];
//! let mut reports = 0;
//! while reports < 2 {
//!     let now = monitor.poll_at(); // a real shell sleeps until then
//!     match monitor.poll(now) {
//!         Some(Action::Sample { slot, .. }) => {
//!             let seq = monitor.next_seq();
//!             let envelope = Envelope {
//!                 client_id: ClientId::Number(7),
//!                 service_name: &monitor.entry(slot).unwrap().service.name,
//!                 stamp: Stamp::Uptime { seconds: 6, millis: None, age: 0, boot: None },
//!                 seq,
//!             };
//!             let data = Load { status: Status::OK, load_permille: 123 };
//!             let length = envelope.encode(&data, &mut buffer).unwrap();
//!             reports += 1;
//!             if seq == 1 {
//!                 assert_eq!(
//!                     std::str::from_utf8(&buffer[..length]).unwrap(),
//!                     r#"{"client_id":7,"service_name":"McuLoad","data":{"status":0,"load_permille":123},"uptime":6,"seq":1}"#
//!                 );
//!             }
//!         }
//!         // A real shell takes the baseline of the service's rates here.
//!         Some(Action::Start(_)) | Some(Action::FetchConfig) | None => {}
//!     }
//! }
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

// From top to bottom: a module uses only what stands below it, and ci/checks/layers holds the code to that.

pub mod monitor;

pub mod schedule;

pub mod config;

pub mod frame;

mod hash;

pub mod report;

pub mod backoff;

pub mod time;

pub mod json;

pub use config::{Config, ConfigError, ConfigFault, Name, Service};
pub use hash::client_hash;
pub use json::TooLarge;
pub use monitor::{Action, Monitor, MonitorSettings};
pub use report::{ClientId, Envelope, Failure, Fields, Stamp, Status, Value, Words};
pub use schedule::{Entry, SlotId};
pub use time::{Extender, Interval, Uptime};
