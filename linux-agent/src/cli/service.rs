//! Starting the agent as this machine starts its services.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use super::outcome::{Failed, exit, failed, say};
use super::process;
use super::source::Source;
use crate::settings::Settings;

/// The settings that units and scripts name.
const SETTINGS: &str = "/etc/mote/agent.toml";

/// What starts services, and knows one that is called `mote`.
struct Manager {
    name: &'static str,
    /// It runs where this folder is.
    mark: &'static str,
    /// One of these is its service.
    services: &'static [&'static str],
    /// What has the service run now and from each start of the machine on.
    commands: [&'static [&'static str]; 2],
    /// Who says why it does not run.
    log: &'static str,
}

const MANAGERS: [Manager; 2] = [
    Manager {
        name: "systemd",
        mark: "/run/systemd/system",
        services: &[
            "/etc/systemd/system/mote.service",
            "/usr/lib/systemd/system/mote.service",
            "/lib/systemd/system/mote.service",
        ],
        commands: [
            &["systemctl", "enable", "mote"],
            &["systemctl", "restart", "mote"],
        ],
        log: "`journalctl --unit mote`",
    },
    Manager {
        name: "OpenRC",
        mark: "/run/openrc",
        services: &["/etc/init.d/mote"],
        commands: [
            &["rc-update", "add", "mote"],
            &["rc-service", "mote", "restart"],
        ],
        log: "/var/log/mote.log",
    },
];

/// Has the service manager run the agent, if it knows it; else starts it as `mote start` does.
pub fn start(source: &Source, verbosity: &[&str]) -> Result<(), Failed> {
    let file = Settings::file_to_load(source.file.as_deref());
    let is_of_host = file == Path::new(SETTINGS) && Uid::effective().is_root();
    let knows = |it: &&Manager| {
        Path::new(it.mark).is_dir() && it.services.iter().any(|it| Path::new(it).exists())
    };
    let Some(manager) = MANAGERS.iter().filter(|_| is_of_host).find(knows) else {
        return process::start(source, verbosity);
    };
    for command in manager.commands {
        let [program, arguments @ ..] = command else {
            continue;
        };
        // Its words are for people, not for whoever reads the output of this command.
        let ran = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .status();
        if !ran.is_ok_and(|it| it.success()) {
            let sentence = format!(
                "this host is enrolled, but `{}` failed: {} may say why",
                command.join(" "),
                manager.log
            );
            return Err(failed(exit::FAILED, sentence));
        }
    }
    say(&format!(
        "{} runs the agent, now and after each start of this machine; `mote status` says how it is",
        manager.name
    ))
}
