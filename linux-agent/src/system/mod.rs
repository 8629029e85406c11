//! What the agent and the collector ask of the operating system.

pub mod clock;
pub mod daemon;
pub(crate) mod fault;
pub mod files;
pub(crate) mod ids;
pub mod lock;
pub mod log;
pub mod notify;
pub mod privileges;
pub(crate) mod sandbox;
pub mod secret;
pub(crate) mod signals;
pub mod state_folder;
