//! Executables that the settings allow: those in order, those that are not, and those of another user.

mod checks;
mod hostile;
mod hung;
mod listed;
mod many_checks;
mod own_user;

use std::process::Command;

use mote_test_support::Running;
use mote_test_support::processes::wait_until_gone;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::Site;
use serde_json::json;

/// What a plugin's niceness is: this one's and 10.
fn niceness_of_plugins() -> i32 {
    (rustix::process::nice(0).unwrap() + 10).min(19)
}

/// Orders for a plugin `bad` that is to run once.
const ONCE: &str = r#"{"Bad": ["bad", 3600], "Cpu": ["get_linux_cpu", 0.1]}"#;

/// A plugin that takes each place of a process that becomes free at once.
const BOMB: &str = "#!/usr/bin/python3 -I
import os, time
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
";

/// Runs the agent of a site whose plugin `bad` is [`BOMB`], with a limit of 1 s. There are few places, for the sake of
/// this machine.
fn assert_the_bomb_goes_out(server: &Server, site: &Site) {
    let run = site.command(&["run"]);
    let mut limited = Command::new("prlimit");
    limited
        .arg("--nproc=60:60")
        .arg(run.get_program())
        .args(run.get_args());
    let mut agent = Running::start("agent", &mut limited, site.folder());
    let error = "stopped after its time limit of 1 s";
    let data = server.wait_for_more("Bad", 1)[0]["data"].clone();
    assert_eq!(data, json!({"status": 124, "error": error}));
    wait_until_gone(&site.path("plugins/bad").display().to_string());
    server.wait_for_more("Cpu", 2);
    assert_eq!(agent.terminate().code(), Some(0));
}

/// Whoever fills this machine: the other service is sampled on and on, and the agent answers.
fn assert_others_were_sampled(server: &Server, site: &Site) {
    for _ in 0..3 {
        server.wait_for_more("Cpu", 5);
        site.status();
    }
}
