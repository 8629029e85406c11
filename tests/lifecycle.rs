//! The commands of the real program, one process at a time: start, stop, restart, reload, status, run, probe, check.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "lifecycle/clock.rs"]
mod clock;
#[path = "lifecycle/commands.rs"]
mod commands;
#[path = "lifecycle/death.rs"]
mod death;
#[cfg(feature = "serve")]
#[path = "lifecycle/demo.rs"]
mod demo;
#[path = "lifecycle/hostile_plugins.rs"]
mod hostile_plugins;
#[path = "lifecycle/log.rs"]
mod log;
#[path = "lifecycle/overload.rs"]
mod overload;
#[path = "lifecycle/plugin_user.rs"]
mod plugin_user;
#[path = "lifecycle/plugins.rs"]
mod plugins;
#[path = "lifecycle/privileges.rs"]
mod privileges;
#[path = "lifecycle/reload.rs"]
mod reload;
#[path = "lifecycle/start_stop.rs"]
mod start_stop;
#[path = "lifecycle/supervised.rs"]
mod supervised;

/// What a plugin's niceness is: this one's and 10.
fn niceness_of_plugins() -> i32 {
    (rustix::process::nice(0).unwrap() + 10).min(19)
}

/// Orders of the agent's own, and no server.
const LOCAL: &str = r#"services = { Cpu = ["get_linux_cpu", 0.1] }"#;
