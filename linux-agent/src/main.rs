//! The command line of mote: arguments in, exit codes out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use log::LevelFilter;
#[cfg(feature = "crash")]
use mote_agent::cli::crash;
use mote_agent::cli::outcome::{Failed, exit};
use mote_agent::cli::source::Source;
#[cfg(feature = "serve")]
use mote_agent::cli::{alarms, backup, collector, demo, export, hosts, instant, passwd};
use mote_agent::cli::{check, enroll, probe, process, status};
#[cfg(feature = "serve")]
use mote_agent::collector::Role;
use mote_agent::system;
use nix::sys::signal::Signal;

/// Samples this host's services on a server's orders and reports them.
#[derive(Parser)]
#[command(name = "mote", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Settings file [default: $MOTE_CONFIG, conf/agent.toml, /etc/mote/agent.toml; serve and invite:
    /// conf/server.toml, /etc/mote/server.toml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say less
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
    /// Read this instead of /proc
    #[arg(long, global = true, value_name = "DIR")]
    procfs: Option<PathBuf>,
    /// Read this instead of /sys
    #[arg(long, global = true, value_name = "DIR")]
    sysfs: Option<PathBuf>,
    /// Read this instead of /
    #[arg(long, global = true, value_name = "DIR")]
    rootfs: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the agent in the background
    Start(As),
    /// Stop the agent
    Stop(Timeout),
    /// Stop the agent and start it again
    Restart {
        #[command(flatten)]
        timeout: Timeout,
        #[command(flatten)]
        user: As,
    },
    /// Have the agent read its settings and fetch its orders anew
    Reload,
    /// Say how the agent is
    Status {
        /// As a JSON document
        #[arg(long)]
        json: bool,
        /// Again and again, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Run the agent in the foreground
    Run {
        #[arg(long, hide = true)]
        detached: bool,
        #[command(flatten)]
        user: As,
    },
    /// Sample once now and print each report as a line of JSON
    Probe {
        /// Probes, or executables that the settings list
        plugins: Vec<String>,
        /// All probes
        #[arg(long, conflicts_with = "plugins")]
        all: bool,
        /// Only list the probes, each with its other names
        #[arg(long, conflicts_with_all = ["plugins", "all"])]
        list: bool,
        /// Seconds over which rates are taken
        #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
        wait: Duration,
    },
    /// Read the settings, ask the server, and say what would be monitored
    Check {
        /// Also sample each service once and send the report, and show what the server answers
        #[arg(long)]
        send: bool,
    },
    /// Exchange a one-time code of the server for this client's token
    Enroll {
        /// Address of the server, like `https://monitor.example`
        url: String,
        /// The code, or - to read it from standard input, where other users do not see it
        #[arg(long, value_name = "C")]
        code: String,
        /// Certificates in PEM of the authorities to trust [default: those that the system trusts]
        #[arg(long, value_name = "F")]
        ca_file: Option<PathBuf>,
        /// Who this is, for a code that is for a group [default: `client_id` in the settings, else the name of the machine]
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Replace a token that is there already
        #[arg(long)]
        force: bool,
    },
    /// Say where a board crashed, by its reports of get_mcu_crash on standard input
    #[cfg(feature = "crash")]
    Crash {
        /// The image that crashed, with its symbols
        #[arg(long, value_name = "FILE")]
        elf: PathBuf,
        /// Addresses, in place of reports
        #[arg(value_parser = mote_agent::cli::crash::address)]
        addresses: Vec<u64>,
    },
    /// What an agent that gives up root starts, to run plugins as another user
    #[command(hide = true)]
    PluginRunner {
        /// Whom plugins run as
        user: String,
    },
    /// Collect what agents report
    #[cfg(feature = "serve")]
    Serve,
    /// Print a one-time code with which a host of the collector's settings enrolls
    #[cfg(feature = "serve")]
    Invite {
        /// The name of its table in the settings, or its id
        #[arg(conflicts_with_all = ["group", "times"])]
        host: Option<String>,
        /// A code for hosts that no file names: they enroll into this group [default: `enroll_into` in the settings]
        #[arg(long, value_name = "G", conflicts_with = "revoke")]
        group: Option<String>,
        /// How many hosts enroll with it [default: 1]
        #[arg(long, value_name = "N", conflicts_with = "revoke", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        times: Option<u32>,
        /// Seconds until the code expires, 1 to 2592000
        #[arg(long, value_name = "S", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
        valid_for_s: u32,
        /// Take away the tokens that it has enrolled, and its codes
        #[arg(long, conflicts_with = "valid_for_s")]
        revoke: bool,
    },
    /// Show which hosts report to this machine's collector, or one host with its services
    #[cfg(feature = "serve")]
    Hosts {
        /// The name of its table in the settings, or its id
        host: Option<String>,
        /// Only those that do not report as they should
        #[arg(long)]
        problems: bool,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print the history of a service from this machine's collector
    #[cfg(feature = "serve")]
    Export {
        /// The name of the host's table in the settings, or its id
        host: String,
        /// The service
        service: String,
        /// This item only, such as a disk or an interface
        #[arg(long)]
        item: Option<String>,
        /// This field only
        #[arg(long)]
        field: Option<String>,
        /// The first instant: 8h (ago), 22:00, 2026-11-25, "2026-11-25 22:00", @SECONDS [default: an hour before the end]
        #[arg(long, value_name = "T", value_parser = instant::parse)]
        from: Option<f64>,
        /// The end [default: now]
        #[arg(long, value_name = "T", value_parser = instant::parse)]
        to: Option<f64>,
        /// At most this many rows, 1 to 4000
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=4000))]
        rows: u32,
        /// A row for each time and column, for spreadsheets
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Copy the collector's database to a new file, while the collector runs
    #[cfg(feature = "serve")]
    Backup {
        /// The copy
        file: PathBuf,
    },
    /// Print a user for the collector's settings, with the hash of a password from the terminal or a line of standard input
    #[cfg(feature = "serve")]
    Passwd {
        /// The user's name
        name: String,
        /// What the user may do
        #[arg(long, default_value = "admin", value_parser = ["admin", "viewer"])]
        role: String,
    },
    /// Say what is wrong with the hosts of a running collector, and who heard of it
    #[cfg(feature = "serve")]
    Alarms {
        /// Also what is over
        #[arg(long)]
        history: bool,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Have a running collector say nothing of a host for a time
    #[cfg(feature = "serve")]
    Silence {
        /// The name of its table in the settings, or its id
        #[arg(required_unless_present = "end")]
        host: Option<String>,
        /// Why
        #[arg(required_unless_present = "end")]
        why: Option<String>,
        /// For how long, such as 30m, 2h or 7d
        #[arg(long = "for", value_name = "TIME", value_parser = silence_length, required_unless_present = "end")]
        length: Option<Duration>,
        /// Only this alarm of it
        #[arg(long, value_name = "NAME")]
        alarm: Option<String>,
        /// End the silence of this number
        #[arg(long, value_name = "ID", conflicts_with_all = ["host", "why", "length", "alarm"])]
        end: Option<u64>,
    },
    /// Say what happened to the hosts of a running collector
    #[cfg(feature = "serve")]
    Events {
        /// The name of a host's table in the settings, or its id; events of the collector itself come with its own
        host: Option<String>,
        /// The first instant: 8h (ago), 22:00, 2026-11-25, "2026-11-25 22:00", @SECONDS [default: a day ago]
        #[arg(long, value_name = "T", value_parser = instant::parse)]
        from: Option<f64>,
        /// The end [default: now]
        #[arg(long, value_name = "T", value_parser = instant::parse)]
        to: Option<f64>,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Collect and report on this machine, with nothing to configure
    #[cfg(feature = "serve")]
    Demo {
        /// Where its settings and reports are kept [default: a new folder]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Timeout {
    /// Seconds until the agent is killed
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

#[derive(Args)]
struct As {
    /// Whom the agent becomes, if root starts it [default: `user` in the settings]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

fn main() -> ExitCode {
    // A file that reaches a limit of this process is an error of that file, not the end. Plugins get it back.
    let _ = system::signals::block_signals(&[Signal::SIGXFSZ]);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            explain(&error);
            return match error.use_stderr() {
                true => exit::USAGE.into(),
                false => exit::OK.into(),
            };
        }
    };
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(Failed { code, sentence }) => {
            if !sentence.is_empty() {
                system::log::say(format_args!("{sentence}"));
            }
            code.into()
        }
    }
}

/// Says what is wrong with the command line, with the nearest of the words that there are.
fn explain(error: &clap::Error) {
    let unknown = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .iter()
        .find_map(|kind| error.get(*kind));
    let nearest = match (error.kind(), unknown) {
        (
            ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument,
            Some(ContextValue::String(word)),
        ) => nearest(&Cli::command(), word),
        _ => None,
    };
    let Some(nearest) = nearest else {
        let _ = error.print();
        return;
    };
    let text = error.render().to_string();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = write!(
        std::io::stderr(),
        "{first}; did you mean `{nearest}`?\n{rest}"
    );
}

/// The command or option that is the most like `word`, if one is near.
fn nearest(cli: &clap::Command, word: &str) -> Option<String> {
    let commands = || cli.get_subcommands().filter(|it| !it.is_hide_set());
    let names = commands().map(|it| it.get_name().to_owned());
    let options = commands()
        .chain([cli])
        .flat_map(clap::Command::get_arguments)
        .filter_map(|it| it.get_long())
        .map(|it| format!("--{it}"));
    let likeness = |name: &String| strsim::normalized_damerau_levenshtein(name, word);
    names
        .chain(options)
        .filter(|name| name.starts_with("--") == word.starts_with("--"))
        .map(|name| (likeness(&name), name))
        .filter(|(alike, _)| *alike >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
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
        Command::Start(As { user })
        | Command::Restart {
            user: As { user }, ..
        }
        | Command::Run {
            user: As { user }, ..
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
            client_id,
            force,
        } => {
            let asked = enroll::Asked {
                url: &url,
                code: &code,
                ca_file: ca_file.as_deref(),
                client_id: client_id.as_deref(),
            };
            enroll::enroll(&source, &asked, force)
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
            let wanted = export::Wanted {
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

#[cfg(feature = "serve")]
fn silence_length(text: &str) -> Result<Duration, String> {
    alarms::length(text, Duration::from_secs(365 * 86_400))
}

/// 0 to 3600 seconds, decimals allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match (0.0..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("must be 0 to 3600 seconds".to_owned()),
    }
}
