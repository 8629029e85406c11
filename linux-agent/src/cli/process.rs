//! `mote run`, `start`, `stop`, `restart`, `reload`: the agent as a process.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::{ANSWER_TIME, Failed, LAST_LINES, exit, failed, say};
use super::source::{Source, account_failure, holder, privilege_failure};
use crate::agent::control::{self, ControlRequest};
use crate::agent::{Agent, AgentError};
use crate::plugin::{self, RunsError};
use crate::settings::Settings;
use crate::system::daemon::{self, Stopped};
use crate::system::lock::Holder;
use crate::system::log;
use crate::system::state_folder::{self, Tenant};

/// The agent, until SIGTERM or SIGINT. `detached`: this process was started by [`start`].
pub fn run(source: &Source, detached: bool) -> Result<(), Failed> {
    if detached {
        daemon::leave_session().map_err(|error| failed(exit::FAILED, error))?;
    }
    let settings = source.settings_to_start()?;
    let source = source
        .absolute(&settings)
        .map_err(|error| failed(exit::FAILED, error))?;
    run_agent(settings, &source, detached)
}

/// The agent with settings that have been read from `source`.
pub fn run_agent(settings: Settings, source: &Source, detached: bool) -> Result<(), Failed> {
    // An agent started in the background has the name of the link that it was started by.
    let _ = rustix::thread::set_name(c"mote");
    let log_file = settings.state_dir.join("agent.log");
    let source = source.clone();
    let reread = move || {
        source
            .settings_with_access()
            .map_err(|failed| failed.sentence)
    };
    let agent = Agent::start(settings, Arc::new(reread)).map_err(|error| match error {
        AgentError::Services(..) => failed(exit::SETTINGS, error),
        AgentError::Privileges(error) | AgentError::Plugins(RunsError::Agent(error)) => {
            privilege_failure(error)
        }
        AgentError::Plugins(RunsError::User(error)) => account_failure(error),
        error => failed(exit::FAILED, error),
    })?;
    if detached {
        daemon::ready(&log_file)
            .map_err(|error| failed(exit::FAILED, format!("{}: {error}", log_file.display())))?;
    } else {
        // Not before: a thread started earlier would keep the privileges that the agent gives up.
        log::to_standard_error().map_err(|error| failed(exit::FAILED, error))?;
    }
    agent.run();
    log::flush(LAST_LINES);
    Ok(())
}

/// Starts a detached agent and returns once it runs.
pub fn start(source: &Source, verbosity: &[&str]) -> Result<(), Failed> {
    say(&started(source, verbosity)?)
}

fn started(source: &Source, verbosity: &[&str]) -> Result<String, Failed> {
    let settings = source.settings_to_start()?;
    if let Holder::Running(_) | Holder::Hidden = holder(&settings)? {
        return already_running(&settings);
    }
    let source = source
        .absolute(&settings)
        .map_err(|error| failed(exit::FAILED, error))?;
    let mut arguments = source.arguments();
    arguments.extend(verbosity.iter().map(Into::into));
    arguments.extend(["run".into(), "--detached".into()]);
    if let Some(user) = &source.user {
        arguments.extend(["--user".into(), user.into()]);
    }
    match daemon::detach(&arguments).map_err(|error| failed(exit::FAILED, error))? {
        Ok(pid) => Ok(format!("mote runs, pid {pid}")),
        // Somebody else may have started it at the same instant.
        Err(_) if matches!(holder(&settings)?, Holder::Running(_)) => already_running(&settings),
        Err(code) => Err(Failed {
            code: u8::try_from(code).unwrap_or(exit::FAILED),
            // The agent itself has said why.
            sentence: String::new(),
        }),
    }
}

fn already_running(settings: &Settings) -> Result<String, Failed> {
    Ok(format!("mote runs already, {}", holder(settings)?))
}

/// Stops the agent and starts it again.
pub fn restart(source: &Source, timeout: Duration, verbosity: &[&str]) -> Result<(), Failed> {
    // Check what the new agent needs before the old one stops, or none would be left.
    let settings = source.settings_to_start()?;
    holder(&settings)?;
    let tenant = Tenant::new(settings.client_id.to_string(), &settings.file);
    state_folder::is_claimed(&settings.state_dir, &tenant)
        .map_err(|error| failed(exit::FAILED, error))?;
    let stopped = stopped(source, timeout)?;
    // Nobody may read what is said, so it comes once an agent runs again.
    let started = started(source, verbosity);
    say(&stopped)?;
    say(&started?)
}

/// Stops the agent, if one runs.
pub fn stop(source: &Source, timeout: Duration) -> Result<(), Failed> {
    say(&stopped(source, timeout)?)
}

fn stopped(source: &Source, timeout: Duration) -> Result<String, Failed> {
    let settings = source.settings_in_time()?;
    // Also fails if it is the agent of other settings.
    holder(&settings)?;
    match daemon::stop(&settings.state_dir, timeout) {
        Ok(Stopped::Before) => Ok("mote does not run".to_owned()),
        Ok(Stopped::Itself(pid)) => Ok(format!("mote stopped, pid {}", pid.as_raw_nonzero())),
        Ok(Stopped::Killed(pid)) => Ok(format!(
            "mote did not stop within {} s and was killed, pid {}",
            timeout.as_secs_f64(),
            pid.as_raw_nonzero()
        )),
        Err(error) => Err(failed(exit::FAILED, error)),
    }
}

/// Tells the running agent to read its settings and fetch its orders again.
pub fn reload(source: &Source) -> Result<(), Failed> {
    let settings = source.settings_in_time()?;
    if !matches!(holder(&settings)?, Holder::Running(_) | Holder::Hidden) {
        return Err(failed(exit::NO_AGENT, "mote does not run"));
    }
    let answer = control::ask(&settings.state_dir, ControlRequest::Reload, ANSWER_TIME)
        .map_err(|error| failed(exit::FAILED, error))?;
    match answer.trim_end() {
        "ok" => say("mote has read its settings anew"),
        sentence => Err(failed(exit::SETTINGS, sentence)),
    }
}

/// Runs plugins for an agent, which has started this process and is told of any failure.
pub fn run_plugins(plugin_user: &str) -> Result<(), Failed> {
    plugin::runner::run(plugin_user).map_err(|sentence| failed(exit::FAILED, sentence))
}
