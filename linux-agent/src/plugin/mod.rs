//! Plugins that are executables: programs of the operator that a server may name.
//!
//! A server only names one. It runs if the settings list it and it is a regular executable file in the plugin
//! folder, or where the settings say. It gets no shell and no arguments but those of the settings; an environment of `PATH` and `LC_ALL` only; an empty standard input
//! and two pipes; a session of its own; no way to gain rights; limits, among them one of time. [`Running`] is one
//! such run, for a loop around poll(2); [`RunOutcome`] is its result; `leftovers` ends what it leaves behind.
//!
//! Plugins run as the agent's user, or as a [`PluginUser`] of their own. Only root can start them as another user, so
//! an agent that gives up root keeps a `runner`, which can do nothing else. [`PluginRuns`] is either.

mod confine;
pub(crate) mod leftovers;
mod limits;
mod listed;
mod nagios;
mod output;
mod printed;
mod remote;
pub(crate) mod runner;
mod running;
mod runs;
mod starter;
mod user;
mod wire;

pub use confine::{MAX_FILE_BYTES, MAX_FILES, MAX_MEMORY_BYTES, MAX_PROCESSES};
pub use limits::{
    KILL_AFTER, MAX_COMPLAINT_BYTES, MAX_ERROR_BYTES, MAX_OUTPUT_BYTES, MAX_RUNNING, MAX_STARTING,
    MAX_TIME_LIMIT,
};
pub use listed::{Format, PluginCommand, PluginError, Plugins, is_plugin_name};
pub use output::{Ended, PluginData, RunOutcome};
pub use remote::{ANSWER_TIME, RunnerError};
pub use running::Running;
pub use runs::{Begun, PluginRuns, RunsError};
pub use user::{CAPABILITIES, PluginUser, PluginUserError};
pub use wire::MAX_REQUEST_BYTES;
