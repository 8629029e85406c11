//! The agent's settings: `conf/agent.toml`, with environment variables over it.
//!
//! Every key can be given as a variable as well: `server.url` is `MOTE_SERVER__URL`. Its text is read
//! as a TOML value where it is one, else as a string. A key that nobody knows, a value out of its
//! bounds and a `MOTE_` variable that names no key are errors that say where and what is allowed:
//! a misspelt setting must not become a default.

mod boards;
mod error;
pub(crate) mod rules;
mod server;
mod source;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use toml::de::DeValue;

use crate::http::access;
use crate::plugin::{MAX_TIME_LIMIT, Plugins};
use crate::probes::Roots;
use crate::protocol::{MAX_CLIENT_NAME, is_text};
use crate::system::files;
use rules::{below, integer, one_of, path, seconds};
use source::Values;

pub use crate::system::files::MAX_SETTINGS;
pub use boards::{Board, MAX_BOARDS};
pub use error::SettingsError;
pub use server::{ClientCert, Encoding, Method, Server};
pub use source::Place;

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
    /// `plugin_dir`, `plugins` and `plugin_timeout_s`.
    pub plugins: Plugins,
    /// `first_sample_spread_s`: the first samples are spread over at most this.
    pub first_sample_spread: Duration,
    /// `procfs`, `sysfs` and `rootfs`.
    pub roots: Roots,
    /// `[server]` or `services`.
    pub orders: Orders,
    /// `[queue]`
    pub queue: QueueLimits,
    /// `[[board]]`: at most [`MAX_BOARDS`], each with a client id and a device of its own.
    pub boards: Vec<Board>,
}

/// The number or the name that the server knows this client by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// A server's primary key.
    Number(u32),
    /// 1 to [`MAX_CLIENT_NAME`] bytes without control characters.
    Name(String),
}

impl ClientName {
    /// Whether a name has its bounds.
    pub fn is_valid(&self) -> bool {
        match self {
            ClientName::Number(_) => true,
            ClientName::Name(name) => !name.is_empty() && is_text(name, MAX_CLIENT_NAME),
        }
    }

    /// As reports carry it.
    pub fn id(&self) -> mote_core::ClientId<'_> {
        match self {
            ClientName::Number(number) => mote_core::ClientId::Number(*number),
            ClientName::Name(name) => mote_core::ClientId::Name(name),
        }
    }
}

/// Who says which services are monitored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orders {
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
    /// `durability` and `sync_interval_s`: how long a report may be lost by a loss of power. None: for as long as the
    /// kernel takes to write it.
    pub sync_interval: Option<Duration>,
}

impl Settings {
    /// Reads the settings file at `explicit`, else at `$MOTE_CONFIG`, else the first of
    /// `conf/agent.toml` and `/etc/mote/agent.toml` that exists; then the environment over it.
    pub fn load(explicit: Option<&Path>) -> Result<Self, SettingsError> {
        Self::load_with(explicit, &DEFAULT_FILES.map(Path::new), env::vars_os())
    }

    /// The file that [`load`](Self::load) reads, or that it would find if it were there: the last of the usual ones.
    pub fn file_to_load(explicit: Option<&Path>) -> PathBuf {
        let named = env::var_os(CONFIG_VARIABLE).filter(|it| !it.is_empty());
        let usual = || DEFAULT_FILES.map(Path::new);
        explicit
            .map(Path::to_owned)
            .or(named.map(PathBuf::from))
            .or_else(|| {
                usual()
                    .into_iter()
                    .find(|it| it.exists())
                    .map(Path::to_owned)
            })
            .unwrap_or_else(|| usual().last().copied().unwrap_or(Path::new("")).to_owned())
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
            Some(file) => (file, read(file)?),
            None => first_of(default_files)?,
        };
        let folder = std::path::absolute(file)
            .and_then(|file| fs::canonicalize(file.parent().unwrap_or(&file)))
            .map_err(|cause| SettingsError::Read {
                file: file.to_owned(),
                cause,
            })?;
        Self::parse_with(file, &folder, &text, &variables, credentials.as_deref())
    }

    /// Reads `text` as that of `file`, with `variables` over it. Paths in it are relative to `folder`.
    pub fn parse(
        file: &Path,
        folder: &Path,
        text: &str,
        variables: &[(String, String)],
    ) -> Result<Self, SettingsError> {
        Self::parse_with(file, folder, text, variables, None)
    }

    fn parse_with(
        file: &Path,
        folder: &Path,
        text: &str,
        variables: &[(String, String)],
        credentials: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let values = Values::read(file, text, variables)?;
        interpret(file, folder, &values, credentials)
    }
}

impl Settings {
    /// Reads the secrets and certificates that the settings name. What only looks at an agent does without.
    pub fn check_access(&self) -> Result<(), SettingsError> {
        match self.server() {
            Some(server) => access::check(server).map_err(SettingsError::Access),
            None => Ok(()),
        }
    }

    /// The server, unless the settings say themselves what to monitor.
    pub fn server(&self) -> Option<&Server> {
        match &self.orders {
            Orders::Server(server) => Some(server),
            Orders::Local { .. } => None,
        }
    }
}

impl std::fmt::Display for ClientName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientName::Number(number) => number.fmt(f),
            ClientName::Name(name) => name.fmt(f),
        }
    }
}

/// Where settings are looked for if nobody says where they are.
pub const DEFAULT_FILES: [&str; 2] = ["conf/agent.toml", "/etc/mote/agent.toml"];

/// Every key there is.
pub const KEYS: &[&str] = &[
    "client_id",
    "state_dir",
    "user",
    "plugin_user",
    "plugin_dir",
    "plugins",
    "plugin_timeout_s",
    "first_sample_spread_s",
    "procfs",
    "sysfs",
    "rootfs",
    "server.url",
    "server.token_file",
    "server.ca_file",
    "server.client_cert_file",
    "server.client_key_file",
    "server.get_configs.path",
    "server.get_configs.method",
    "server.service_report.path",
    "server.service_report.method",
    "server.service_report.encoding",
    "server.request_timeout_s",
    "server.config_update_interval_s",
    "queue.max_bytes",
    "queue.max_age_s",
    "queue.durability",
    "queue.sync_interval_s",
    "services",
    "board",
];

/// Every key of a `[[board]]`.
const BOARD_KEYS: &[&str] = &["board.device", "board.client_id", "board.baud"];

const VARIABLE_PREFIX: &str = "MOTE_";
const CONFIG_VARIABLE: &str = "MOTE_CONFIG";
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Variables that are no settings: where the settings are, and whether tests may skip.
const OTHER_VARIABLES: &[&str] = &[CONFIG_VARIABLE, "MOTE_ALLOW_SKIP"];

fn interpret(
    file: &Path,
    folder: &Path,
    values: &Values<'_>,
    credentials: Option<&Path>,
) -> Result<Settings, SettingsError> {
    let path_or = |key, default: &str| {
        values.get_or(key, below(folder, default), |value| {
            Ok(below(folder, &path(value)?))
        })
    };
    let client_id = required(values, file, "client_id", "client_id = 1", rules::client_id)?;
    Ok(Settings {
        file: file.to_owned(),
        boards: boards::read(folder, values, &client_id)?,
        client_id,
        state_dir: path_or("state_dir", "../var")?,
        user: values.get_or("user", None, |value| {
            rules::user(value, "for the one who starts the agent")
        })?,
        plugin_user: values.get_or("plugin_user", None, |value| {
            rules::user(value, "for the agent's")
        })?,
        plugins: Plugins {
            folder: path_or("plugin_dir", "../plugins")?,
            allowed: values.get_or("plugins", Vec::new(), rules::plugin_names)?,
            time_limit: values.get_or("plugin_timeout_s", Duration::from_secs(10), |value| {
                seconds(value, 0.1, MAX_TIME_LIMIT.as_secs_f64())
            })?,
        },
        first_sample_spread: values.get_or(
            "first_sample_spread_s",
            Duration::from_secs(10),
            |value| seconds(value, 0.0, 604_800.0),
        )?,
        roots: Roots {
            procfs: path_or("procfs", "/proc")?,
            sysfs: path_or("sysfs", "/sys")?,
            rootfs: path_or("rootfs", "/")?,
        },
        orders: orders(file, values, || {
            let agent_uid = geteuid().as_raw();
            server::read(file, folder, values, agent_uid, credentials)
        })?,
        queue: QueueLimits {
            max_bytes: values.get_or("queue.max_bytes", 64 << 20, |value| {
                let bytes = integer(value, 64 << 10, 1 << 30, "bytes")?;
                usize::try_from(bytes).map_err(|_| "is more than this machine can address".into())
            })?,
            max_age: values.get_or("queue.max_age_s", Duration::from_secs(604_800), |value| {
                integer(value, 1, 31_536_000, "seconds").map(Duration::from_secs)
            })?,
            sync_interval: sync_interval(values)?,
        },
    })
}

fn sync_interval(values: &Values<'_>) -> Result<Option<Duration>, SettingsError> {
    let survives_power_loss = values.get_or("queue.durability", false, |value| {
        one_of(value, &[("process", false), ("power", true)])
    })?;
    let interval = values.get_or("queue.sync_interval_s", Duration::from_secs(5), |value| {
        seconds(value, 0.1, 3600.0)
    })?;
    Ok(survives_power_loss.then_some(interval))
}

fn orders(
    file: &Path,
    values: &Values<'_>,
    server: impl FnOnce() -> Result<Server, SettingsError>,
) -> Result<Orders, SettingsError> {
    match (values.has_table("server"), values.get("services")) {
        (true, None) => Ok(Orders::Server(server()?)),
        (false, Some(services)) => {
            let document = values.get_or("services", String::new(), rules::services_document)?;
            Ok(Orders::Local {
                document,
                place: services.place.clone(),
            })
        }
        (false, None) => Err(SettingsError::NoOrders(file.to_owned())),
        (true, Some(services)) => Err(SettingsError::TwoOrders {
            file: file.to_owned(),
            services: services.place.clone(),
        }),
    }
}

fn required<'t, T>(
    values: &Values<'t>,
    file: &Path,
    key: &'static str,
    example: &'static str,
    read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
) -> Result<T, SettingsError> {
    values
        .get_or(key, None, |value| read(value).map(Some))?
        .ok_or_else(|| SettingsError::Missing {
            file: file.to_owned(),
            key,
            example,
        })
}

/// What the environment says to the agent.
struct Environment {
    /// `MOTE_CONFIG`
    file: Option<PathBuf>,
    /// systemd's folder of credentials.
    credentials: Option<PathBuf>,
    /// The other variables that start with [`VARIABLE_PREFIX`].
    variables: Vec<(String, String)>,
}

fn sort_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, SettingsError> {
    let mut file = None;
    let mut credentials = None;
    let mut variables = Vec::new();
    for (name, value) in environment {
        if name == CREDENTIALS_VARIABLE {
            credentials = Some(PathBuf::from(&value));
        }
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(VARIABLE_PREFIX))
        else {
            continue;
        };
        if name == CONFIG_VARIABLE {
            file = Some(PathBuf::from(value)).filter(|file| !file.as_os_str().is_empty());
        } else {
            let value = value
                .into_string()
                .map_err(|_| SettingsError::NotUtf8(name.to_owned()))?;
            variables.push((name.to_owned(), value));
        }
    }
    Ok(Environment {
        file,
        credentials,
        variables,
    })
}

fn first_of<'f>(files: &[&'f Path]) -> Result<(&'f Path, String), SettingsError> {
    for file in files {
        match read(file) {
            Err(SettingsError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(|text| (*file, text)),
        }
    }
    let absolute = |file: &&Path| std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    Err(SettingsError::NotFound(
        files.iter().map(absolute).collect(),
    ))
}

fn read(file: &Path) -> Result<String, SettingsError> {
    files::read_settings(file).map_err(|cause| SettingsError::Read {
        file: file.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "tls")]
    use crate::system::secret::{Keeper, SecretFile};
    use std::os::unix::ffi::OsStringExt;
    use tempfile::TempDir;

    const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf");
    const EXAMPLE: &str = include_str!("../../../conf/agent.toml");
    const MINIMAL: &str = "client_id = 1\n[server]\nurl = \"http://h\"\n";

    /// A folder whose file `conf/agent.toml` holds `text`.
    fn folder_with(text: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf")).unwrap();
        fs::write(folder.path().join("conf/agent.toml"), text).unwrap();
        folder
    }

    fn load(folder: &TempDir, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let file = folder.path().join("conf/agent.toml");
        Settings::load_with(Some(&file), &[], environment).map_err(|error| {
            error
                .to_string()
                .replace(file.to_str().unwrap(), "agent.toml")
        })
    }

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        load(&folder_with(text), variables)
    }

    fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
        load_text(text, variables).unwrap_err()
    }

    /// The example with every default that it shows in a comment put into force.
    fn example_with_defaults() -> String {
        EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn the_example_shows_every_key_and_its_true_default() {
        let shown = example_with_defaults();
        let values = Values::read(Path::new("agent.toml"), &shown, &[]).unwrap();
        for key in KEYS
            .iter()
            .filter(|key| !["services", "board"].contains(key))
        {
            assert!(values.get(key).is_some(), "{key} is not shown");
        }
        let folder = folder_with(EXAMPLE);
        let as_it_is = load(&folder, &[]).unwrap();
        fs::write(&as_it_is.file, shown).unwrap();
        assert_eq!(load(&folder, &[]), Ok(as_it_is));
    }

    #[test]
    fn the_example_of_local_services_is_valid() {
        let example = EXAMPLE
            .lines()
            .find_map(|line| line.strip_prefix("# services = "))
            .unwrap();
        let settings = load_text(&format!("client_id = 1\nservices = {example}\n"), &[]).unwrap();
        let Orders::Local { document, place } = settings.orders else {
            panic!("{:?}", settings.orders);
        };
        assert_eq!(
            document,
            r#"{"services":{"LinuxCPU":["get_linux_cpu",15],"LinuxMemory":["get_memory_info",60]}}"#
        );
        assert!(place.to_string().ends_with("/conf/agent.toml:2"), "{place}");
    }

    #[test]
    fn the_example_asks_the_example_collector() {
        let file = Path::new(CONF).join("agent.toml");
        let settings = Settings::load_with(Some(&file), &[], []).unwrap();
        assert_eq!(settings.client_id, ClientName::Number(1));
        let Orders::Server(server) = settings.orders else {
            panic!("{:?}", settings.orders);
        };
        assert_eq!(server.url, "http://127.0.0.1:9000");
        let root = Path::new(CONF).parent().unwrap().canonicalize().unwrap();
        assert_eq!(settings.state_dir, root.join("var"));
        assert_eq!(settings.plugins.folder, root.join("plugins"));
    }

    #[test]
    fn the_variables_of_the_systemd_unit_are_settings() {
        let unit = include_str!("../../../conf/mote.service");
        let variables: Vec<_> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
            .collect();
        let settings = load_text(EXAMPLE, &variables).unwrap();
        assert_eq!(settings.state_dir, Path::new("/var/lib/mote"));
    }

    #[cfg(feature = "tls")]
    const OTHER_VALUES: &[(&str, &str)] = &[
        ("client_id", "\"web-1\""),
        ("state_dir", "\"/s\""),
        ("user", "\"mote\""),
        ("plugin_user", "\"mote-plugin\""),
        ("plugin_dir", "\"/p\""),
        ("plugins", "[\"a\", \"b\"]"),
        ("plugin_timeout_s", "0.5"),
        ("first_sample_spread_s", "0"),
        ("procfs", "\"/host/proc\""),
        ("sysfs", "\"/host/sys\""),
        ("rootfs", "\"/host\""),
        ("server.url", "\"https://[::1]:443/base/\""),
        ("server.token_file", "\"/t\""),
        ("server.ca_file", "\"/ca\""),
        ("server.client_cert_file", "\"/cert\""),
        ("server.client_key_file", "\"/key\""),
        ("server.get_configs.path", "\"/c/\""),
        ("server.get_configs.method", "\"POST\""),
        ("server.service_report.path", "\"/r/\""),
        ("server.service_report.method", "\"POST\""),
        ("server.service_report.encoding", "\"form\""),
        ("server.request_timeout_s", "1.5"),
        ("server.config_update_interval_s", "60"),
        ("queue.max_bytes", "1_000_000"),
        ("queue.max_age_s", "3600"),
        ("queue.durability", "\"power\""),
        ("queue.sync_interval_s", "0.5"),
    ];

    #[cfg(feature = "tls")]
    fn secret(path: &str) -> SecretFile {
        let agent_uid = geteuid().as_raw();
        SecretFile {
            path: path.into(),
            keeper: Keeper::Owner { agent_uid },
        }
    }

    // Some keys go with https:// only.
    #[cfg(feature = "tls")]
    #[test]
    fn every_key_takes_effect_from_the_file_and_from_the_environment() {
        let expected = |file: PathBuf| Settings {
            file,
            client_id: ClientName::Name("web-1".to_owned()),
            state_dir: "/s".into(),
            user: Some("mote".to_owned()),
            plugin_user: Some("mote-plugin".to_owned()),
            plugins: Plugins {
                folder: "/p".into(),
                allowed: vec!["a".to_owned(), "b".to_owned()],
                time_limit: Duration::from_millis(500),
            },
            first_sample_spread: Duration::ZERO,
            roots: Roots {
                procfs: "/host/proc".into(),
                sysfs: "/host/sys".into(),
                rootfs: "/host".into(),
            },
            orders: Orders::Server(Server {
                url: "https://[::1]:443/base".to_owned(),
                token: Some(secret("/t")),
                ca_file: Some("/ca".into()),
                client_cert: Some(ClientCert {
                    cert_file: "/cert".into(),
                    key_file: secret("/key"),
                }),
                config_path: "c".to_owned(),
                config_method: Method::Post,
                report_path: "r/".to_owned(),
                report_encoding: Encoding::Form,
                request_timeout: Duration::from_millis(1500),
                config_update_interval: Duration::from_secs(60),
            }),
            queue: QueueLimits {
                max_bytes: 1_000_000,
                max_age: Duration::from_secs(3600),
                sync_interval: Some(Duration::from_millis(500)),
            },
            boards: vec![],
        };
        let keys: Vec<_> = OTHER_VALUES.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, KEYS[..KEYS.len() - 2]);

        let lines: String = OTHER_VALUES
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let settings = load_text(&lines, &[]).unwrap();
        assert_eq!(settings, expected(settings.file.clone()));

        // In the environment a string needs no quotes.
        let names: Vec<_> = keys.iter().map(|key| source::variable(key)).collect();
        let values = OTHER_VALUES
            .iter()
            .map(|(_, value)| value.trim_matches('"'));
        let variables: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
        let settings = load_text(EXAMPLE, &variables).unwrap();
        assert_eq!(settings, expected(settings.file.clone()));

        let services = [("MOTE_SERVICES", "{ A = [\"b\", 0.5] }")];
        let settings = load_text("client_id = 1", &services).unwrap();
        assert_eq!(
            settings.orders,
            Orders::Local {
                document: r#"{"services":{"A":["b",0.5]}}"#.to_owned(),
                place: Place::Variable("MOTE_SERVICES".to_owned()),
            }
        );
    }

    #[test]
    fn every_key_refuses_a_value_of_another_type_and_names_its_variable() {
        for key in KEYS {
            let name = source::variable(key);
            let text = match *key {
                "services" => "client_id = 1",
                _ => MINIMAL,
            };
            let error = refusal(text, &[(&name, "1979-05-27")]);
            let start = format!("{name}: `{key}` must be ");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_named_with_its_line_and_rule() {
        for (line, error) in [
            (
                "plugin_timeout_s = 0",
                "agent.toml:2: `plugin_timeout_s` must be a number from 0.1 to 3600 (seconds)",
            ),
            (
                "first_sample_spread_s = -1",
                "agent.toml:2: `first_sample_spread_s` must be a number from 0 to 604800 (seconds)",
            ),
            (
                "server.request_timeout_s = 601",
                "agent.toml:2: `server.request_timeout_s` must be a number from 0.1 to 600 (seconds)",
            ),
            (
                "server.config_update_interval_s = 0.9",
                "agent.toml:2: `server.config_update_interval_s` must be a number from 1 to 604800 (seconds)",
            ),
            (
                "queue.max_bytes = 65535",
                "agent.toml:2: `queue.max_bytes` must be an integer from 65536 to 1073741824 (bytes)",
            ),
            (
                "queue = { max_age_s = 0 }",
                "agent.toml:2: `queue.max_age_s` must be an integer from 1 to 31536000 (seconds)",
            ),
            (
                "server.service_report = { method = \"GET\" }",
                "agent.toml:2: `server.service_report.method` must be \"POST\"",
            ),
            (
                "server.get_configs = {\n method = \"get\" }",
                "agent.toml:3: `server.get_configs.method` must be \"GET\" or \"POST\"",
            ),
            (
                "server.service_report.encoding = \"xml\"",
                "agent.toml:2: `server.service_report.encoding` must be \"json\" or \"form\"",
            ),
        ] {
            let text = format!("client_id = 1\n{line}\nserver.url = \"http://h\"\n");
            assert_eq!(refusal(&text, &[]), error);
        }
    }

    #[test]
    fn what_must_be_given_is_asked_for() {
        assert_eq!(
            refusal("[server]\nurl = \"http://h\"", &[]),
            "agent.toml: `client_id` is missing; give it like `client_id = 1`"
        );
        assert_eq!(
            refusal("client_id = 1\n[server]\nrequest_timeout_s = 1", &[]),
            "agent.toml: `server.url` is missing; give it like `url = \"http://127.0.0.1:9000\"`"
        );
        assert_eq!(
            refusal("client_id = 1\n[server]\n", &[]),
            "agent.toml: there is neither a [server] nor `services`, so there is nothing to monitor; give one of them"
        );
        assert_eq!(
            refusal(
                "client_id = 1\nserver.url = \"http://h\"\nservices = {}",
                &[]
            ),
            "agent.toml: there are both a [server] and `services` (agent.toml:3); remove one of them"
        );
        assert_eq!(
            refusal(MINIMAL, &[("MOTE_SERVICES", "{}")]),
            "agent.toml: there are both a [server] and `services` (MOTE_SERVICES); remove one of them"
        );
    }

    #[test]
    fn the_file_is_looked_for_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, id: u32| {
            let path = folder.path().join(name);
            let text = format!("client_id = {id}\nservices = {{}}\n");
            fs::write(&path, text).unwrap();
            path
        };
        let explicit = file("explicit", 1);
        let named = file("named", 2);
        let second = file("second", 3);
        let missing = folder.path().join("missing");
        let found = |explicit: Option<&Path>, named: &Path| {
            let environment = [
                (OsString::from("MOTE_CONFIG"), named.as_os_str().to_owned()),
                (OsString::from("PATH"), OsString::from("/bin")),
            ];
            Settings::load_with(explicit, &[&missing, &second], environment)
                .map(|settings| settings.client_id)
                .map_err(|error| error.to_string())
        };
        assert_eq!(found(Some(&explicit), &named), Ok(ClientName::Number(1)));
        assert_eq!(found(None, &named), Ok(ClientName::Number(2)));
        // An empty variable is an unset one.
        assert_eq!(found(None, Path::new("")), Ok(ClientName::Number(3)));

        // A file that was named is not replaced by another.
        let error = found(Some(&missing), &named).unwrap_err();
        assert!(
            error.starts_with(&format!("{}: ", missing.display())),
            "{error}"
        );
        let error = found(None, &missing).unwrap_err();
        assert!(
            error.starts_with(&format!("{}: ", missing.display())),
            "{error}"
        );

        let other = folder.path().join("other");
        let error = Settings::load_with(None, &[&missing, &other], []).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "there is no settings file: looked for {} and {}; name one with --config or MOTE_CONFIG",
                missing.display(),
                other.display()
            )
        );
    }

    #[test]
    fn a_fifo_is_no_settings_file() {
        let folder = folder_with("");
        let file = folder.path().join("conf/agent.toml");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let expected = "agent.toml: it is not a regular file";
        assert_eq!(load(&folder, &[]), Err(expected.to_owned()));
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_named() {
        let folder = folder_with(MINIMAL);
        let value = OsString::from_vec(vec![b'/', 0xff]);
        let error = Settings::load_with(
            Some(&folder.path().join("conf/agent.toml")),
            &[],
            [(OsString::from("MOTE_STATE_DIR"), value)],
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "the value of the environment variable MOTE_STATE_DIR is not UTF-8"
        );
    }
}
