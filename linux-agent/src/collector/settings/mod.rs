//! `conf/server.toml` and the files in `conf/server.d`: which hosts there are, and which services each of them monitors.

pub(crate) mod access;
mod alarm_rules;
pub(crate) mod alarms;
mod document;
pub(crate) mod host;
pub(crate) mod notify;
mod part;
mod resolve;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client_name::ClientName;
use crate::collector::store::settings::StoreSettings;
use crate::system::places::reports_dir;
use crate::toml_reader::{self, TomlError, read_text};
use access::Access;
use alarm_rules::AlarmRules;
use document::SCHEMA;
use host::{Host, OrderedService};
use notify::NotifySettings;
use part::Part;

pub use resolve::{Clash, TlsFiles};

/// The default of `max_connections`: with the other files this stays within 1024, the usual limit of open files.
pub const MAX_CONNECTIONS: u32 = 960;

/// The collector's settings, checked.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The file that they were read from; none: they stay as they are.
    pub file: Option<PathBuf>,
    /// Where agents and people connect to.
    pub listen: SocketAddr,
    /// The SQLite file that holds the reports; its folder is created if it is missing.
    pub database: PathBuf,
    /// How many connections it has at a time.
    pub max_connections: u32,
    /// How long and how much it keeps, and how it writes.
    pub store: StoreSettings,
    /// Whether hosts without a token are refused too.
    pub require_tokens: bool,
    /// Whether it may listen where others reach it though no host has a token.
    pub allow_anonymous: bool,
    /// The file of the token that reading needs, if any.
    pub read_token_file: Option<PathBuf>,
    /// The files for TLS. `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// What a host of each group that no file names would monitor.
    pub groups: Arc<BTreeMap<String, Host>>,
    /// The group of hosts that enrol without one being named.
    pub enroll_into: Option<String>,
    /// Who may look, and how requests may come.
    pub access: Arc<Access>,
    /// Every host that may ask and report.
    pub hosts: BTreeMap<ClientName, Host>,
    /// Templates that disagree, and which one wins.
    pub clashes: Vec<Clash>,
    /// Who hears of alarms.
    pub notify: NotifySettings,
}

impl ServerSettings {
    /// Reads and checks `file`, and the files beside it: see `further_files`. A relative path starts at the folder of
    /// the file that names it.
    pub fn read(file: &Path) -> Result<ServerSettings, TomlError> {
        let first = parse(file, &read_text(file)?)?;
        let mut parts = Vec::new();
        let folder = file.with_extension(FURTHER);
        for further in further_files(file).map_err(|cause| unread(&folder, cause))? {
            let part = parse(&further, &read_text(&further)?)?;
            resolve::check_further(&part, file)?;
            parts.push(part);
        }
        resolve(file, first, &parts)
    }

    /// Settings without a file: this host alone, as number 1, with everything worth a look. The
    /// reports are kept in `state_dir`.
    pub fn demo(state_dir: &Path, listen: SocketAddr) -> ServerSettings {
        const SERVICES: [(&str, &str, u32); 8] = [
            ("LinuxCPU", "get_linux_cpu", 1_000),
            ("LinuxMemory", "get_memory_info", 2_000),
            ("LinuxNetwork", "GetNetworkStatus", 2_000),
            ("LinuxLoad", "get_linux_load", 5_000),
            ("DiskIO", "get_disk_io", 2_000),
            ("HostAlive", "host_alive_check", 10_000),
            ("Filesystem", "get_filesystem", 10_000),
            ("SysInfo", "LinuxSysInfo", 60_000),
        ];
        let services = SERVICES.map(|(name, plugin, interval_ms)| {
            let plugin = plugin.to_owned();
            let service = OrderedService {
                plugin,
                interval_ms,
            };
            (name.to_owned(), service)
        });
        let host = Host {
            label: "this-host".to_owned(),
            services: BTreeMap::from(services),
            ..Host::default()
        };
        ServerSettings {
            file: None,
            listen,
            database: state_dir.join(DATABASE),
            max_connections: MAX_CONNECTIONS,
            store: StoreSettings::default(),
            require_tokens: false,
            allow_anonymous: false,
            read_token_file: None,
            tls: None,
            groups: Arc::default(),
            enroll_into: None,
            access: Arc::default(),
            hosts: BTreeMap::from([(ClientName::Number(1), host)]),
            clashes: Vec::new(),
            notify: NotifySettings::default(),
        }
    }
}

/// The files beside `file` that are read after it: those of the folder of its name that end in `.toml`, in the order of
/// their names.
pub fn further_files(file: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match fs::read_dir(file.with_extension(FURTHER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    let mut files = Vec::new();
    for entry in folder {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

const DATABASE: &str = "reports.db";

/// `server.toml` is followed by what is in `server.d`.
const FURTHER: &str = "d";

fn resolve(file: &Path, first: Part, further: &[Part]) -> Result<ServerSettings, TomlError> {
    let document = &first.document;
    let notify = notify::settings(
        &document.notify,
        &document.habits,
        &first.given,
        &first.folder,
    )?;
    let names: Vec<&str> = notify.targets.keys().map(String::as_str).collect();
    let alarms = AlarmRules::gather(&first, further, &names)?;
    let (hosts, clashes) = resolve::hosts(&first, further, &alarms)?;
    let groups = resolve::groups(&first, further, &alarms)?;
    resolve::check_access(&first)?;
    let tls = resolve::tls(&first)?;
    let Part {
        document, folder, ..
    } = first;
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
    let database = match document.database {
        Some(path) => folder.join(path),
        None => reports_dir(&without_links(&folder)).join(DATABASE),
    };
    Ok(ServerSettings {
        file: Some(file.to_owned()),
        listen: document.listen.unwrap_or(loopback),
        database,
        max_connections: document.max_connections.unwrap_or(MAX_CONNECTIONS),
        store: document.store,
        require_tokens: document.require_tokens,
        allow_anonymous: document.allow_anonymous,
        read_token_file: document.read_token_file.map(|file| folder.join(file)),
        tls,
        groups: Arc::new(groups),
        enroll_into: document.enroll_into,
        access: Arc::new(document.access),
        hosts,
        clashes,
        notify,
    })
}

/// The true place of a folder; of one that is not there, its name from the root.
fn without_links(folder: &Path) -> PathBuf {
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    fs::canonicalize(here)
        .or_else(|_| std::path::absolute(here))
        .unwrap_or_else(|_| here.to_owned())
}

fn parse(file: &Path, text: &str) -> Result<Part, TomlError> {
    let (document, given) = toml_reader::parse(file, text, &SCHEMA, &[])?;
    Ok(Part {
        document,
        given,
        folder: file.parent().unwrap_or(Path::new("")).to_owned(),
    })
}

fn unread(file: &Path, cause: io::Error) -> TomlError {
    let file = file.to_owned();
    TomlError::Read { file, cause }
}

#[cfg(test)]
pub(crate) mod tests;
