//! `mote serve` and `mote invite`: the collector.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::outcome::{Failed, LAST_LINES, exit, failed, say, say_aside};
use super::source::Source;
use crate::collector::{self, Collector, InviteError, ServeError, ServerSettings};
use crate::system::log;
use crate::system::notify::Manager;
use crate::system::privileges;

const SERVER_FILES: [&str; 2] = ["conf/server.toml", "/etc/mote/server.toml"];

/// The collector, until SIGTERM or SIGINT.
pub fn serve(source: &Source) -> Result<(), Failed> {
    let settings = server_settings(source)?;
    // Before the first secret is read.
    privileges::hide_memory().map_err(|error| failed(exit::FAILED, error))?;
    log::to_standard_error().map_err(|error| failed(exit::FAILED, error))?;
    let collector = Collector::bind(settings).map_err(|error| match error {
        ServeError::Anonymous(_) | ServeError::Secret(_) | ServeError::Tls(_) => {
            failed(exit::SETTINGS, error)
        }
        _ => failed(exit::FAILED, error),
    })?;
    // Before anybody is told that it runs, and may end it.
    let signals = collector.in_runtime(|| {
        let terminate = signal(SignalKind::terminate())?;
        Ok((terminate, signal(SignalKind::interrupt())?))
    });
    let (mut terminate, mut interrupt) =
        signals.map_err(|error: io::Error| failed(exit::FAILED, error))?;
    let scheme = if collector.has_tls() { "https" } else { "http" };
    let mut lines = vec![format!(
        "mote serve: {scheme}://{}/",
        collector.local_addr()
    )];
    if let Some(link) = collector
        .link()
        .map_err(|error| failed(exit::FAILED, error))?
    {
        lines.push(format!(
            "There are no users, so only this machine may look. From elsewhere, open this link once, within an hour:\n  {link}"
        ));
    }
    say_aside(lines, || {})?;
    collector.run(async {
        Manager::from_env().tell("READY=1");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    log::flush(LAST_LINES);
    Ok(())
}

/// Nobody is named.
pub fn whom(what: &str) -> Failed {
    failed(
        exit::USAGE,
        match what {
            "revoke" => "whom? Name the host whose tokens go: `mote invite HOST --revoke`",
            _ => {
                "whom? Name a host of the settings (`mote invite HOST`), or the group that hosts without a table enroll into \
                 (`mote invite --group GROUP --times N`)"
            }
        },
    )
}

/// Prints a code with which so many hosts that no file names enrol into a group.
pub fn invite_fleet(
    source: &Source,
    group: Option<&str>,
    times: u32,
    valid_for: Duration,
) -> Result<(), Failed> {
    let settings = server_settings(source)?;
    let code = collector::invite_fleet(&settings, group, times, valid_for).map_err(not_invited)?;
    say(&code)
}

fn not_invited(error: InviteError) -> Failed {
    match error {
        InviteError::NoHost(_) | InviteError::NoGroup(_) | InviteError::WhichGroup => {
            failed(exit::USAGE, error)
        }
        _ => failed(exit::FAILED, error),
    }
}

/// Prints a one-time code that `host` can exchange for a token, or takes away what it has.
pub fn invite(
    source: &Source,
    host: &str,
    valid_for: Duration,
    revoke: bool,
) -> Result<(), Failed> {
    let settings = server_settings(source)?;
    let fail = not_invited;
    if revoke {
        let revoked = collector::revoke(&settings, host).map_err(fail)?;
        return say(&format!(
            "{host}: removed enrolled tokens: {}, open codes: {}",
            revoked.tokens, revoked.codes
        ));
    }
    say(&collector::invite(&settings, host, valid_for).map_err(fail)?)
}

pub(super) fn server_settings(source: &Source) -> Result<ServerSettings, Failed> {
    let file = match &source.file {
        Some(file) => file.clone(),
        None => SERVER_FILES
            .iter()
            .map(PathBuf::from)
            .find(|file| file.exists())
            .ok_or_else(|| {
                let sentence = format!(
                    "there is no settings file: looked for {}; name one with --config",
                    SERVER_FILES.join(" and ")
                );
                failed(exit::SETTINGS, sentence)
            })?,
    };
    ServerSettings::read(&file).map_err(|error| failed(exit::SETTINGS, error))
}
