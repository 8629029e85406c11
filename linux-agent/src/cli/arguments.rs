//! The commands and their options, as a person types them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

#[cfg(feature = "crash")]
use super::crash;
#[cfg(feature = "serve")]
use super::{alarms, instant};

/// Samples this host's services on a server's orders and reports them.
#[derive(Parser)]
#[command(name = "mote", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What all commands have.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands have.
#[derive(Args)]
pub struct Global {
    /// Settings file [default: $MOTE_CONFIG, conf/agent.toml, /etc/mote/agent.toml; serve and invite:
    /// conf/server.toml, /etc/mote/server.toml]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say less
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// Read this instead of /proc
    #[arg(long, global = true, value_name = "DIR")]
    pub procfs: Option<PathBuf>,
    /// Read this instead of /sys
    #[arg(long, global = true, value_name = "DIR")]
    pub sysfs: Option<PathBuf>,
    /// Read this instead of /
    #[arg(long, global = true, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
}

/// What is to be done.
#[derive(Subcommand)]
pub enum Command {
    /// Start the agent in the background
    Start(RunAs),
    /// Stop the agent
    Stop(Timeout),
    /// Stop the agent and start it again
    Restart {
        /// How long the old one may take.
        #[command(flatten)]
        timeout: Timeout,
        /// Whom the new one becomes.
        #[command(flatten)]
        user: RunAs,
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
        /// In the background, for `start`
        #[arg(long, hide = true)]
        detached: bool,
        /// Whom it becomes.
        #[command(flatten)]
        user: RunAs,
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
        /// The certificate to trust itself, in base64, as the page shows it; it is kept beside the settings
        #[arg(long, value_name = "B", conflicts_with = "ca_file")]
        certificate: Option<String>,
        /// Who this is, for a code that is for a group [default: `client_id` in the settings, else the name of the machine]
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Replace a token that is there already
        #[arg(long)]
        force: bool,
        /// Do nothing if a token is there already
        #[arg(long, conflicts_with = "force")]
        once: bool,
        /// Then start the agent: by systemd or OpenRC, if one of them knows it, else as `start` does
        #[arg(long)]
        start: bool,
    },
    /// Say where a board crashed, by its reports of get_mcu_crash on standard input
    #[cfg(feature = "crash")]
    Crash {
        /// The image that crashed, with its symbols
        #[arg(long, value_name = "FILE")]
        elf: PathBuf,
        /// Addresses, in place of reports
        #[arg(value_parser = crash::address)]
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

/// How long an agent may take to end.
#[derive(Args)]
pub struct Timeout {
    /// Seconds until the agent is killed
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
}

/// Whom an agent becomes.
#[derive(Args)]
pub struct RunAs {
    /// Whom the agent becomes, if root starts it [default: `user` in the settings]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
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
