//! The commands of the real program, one process at a time: start, stop, restart, reload, status, run, probe, check.

mod clock;
mod commands;
mod death;
#[cfg(feature = "serve")]
mod demo;
mod hung;
mod log;
mod overload;
mod privileges;
mod reload;
mod start_stop;
mod supervised;
mod unknown;

/// Services in the settings, and no server.
const LOCAL: &str = r#"services = { Cpu = ["get_linux_cpu", 0.1] }"#;
