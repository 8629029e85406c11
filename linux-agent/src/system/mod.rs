//! What the agent and the collector ask of the operating system.

pub(crate) mod attempt;
pub(crate) mod below;
pub mod clock;
pub(crate) mod daemon;
pub(crate) mod fault;
pub(crate) mod files;
pub(crate) mod ids;
pub(crate) mod lock;
pub mod log;
pub(crate) mod notify;
pub(crate) mod own_socket;
pub(crate) mod places;
pub(crate) mod privileges;
pub(crate) mod sandbox;
pub mod secret;
pub mod signals;
pub(crate) mod state_folder;
