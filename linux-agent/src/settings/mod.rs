//! The agent's settings: `conf/agent.toml`, with environment variables over it.
//!
//! Every key can be given as a variable as well: `server.url` is `MOTE_SERVER__URL`. Its text is read by the rules of
//! `As`, without quotes. A key that nobody knows, a value out of its bounds and a `MOTE_`
//! variable that names no key are errors that say where and what is allowed: a misspelt setting must not become a
//! default.

mod boards;
mod document;
mod error;
mod interpret;
mod places;
pub(crate) mod rules;
mod server;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::plugin::Plugins;
use crate::probes::Roots;
use crate::system::places::state_dir;
use crate::toml_reader::{self, Given, TomlError, Variable, read_text};
use document::{Document, QueueTable, SCHEMA};
use interpret::required;
use places::{Environment, first_of, sort_variables};
use rules::below;

pub use crate::client_name::ClientName;
pub use crate::system::files::MAX_SETTINGS;
pub use crate::toml_reader::Place;
#[cfg(test)]
pub(crate) use boards::BAUD_RATES;
pub use boards::{BoardSettings, MAX_BOARDS};
pub use error::SettingsError;
pub use places::{DEFAULT_FILES, SYSTEM_USER};
pub use server::{ClientCert, Encoding, FieldNames, Method, REPORT_FIELDS, Server};

/// What the operator set, with every bound checked and every path absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `client_id`
    pub client_id: ClientName,
    /// `state_dir`: lock, control socket, last services document, queue and dead letters.
    pub state_dir: PathBuf,
    /// `user`: whom the agent becomes, if root starts it; none: it stays who it is.
    pub user: Option<String>,
    /// `plugin_user`: whom plugins run as; none: as the agent.
    pub plugin_user: Option<String>,
    /// `plugin_dir`, `plugins`, `[[plugin]]` and `plugin_timeout_s`.
    pub plugins: Plugins,
    /// `first_sample_spread_s`: the first samples are spread over at most this.
    pub first_sample_spread: Duration,
    /// `procfs`, `sysfs` and `rootfs`.
    pub roots: Roots,
    /// `[server]` or `services`.
    pub orders_from: OrdersFrom,
    /// `[queue]`
    pub queue: QueueLimits,
    /// `[[board]]`: at most [`MAX_BOARDS`], each with a client id and a device of its own.
    pub boards: Vec<BoardSettings>,
}

/// Who says which services are monitored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrdersFrom {
    /// A server, which gets the reports too.
    Server(Server),
    /// The settings themselves.
    Local {
        /// `services` as the text of a server's answer, not yet checked.
        document: String,
        /// Where it was given.
        place: Place,
    },
}

/// `[queue]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// `max_bytes`: undelivered reports that take more than this lose the oldest of them.
    pub max_bytes: usize,
    /// `max_age_s`: an undelivered report older than this is dropped.
    pub max_age: Duration,
    /// `durability` and `sync_interval_s`: how long a report may be lost by a loss of power. `None`: the kernel
    /// decides when to write.
    pub sync_interval: Option<Duration>,
}

impl Settings {
    /// Reads the settings file at `explicit`, else at `$MOTE_CONFIG`, else the first of [`DEFAULT_FILES`] that exists;
    /// then the environment over it.
    pub fn load(explicit: Option<&Path>) -> Result<Self, SettingsError> {
        Self::load_with(explicit, &DEFAULT_FILES.map(Path::new), env::vars_os())
    }

    /// The file that [`load`](Self::load) reads, or that it would find if it were there: the last of the usual ones.
    pub fn file_to_load(explicit: Option<&Path>) -> PathBuf {
        places::file_to_load(explicit)
    }

    /// As [`load`](Self::load), with the places to look and the environment given.
    pub fn load_with(
        explicit: Option<&Path>,
        default_files: &[&Path],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let Environment {
            file: named,
            credentials,
            variables,
        } = sort_variables(environment)?;
        let (file, text) = match explicit.or(named.as_deref()) {
            Some(file) => (file, read_text(file)?),
            None => first_of(default_files)?,
        };
        let folder = std::path::absolute(file)
            .and_then(|file| fs::canonicalize(file.parent().unwrap_or(&file)))
            .map_err(|cause| TomlError::Read {
                file: file.to_owned(),
                cause,
            })?;
        read(file, &folder, &text, &variables, credentials.as_deref())
    }

    /// Reads `text` as that of `file`, with `variables` over it. Paths in it are relative to `folder`.
    pub fn parse(
        file: &Path,
        folder: &Path,
        text: &str,
        variables: &[(String, String)],
    ) -> Result<Self, SettingsError> {
        let variables: Vec<_> = variables
            .iter()
            .cloned()
            .map(|(name, text)| Variable { name, text })
            .collect();
        read(file, folder, text, &variables, None)
    }

    /// The server, unless the settings say themselves what to monitor.
    pub fn server(&self) -> Option<&Server> {
        match &self.orders_from {
            OrdersFrom::Server(server) => Some(server),
            OrdersFrom::Local { .. } => None,
        }
    }
}

fn read(
    file: &Path,
    folder: &Path,
    text: &str,
    variables: &[Variable],
    credentials: Option<&Path>,
) -> Result<Settings, SettingsError> {
    let (document, given): (Document, _) = toml_reader::parse(file, text, &SCHEMA, variables)?;
    settings(file, folder, document, &given, credentials)
}

fn settings(
    file: &Path,
    folder: &Path,
    document: Document,
    given: &Given,
    credentials: Option<&Path>,
) -> Result<Settings, SettingsError> {
    let path = |path: &Option<String>, default| {
        let path = path.as_deref().unwrap_or(default);
        below(folder, path)
    };
    let client_id = required(document.client_id, given, "client_id", "client_id = 1")?;
    let mut allowed = document.plugins.unwrap_or_default();
    let commands = interpret::commands(document.plugin, given, &allowed)?;
    allowed.extend(commands.iter().map(|it| it.name.clone()));
    Ok(Settings {
        file: file.to_owned(),
        boards: interpret::boards(folder, document.board, given, &client_id)?,
        client_id,
        state_dir: match &document.state_dir {
            Some(path) => below(folder, path),
            None => state_dir(folder),
        },
        user: document.user,
        plugin_user: document.plugin_user,
        plugins: Plugins {
            folder: match &document.plugin_dir {
                Some(path) => below(folder, path),
                None => places::plugin_dir(folder),
            },
            allowed,
            commands,
            time_limit: document.plugin_timeout_s.unwrap_or(Duration::from_secs(10)),
        },
        first_sample_spread: document
            .first_sample_spread_s
            .unwrap_or(Duration::from_secs(10)),
        roots: Roots {
            procfs: path(&document.procfs, "/proc"),
            sysfs: path(&document.sysfs, "/sys"),
            rootfs: path(&document.rootfs, "/"),
        },
        orders_from: match (document.server, document.services) {
            (Some(server), None) => {
                let agent_uid = geteuid().as_raw();
                let server = interpret::server(folder, server, given, agent_uid, credentials)?;
                OrdersFrom::Server(server)
            }
            (None, Some(document)) => OrdersFrom::Local {
                document,
                place: given.place("services"),
            },
            (None, None) => return Err(SettingsError::NoOrders(file.to_owned())),
            (Some(_), Some(_)) => {
                return Err(SettingsError::TwoOrders {
                    file: file.to_owned(),
                    services: given.place("services"),
                });
            }
        },
        queue: queue_limits(&document.queue),
    })
}

fn queue_limits(table: &QueueTable) -> QueueLimits {
    let interval = table.sync_interval_s.unwrap_or(Duration::from_secs(5));
    QueueLimits {
        max_bytes: table.max_bytes.unwrap_or(64 << 20),
        max_age: table.max_age_s.unwrap_or(Duration::from_secs(604_800)),
        sync_interval: table.durability.unwrap_or(false).then_some(interval),
    }
}

#[cfg(test)]
mod tests;
