//! What is wrong with hosts, and who hears of it.
//!
//! ```text
//! reports ──► judge ────┐                      ┌──► records   the tables alarms, silences, outbox, events
//! lateness ──► built_in ┼──► engine ──► tell ──┤
//! accounts ──► losses ──┘    (machine)         └──► outbox ──► messenger ──► webhook, mail
//! ```
//!
//! `machine`, `engine` with `judge` and `built_in`, `tell`, `losses` and `outbox` have no clock, no file and no thread: they are told what time it
//! is and what was seen, and say what to write and to send. `duty` is the task that feeds them, once a second.

pub(crate) mod alarm;
mod built_in;
mod chores;
pub(crate) mod duty;
pub(crate) mod engine;
pub(crate) mod figures;
mod forecast;
mod judge;
pub(crate) mod losses;
pub(crate) mod machine;
mod mail;
pub(crate) mod message;
pub(crate) mod messenger;
mod moment;
pub(crate) mod outbox;
pub(crate) mod records;
pub(crate) mod silences;
mod silencing;
mod state;
mod tell;
#[cfg(test)]
mod tests;
mod webhook;
mod words;
