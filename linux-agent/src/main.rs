//! The command line of mote: arguments in, exit codes out.

use std::process::ExitCode;
#[cfg(feature = "serve")]
use std::time::Duration;

use clap::Parser;
use log::LevelFilter;
use mote_agent::cli::arguments::{Cli, Command, RunAs, Timeout};
#[cfg(feature = "crash")]
use mote_agent::cli::crash;
use mote_agent::cli::misspelt;
use mote_agent::cli::outcome::{Failed, exit, printed};
use mote_agent::cli::source::Source;
#[cfg(feature = "serve")]
use mote_agent::cli::{alarms, backup, collector, demo, export, hosts, passwd};
use mote_agent::cli::{check, enroll, probe, process, service, status};
#[cfg(feature = "serve")]
use mote_agent::collector::Role;
use mote_agent::system;
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    // A file that reaches a limit of this process is an error of that file, not the end. Plugins get it back.
    let _ = system::signals::block_signals(&[Signal::SIGXFSZ]);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let explained = misspelt::explain(&error);
            return match (error.use_stderr(), printed(explained)) {
                (true, _) => exit::USAGE.into(),
                (false, Ok(())) => exit::OK.into(),
                (false, Err(failed)) => end(failed),
            };
        }
    };
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(failed) => end(failed),
    }
}

fn end(Failed { code, sentence }: Failed) -> ExitCode {
    if !sentence.is_empty() {
        system::log::say(format_args!("{sentence}"));
    }
    code.into()
}

fn dispatch(Cli { global, command }: Cli) -> Result<u8, Failed> {
    system::log::init(match (global.quiet, global.verbose) {
        (0, 0) => LevelFilter::Info,
        (0, _) => LevelFilter::Debug,
        (1, _) => LevelFilter::Warn,
        (_, _) => LevelFilter::Error,
    });
    let verbosity: &[&str] = match (global.quiet, global.verbose) {
        (0, 0) => &[],
        (0, _) => &["-v"],
        (1, _) => &["-q"],
        (_, _) => &["-qq"],
    };
    let user = match &command {
        Command::Start(RunAs { user })
        | Command::Restart {
            user: RunAs { user },
            ..
        }
        | Command::Run {
            user: RunAs { user },
            ..
        } => user.clone(),
        _ => None,
    };
    let source = Source {
        file: global.config,
        procfs: global.procfs,
        sysfs: global.sysfs,
        rootfs: global.rootfs,
        user,
    };
    match command {
        Command::Start(_) => process::start(&source, verbosity),
        Command::Stop(Timeout { timeout }) => process::stop(&source, timeout),
        Command::Restart {
            timeout: Timeout { timeout },
            ..
        } => process::restart(&source, timeout, verbosity),
        Command::Reload => process::reload(&source),
        Command::Status { json, watch: false } => return status::status(&source, json),
        Command::Status { json, watch: true } => return status::watch_status(&source, json),
        Command::Run { detached, .. } => process::run(&source, detached),
        Command::Probe { list: true, .. } => probe::list_probes(),
        Command::Probe { plugins, wait, .. } => probe::probe(&source, &plugins, wait),
        Command::Check { send } => check::check(&source, send),
        #[cfg(feature = "crash")]
        Command::Crash { elf, addresses } => crash::crash(&elf, &addresses),
        Command::PluginRunner { user } => process::run_plugins(&user),
        Command::Enroll {
            url,
            code,
            ca_file,
            certificate,
            client_id,
            force,
            once,
            start,
        } => {
            let asked = enroll::Enrolment {
                url: &url,
                code: &code,
                ca_file: ca_file.as_deref(),
                certificate: certificate.as_deref(),
                client_id: client_id.as_deref(),
                if_enrolled: match (force, once) {
                    (true, _) => enroll::IfEnrolled::Replace,
                    (_, true) => enroll::IfEnrolled::Leave,
                    _ => enroll::IfEnrolled::Refuse,
                },
            };
            enroll::enroll(&source, &asked)?;
            match start {
                true => service::start(&source, verbosity),
                false => Ok(()),
            }
        }
        #[cfg(feature = "serve")]
        Command::Serve => collector::serve(&source),
        #[cfg(feature = "serve")]
        Command::Invite {
            host,
            group,
            times,
            valid_for_s,
            revoke,
        } => {
            let valid_for = Duration::from_secs(u64::from(valid_for_s));
            match host {
                Some(host) => collector::invite(&source, &host, valid_for, revoke),
                None if revoke => Err(collector::whom("revoke")),
                None if group.is_none() && times.is_none() => Err(collector::whom("invite")),
                None => {
                    let times = times.unwrap_or(1);
                    collector::invite_fleet(&source, group.as_deref(), times, valid_for)
                }
            }
        }
        #[cfg(feature = "serve")]
        Command::Hosts {
            host,
            problems,
            json,
        } => hosts::hosts(&source, host.as_deref(), problems, json),
        #[cfg(feature = "serve")]
        Command::Export {
            host,
            service,
            item,
            field,
            from,
            to,
            rows,
            csv,
            json,
        } => {
            let wanted = export::WantedSeries {
                host: &host,
                service: &service,
                item: item.as_deref(),
                field: field.as_deref(),
                from,
                to,
                rows,
            };
            export::export(&source, &wanted, export::Form::of(csv, json))
        }
        #[cfg(feature = "serve")]
        Command::Backup { file } => backup::backup(&source, &file),
        #[cfg(feature = "serve")]
        Command::Passwd { name, role } => {
            let is_admin = role == "admin";
            passwd::passwd(&name, if is_admin { Role::Admin } else { Role::Viewer })
        }
        #[cfg(feature = "serve")]
        Command::Alarms { history, json } => alarms::alarms(&source, history, json),
        #[cfg(feature = "serve")]
        Command::Silence { end: Some(id), .. } => alarms::end_silence(&source, id),
        #[cfg(feature = "serve")]
        Command::Silence {
            host,
            why,
            length,
            alarm,
            end: None,
        } => alarms::silence(
            &source,
            &host.unwrap_or_default(),
            length.unwrap_or_default(),
            &why.unwrap_or_default(),
            alarm.as_deref(),
        ),
        #[cfg(feature = "serve")]
        Command::Events {
            host,
            from,
            to,
            json,
        } => alarms::events(&source, host.as_deref(), from, to, json),
        #[cfg(feature = "serve")]
        Command::Demo { state } => demo::demo(&source, state.as_deref()),
    }?;
    Ok(exit::OK)
}
