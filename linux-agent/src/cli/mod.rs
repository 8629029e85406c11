//! What the commands do. Each ends in an exit code and, if it failed, one sentence.

#[cfg(feature = "serve")]
pub mod demo;
pub mod enroll;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mote_core::{ClientId, Envelope, Failure, Stamp};

use crate::agent::control::{self, Request};
use crate::agent::status::Status;
use crate::agent::{Agent, AgentError};
use crate::http::{Client, access};
use crate::orders::{self, Plugin};
use crate::plugin::{self, Account, AccountError, Running, RunsError, leftovers};
use crate::probes::{Context, MAX_REPORT, PROBES, Probe, Roots};
use crate::settings::{OrdersFrom, Settings};
use crate::system::clock;
use crate::system::daemon::{self, DaemonError, Holder, Stopped};
use crate::system::log;
use crate::system::privileges::{self, PrivilegeError};

/// Exit codes: sysexits.h, and for `status` those of the Linux Standard Base.
pub mod exit {
    /// All is well; for `status`: the agent runs.
    pub const OK: u8 = 0;
    /// It failed; for `status`: the agent died and left its lock file.
    pub const FAILED: u8 = 1;
    /// For `status`: the agent does not run.
    pub const NOT_RUNNING: u8 = 3;
    /// For `status`: nobody can say.
    pub const UNKNOWN: u8 = 4;
    /// There is no agent that could do it.
    pub const NO_AGENT: u8 = 7;
    /// Wrong usage.
    pub const USAGE: u8 = 64;
    /// The server cannot be reached or gives no valid answer.
    pub const UNAVAILABLE: u8 = 69;
    /// The settings are not valid.
    pub const SETTINGS: u8 = 78;
}

/// How long a running agent has to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The log's disk has this long for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long what a plugin left behind may take to go.
const LEFTOVERS_TIME: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub code: u8,
    /// One sentence for a person.
    pub sentence: String,
}

/// Where the settings are, and what the command line puts over them.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The settings file, if it is not one of the usual ones.
    pub file: Option<PathBuf>,
    /// In place of `/proc`.
    pub procfs: Option<PathBuf>,
    /// In place of `/sys`.
    pub sysfs: Option<PathBuf>,
    /// In place of `/`.
    pub rootfs: Option<PathBuf>,
    /// In place of the user in the settings.
    pub user: Option<String>,
}

impl Source {
    /// Reads the settings.
    pub fn settings(&self) -> Result<Settings, Failed> {
        let mut settings =
            Settings::load(self.file.as_deref()).map_err(|error| failed(exit::SETTINGS, error))?;
        settings.roots = self.roots(settings.roots);
        if self.user.is_some() {
            settings.user.clone_from(&self.user);
        }
        let become_user = settings.user.as_deref().map(privileges::user_to_become);
        if let (Some(Ok(Some(user))), OrdersFrom::Server(server)) =
            (become_user, &mut settings.orders_from)
        {
            server.set_agent_uid(user.uid.as_raw());
        }
        Ok(settings)
    }

    /// Reads the settings of an agent that is to be started here.
    pub fn settings_to_start(&self) -> Result<Settings, Failed> {
        let settings = self.settings_with_access()?;
        if let Some(user) = &settings.user {
            privileges::user_to_become(user).map_err(privilege_failure)?;
        }
        account(&settings)?;
        Ok(settings)
    }

    /// As [`Source::settings`], for what talks to the server: also reads the secrets and certificates that they name.
    pub fn settings_with_access(&self) -> Result<Settings, Failed> {
        let settings = self.settings()?;
        if let Some(server) = settings.server() {
            access::check(server).map_err(|error| failed(exit::SETTINGS, error))?;
        }
        Ok(settings)
    }

    /// The places of the kernel's files, given those in the settings.
    pub fn roots(&self, settings: Roots) -> Roots {
        let over = |ours: &Option<PathBuf>, theirs: PathBuf| ours.clone().unwrap_or(theirs);
        Roots {
            procfs: over(&self.procfs, settings.procfs),
            sysfs: over(&self.sysfs, settings.sysfs),
            rootfs: over(&self.rootfs, settings.rootfs),
        }
    }

    /// The same with paths that stay right in another folder.
    fn absolute(&self, settings: &Settings) -> io::Result<Source> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        Ok(Source {
            file: Some(std::path::absolute(&settings.file)?),
            procfs: absolute(&self.procfs)?,
            sysfs: absolute(&self.sysfs)?,
            rootfs: absolute(&self.rootfs)?,
            user: self.user.clone(),
        })
    }

    fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = Vec::new();
        for (flag, path) in [
            ("--config", &self.file),
            ("--procfs", &self.procfs),
            ("--sysfs", &self.sysfs),
            ("--rootfs", &self.rootfs),
        ] {
            if let Some(path) = path {
                arguments.push(flag.into());
                arguments.push(path.into());
            }
        }
        arguments
    }
}

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
    // One that was started in the background has the name of the link by which it was.
    let _ = rustix::thread::set_name(c"mote");
    let log_file = settings.state_dir.join("agent.log");
    let reread = || {
        source
            .settings_with_access()
            .map_err(|failed| failed.sentence)
    };
    let agent = Agent::start(settings, &reread).map_err(|error| match error {
        AgentError::Services(..) => failed(exit::SETTINGS, error),
        AgentError::Privileges(error) | AgentError::Plugins(RunsError::Agent(error)) => {
            privilege_failure(error)
        }
        AgentError::Plugins(RunsError::Account(error)) => account_failure(error),
        error => failed(exit::FAILED, error),
    })?;
    if detached {
        daemon::ready(&log_file)
            .map_err(|error| failed(exit::FAILED, format!("{}: {error}", log_file.display())))?;
    } else {
        // Here, since each thread that runs before has the privileges that the agent gives up.
        log::to_standard_error().map_err(|error| failed(exit::FAILED, error))?;
    }
    agent.run();
    log::flush(LAST_LINES);
    Ok(())
}

/// The collector, until SIGTERM or SIGINT.
#[cfg(feature = "serve")]
pub fn serve(source: &Source) -> Result<(), Failed> {
    use crate::collector::{Collector, ServeError};
    use tokio::signal::unix::{SignalKind, signal};
    let settings = server_settings(source)?;
    log::to_standard_error().map_err(|error| failed(exit::FAILED, error))?;
    let collector = Collector::bind(settings).map_err(|error| match error {
        ServeError::Secret(_) | ServeError::Tls(_) => failed(exit::SETTINGS, error),
        _ => failed(exit::FAILED, error),
    })?;
    let scheme = if collector.has_tls() { "https" } else { "http" };
    say(&format!(
        "mote serve: {scheme}://{}/",
        collector.local_addr()
    ))?;
    collector.run(async {
        // Without its signals it is ended by their default actions.
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        crate::system::notify::Manager::from_env().tell("READY=1");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    log::flush(LAST_LINES);
    Ok(())
}

/// Prints a one-time code that `host` can exchange for a token, or takes away what it has.
#[cfg(feature = "serve")]
pub fn invite(
    source: &Source,
    host: &str,
    valid_for: Duration,
    revoke: bool,
) -> Result<(), Failed> {
    use crate::collector::{self, InviteError};
    let settings = server_settings(source)?;
    let fail = |error| match error {
        InviteError::NoHost(_) => failed(exit::USAGE, error),
        _ => failed(exit::FAILED, error),
    };
    if revoke {
        let revoked = collector::revoke(&settings, host).map_err(fail)?;
        return say(&format!(
            "{host}: removed enrolled tokens: {}, open codes: {}",
            revoked.tokens, revoked.codes
        ));
    }
    say(&collector::invite(&settings, host, valid_for).map_err(fail)?)
}

#[cfg(feature = "serve")]
fn server_settings(source: &Source) -> Result<crate::collector::ServerSettings, Failed> {
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
    crate::collector::ServerSettings::read(&file).map_err(|error| failed(exit::SETTINGS, error))
}

#[cfg(feature = "serve")]
const SERVER_FILES: [&str; 2] = ["conf/server.toml", "/etc/mote/server.toml"];

/// Starts a detached agent and returns once it runs.
pub fn start(source: &Source, verbosity: &[&str]) -> Result<(), Failed> {
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
        Ok(pid) => say(&format!("mote runs, pid {pid}")),
        // Somebody else may have started it at the same instant.
        Err(_) if matches!(holder(&settings)?, Holder::Running(_)) => already_running(&settings),
        Err(code) => Err(Failed {
            code: u8::try_from(code).unwrap_or(exit::FAILED),
            // The agent itself has said why.
            sentence: String::new(),
        }),
    }
}

fn already_running(settings: &Settings) -> Result<(), Failed> {
    say(&format!("mote runs already, {}", holder(settings)?))
}

/// Stops the agent, if one runs.
pub fn stop(source: &Source, timeout: Duration) -> Result<(), Failed> {
    let settings = source.settings()?;
    match daemon::stop(&settings.state_dir, timeout) {
        Ok(Stopped::Before) => say("mote does not run"),
        Ok(Stopped::Itself(pid)) => say(&format!("mote stopped, pid {}", pid.as_raw_nonzero())),
        Ok(Stopped::Killed(pid)) => say(&format!(
            "mote did not stop within {} s and was killed, pid {}",
            timeout.as_secs_f64(),
            pid.as_raw_nonzero()
        )),
        Err(error) => Err(failed(exit::FAILED, error)),
    }
}

/// Has the running agent read its settings and fetch its orders anew.
pub fn reload(source: &Source) -> Result<(), Failed> {
    let settings = source.settings()?;
    if !matches!(holder(&settings)?, Holder::Running(_) | Holder::Hidden) {
        return Err(failed(exit::NO_AGENT, "mote does not run"));
    }
    let answer = control::ask(&settings.state_dir, Request::Reload, ANSWER_TIME)
        .map_err(|error| failed(exit::FAILED, error))?;
    match answer.trim_end() {
        "ok" => say("mote has read its settings anew"),
        sentence => Err(failed(exit::SETTINGS, sentence)),
    }
}

/// Says how the agent is; gives an exit code of the Linux Standard Base.
pub fn status(source: &Source, json: bool) -> Result<u8, Failed> {
    let unknown = |sentence: String| failed(exit::UNKNOWN, sentence);
    let settings = source
        .settings()
        .map_err(|failed| unknown(failed.sentence))?;
    let (code, sentence) = match holder(&settings).map_err(|failed| unknown(failed.sentence))? {
        Holder::Running(_) | Holder::Hidden => {
            let answer = control::ask(&settings.state_dir, Request::Status, ANSWER_TIME)
                .map_err(|error| unknown(format!("the agent runs but does not answer: {error}")))?;
            if json {
                say(answer.trim_end())?;
            } else {
                let status: Status = serde_json::from_str(&answer).map_err(|error| {
                    unknown(format!("the agent's answer is not valid: {error}"))
                })?;
                say(status.text().trim_end())?;
            }
            return Ok(exit::OK);
        }
        Holder::Dead => (exit::FAILED, "mote does not run: it died without stopping"),
        Holder::None => (exit::NOT_RUNNING, "mote does not run"),
    };
    match json {
        true => say("{\"running\":false}")?,
        false => say(sentence)?,
    }
    Ok(code)
}

/// Says how the agent is, again and again.
pub fn watch_status(source: &Source, json: bool) -> Result<u8, Failed> {
    loop {
        if !json {
            // Clears the screen (ECMA-48: cursor home, erase to the end).
            say_raw("\x1b[H\x1b[2J")?;
        }
        status(source, json)?;
        thread::sleep(Duration::from_secs(2));
    }
}

/// Says which services would be monitored, and changes nothing.
pub fn check(source: &Source) -> Result<(), Failed> {
    let settings = source.settings_with_access()?;
    // Whoever asks need not be the one who starts it.
    if let Some(Err(error @ PrivilegeError::UnknownUser(_))) =
        settings.user.as_deref().map(privileges::user_to_become)
    {
        return Err(privilege_failure(error));
    }
    if let Some(name) = &settings.plugin_user
        && let Err(error) = Account::find(name, settings.user.as_deref())
        && error.is_of_settings()
    {
        return Err(account_failure(error));
    }
    let (document, from) = match &settings.orders_from {
        OrdersFrom::Local { document, place } => (document.clone().into_bytes(), place.to_string()),
        OrdersFrom::Server(server) => {
            let client = Client::new(server, &settings.client_id.to_string());
            let document = client
                .fetch_config()
                .map_err(|error| failed(exit::UNAVAILABLE, error))?;
            (document, server.url.clone())
        }
    };
    let orders = orders::parse(&document, &settings.plugins.allowed).map_err(|error| {
        let code = match settings.orders_from {
            OrdersFrom::Local { .. } => exit::SETTINGS,
            OrdersFrom::Server(_) => exit::UNAVAILABLE,
        };
        failed(code, format!("{from}: {error}"))
    })?;
    say(&format!(
        "{}: the settings are valid",
        settings.file.display()
    ))?;
    let count = orders.services().len();
    say(&format!(
        "{from}: client {} monitors {count} services",
        settings.client_id
    ))?;
    for service in orders.services() {
        let remark = match &service.plugin {
            Plugin::Probe(..) => String::new(),
            Plugin::Executable(name) => match settings.plugins.find(name) {
                Ok(path) => format!("  runs {}", path.display()),
                Err(error) => format!("  cannot run: {error}"),
            },
            Plugin::Unknown(_) => {
                "  cannot run: no probe, and not listed in the setting `plugins`".to_owned()
            }
        };
        let (name, plugin) = (service.name.as_str(), service.plugin.name());
        say(&format!(
            "  {name}  {plugin}  every {}{remark}",
            service.interval
        ))?;
    }
    Ok(())
}

/// Lists the probes, each with its other names.
pub fn list_probes() -> Result<(), Failed> {
    PROBES
        .iter()
        .try_for_each(|probe| say(&probe.names().join(" ")))
}

/// Samples once and prints each report as one line of JSON. Without names: all probes.
pub fn probe(source: &Source, names: &[String], wait: Duration) -> Result<(), Failed> {
    // Probes need no settings; executables do.
    let settings = match &source.file {
        Some(_) => Some(source.settings()?),
        None => source.settings().ok(),
    };
    let roots = settings
        .as_ref()
        .map(|settings| settings.roots.clone())
        .unwrap_or_default();
    let roots = source.roots(roots);
    let all = PROBES.iter().map(Probe::name);
    let names: Vec<&str> = match names {
        [] => all.collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let allowed = |name: &str| {
        settings
            .as_ref()
            .is_some_and(|it| it.plugins.allowed.iter().any(|allowed| allowed == name))
    };
    if let Some(unknown) = names
        .iter()
        .find(|it| Probe::by_name(it).is_none() && !allowed(it))
    {
        return Err(failed(
            exit::USAGE,
            format!(
                "{unknown:?} is neither a probe (see mote probe --list) nor listed in the setting `plugins`"
            ),
        ));
    }
    let mut context = Context::new();
    let samplers: Vec<_> = names
        .iter()
        .map(|name| (*name, Probe::by_name(name)))
        .map(|(name, probe)| (name, probe.map(|probe| probe.open(&roots, &mut context))))
        .collect();
    if samplers.iter().any(|(_, sampler)| sampler.is_some()) {
        thread::sleep(wait);
    }
    let mut buffer = vec![0; MAX_REPORT];
    let mut failures = 0;
    for (seq, (name, sampler)) in (0..).zip(samplers) {
        let client_id = settings
            .as_ref()
            .map_or(ClientId::Number(0), |it| it.client_id.id());
        let envelope = Envelope {
            client_id,
            service_name: name,
            stamp: Stamp::Clock {
                unix_ms: clock::unix_ms(),
                boot: "probe",
            },
            seq,
        };
        context.now = std::time::Instant::now();
        let sampled = match (sampler, &settings) {
            (Some(Ok(mut sampler)), _) => sampler
                .report(&mut context, &envelope, &mut buffer)
                .map_err(|error| error.to_string()),
            (Some(Err(error)), _) => Err(error.to_string()),
            (None, Some(settings)) => {
                let (ok, length) = run_plugin(settings, name, &envelope, &mut buffer);
                failures += u32::from(!ok);
                Ok(length)
            }
            (None, None) => Err("not run without settings".to_owned()),
        };
        let length = sampled.unwrap_or_else(|error| {
            failures += 1;
            envelope
                .encode(&Failure::new(&error), &mut buffer)
                .unwrap_or(0)
        });
        let report = buffer.get(..length).unwrap_or_default();
        say(&String::from_utf8_lossy(report))?;
    }
    match failures {
        0 => Ok(()),
        _ => Err(Failed {
            code: exit::FAILED,
            sentence: String::new(),
        }),
    }
}

/// Runs one executable to its end. Gives whether it is well, and the length of the report.
fn run_plugin(
    settings: &Settings,
    name: &str,
    envelope: &Envelope<'_>,
    buffer: &mut [u8],
) -> (bool, usize) {
    let fail = |error: &str, buffer: &mut [u8]| {
        (
            false,
            envelope.encode(&Failure::new(error), buffer).unwrap_or(0),
        )
    };
    // What it leaves behind would otherwise outlive this.
    let account = match account(settings) {
        Ok(account) => account,
        Err(failed) => return fail(&failed.sentence, buffer),
    };
    if let Err(error) = leftovers::adopt(account.as_ref().map(|it| it.uid)) {
        return fail(&error.to_string(), buffer);
    }
    let now = std::time::Instant::now();
    let mut run = match Running::start(&settings.plugins, account.as_ref(), name, 0, now) {
        Ok(run) => run,
        Err(error) => return fail(&error.to_string(), buffer),
    };
    loop {
        run.on_readable();
        run.on_deadline(std::time::Instant::now());
        if let Some(outcome) = run.try_finish() {
            let data = outcome.data();
            leftovers::end(LEFTOVERS_TIME);
            return match envelope.encode(&data, buffer) {
                Ok(length) => (data.status().0 == 0, length),
                Err(error) => fail(&error.to_string(), buffer),
            };
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs plugins for an agent; only that can start it. It has been told of any failure.
pub fn run_plugins(plugin_user: &str) -> Result<(), Failed> {
    plugin::runner::run(plugin_user).map_err(|sentence| failed(exit::FAILED, sentence))
}

/// Prints a line. Nobody reading any more is no failure of the command.
pub(crate) fn say(line: &str) -> Result<(), Failed> {
    say_raw(&format!("{line}\n"))
}

fn say_raw(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) => Err(failed(exit::FAILED, format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn holder(settings: &Settings) -> Result<Holder, Failed> {
    let no_folder = |error: &DaemonError| matches!(error, DaemonError::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound);
    match daemon::holder(Path::new(&settings.state_dir)) {
        Err(error) if !no_folder(&error) => Err(failed(exit::FAILED, error)),
        Err(_) => Ok(Holder::None),
        Ok(holder) => Ok(holder),
    }
}

fn privilege_failure(error: PrivilegeError) -> Failed {
    match error {
        PrivilegeError::UnknownUser(_) => failed(exit::SETTINGS, error),
        _ => failed(exit::FAILED, error),
    }
}

/// The user of the plugins, if it is another than the agent's.
fn account(settings: &Settings) -> Result<Option<Account>, Failed> {
    let find = |name: &String| Account::find(name, settings.user.as_deref());
    let account = settings.plugin_user.as_ref().map(find).transpose();
    account.map_err(account_failure)
}

fn account_failure(error: AccountError) -> Failed {
    match error.is_of_settings() {
        true => failed(exit::SETTINGS, error),
        false => failed(exit::FAILED, error),
    }
}

/// A failure with its code and sentence.
pub fn failed(code: u8, sentence: impl std::fmt::Display) -> Failed {
    Failed {
        code,
        sentence: sentence.to_string(),
    }
}
