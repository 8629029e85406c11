pub mod clock;
pub mod daemon;
pub(crate) mod fault;
pub mod files;
pub mod log;
pub mod notify;
pub mod privileges;
pub mod secret;
