//! `conf/server.toml`: which hosts there are, and which services each of them monitors.

mod document;
pub(crate) mod host;
pub(crate) mod host_id;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::system::files;
use document::{Bad, Document};

pub use document::{Clash, TlsFiles};
use host::{Host, HostId, OrderedService};

/// What the collector is told, checked.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where agents and people connect to.
    pub listen: SocketAddr,
    /// The SQLite file that holds the reports; its folder is created if it is missing.
    pub database: PathBuf,
    /// Whether hosts without a token are refused too.
    pub require_tokens: bool,
    /// Holds the token that reading asks for, if it does.
    pub read_token_file: Option<PathBuf>,
    /// What TLS needs; without it, connections are plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Every host that may ask and report.
    pub hosts: BTreeMap<HostId, Host>,
    /// What was decided between templates that disagree.
    pub clashes: Vec<Clash>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum ServerSettingsError {
    /// The file cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The file is not TOML, or holds a key or a type that does not belong there.
    Toml {
        /// Its path.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// What is wrong with that line.
        problem: String,
    },
    /// A key has a value that cannot be.
    Key {
        /// Which file.
        path: PathBuf,
        /// The key with its tables, such as `hosts.web.id`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ServerSettings {
    /// Reads and checks `path`. A relative path of the database starts at the folder of that file.
    pub fn read(path: &Path) -> Result<ServerSettings, ServerSettingsError> {
        let text = files::read_settings(path).map_err(|cause| ServerSettingsError::Read {
            path: path.to_owned(),
            cause,
        })?;
        parse(path, &text)
    }

    /// ServerSettings without a file: this host alone, as number 1, with everything worth a look. The
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
            token: None,
            reports_for: Vec::new(),
            services: BTreeMap::from(services),
        };
        ServerSettings {
            listen,
            database: state_dir.join(DATABASE),
            require_tokens: false,
            read_token_file: None,
            tls: None,
            hosts: BTreeMap::from([(HostId::Number(1), host)]),
            clashes: Vec::new(),
        }
    }
}

impl fmt::Display for ServerSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerSettingsError::Read { path, cause } => {
                write!(f, "{} cannot be read: {cause}", path.display())
            }
            ServerSettingsError::Toml {
                path,
                line,
                problem,
            } => write!(f, "{}:{line}: {problem}", path.display()),
            ServerSettingsError::Key { path, key, problem } => {
                write!(f, "{}: `{key}` {problem}", path.display())
            }
        }
    }
}

impl std::error::Error for ServerSettingsError {}

const DATABASE: &str = "reports.db";

fn parse(path: &Path, text: &str) -> Result<ServerSettings, ServerSettingsError> {
    let document: Document = toml::from_str(text).map_err(|cause| at_line(path, text, &cause))?;
    let bad = |Bad(key, problem)| ServerSettingsError::Key {
        path: path.to_owned(),
        key,
        problem,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let (hosts, clashes) = document.resolve(folder).map_err(bad)?;
    let tls = document.tls(folder).map_err(bad)?;
    let database = document.database.unwrap_or_else(|| DATABASE.into());
    Ok(ServerSettings {
        listen: document
            .listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
        database: folder.join(database),
        require_tokens: document.require_tokens,
        read_token_file: document.read_token_file.map(|file| folder.join(file)),
        tls,
        hosts,
        clashes,
    })
}

/// The TOML error with the line that it is about, quoted since the message alone names no key.
fn at_line(path: &Path, text: &str, cause: &toml::de::Error) -> ServerSettingsError {
    let start = cause.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count();
    let source = text.lines().nth(line).unwrap_or_default().trim();
    let message = cause.message().replace('\n', ", ");
    ServerSettingsError::Toml {
        path: path.to_owned(),
        line: line + 1,
        problem: format!("{message} in `{source}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerSettings, String> {
        parse(Path::new("conf/server.toml"), text).map_err(|error| error.to_string())
    }

    fn refused(text: &str) -> String {
        read(text).unwrap_err()
    }

    const TWO_TEMPLATES: &str = r#"
        [hosts.web]
        id = 1
        templates = ["slow"]
        groups = ["all", "all"]
        [groups.all]
        templates = ["fast", "slow"]
        [templates.slow.services]
        LinuxCPU = ["get_linux_cpu", 60]
        LinuxLoad = ["get_linux_load", 0.5]
        [templates.fast.services]
        LinuxCPU = ["get_linux_cpu", 15]
    "#;

    #[test]
    fn an_empty_file_listens_on_loopback_for_nobody() {
        let settings = read("").unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9000");
        assert_eq!(settings.database, Path::new("conf/reports.db"));
        assert!(settings.hosts.is_empty());
    }

    #[test]
    fn the_shorter_interval_wins_and_is_told_once() {
        let settings = read(TWO_TEMPLATES).unwrap();
        let services = &settings.hosts[&HostId::Number(1)].services;
        assert_eq!(services["LinuxCPU"].interval_ms, 15_000);
        assert_eq!(services["LinuxLoad"].interval_ms, 500);
        let told: Vec<String> = settings.clashes.iter().map(Clash::to_string).collect();
        assert_eq!(
            told,
            [
                "host `web` gets the service `LinuxCPU` from two templates: \
                 that of `fast` is in force, that of `slow` is not"
            ]
        );
    }

    #[test]
    fn of_equal_intervals_the_first_named_wins() {
        let text = TWO_TEMPLATES.replace(r#"["get_linux_cpu", 15]"#, r#"["other", 60]"#);
        let settings = read(&text).unwrap();
        let services = &settings.hosts[&HostId::Number(1)].services;
        assert_eq!(services["LinuxCPU"].plugin, "get_linux_cpu");
        assert_eq!(settings.clashes[0].kept, "slow");
    }

    #[test]
    fn a_host_without_an_id_is_known_by_its_label() {
        let settings = read("[hosts.web]\n[hosts.7]\n").unwrap();
        let ids: Vec<&HostId> = settings.hosts.keys().collect();
        assert_eq!(ids, [&HostId::Number(7), &HostId::Name("web".to_owned())]);
    }

    #[test]
    fn what_toml_refuses_is_told_with_its_line() {
        assert_eq!(
            refused("listen = \"127.0.0.1:9000\"\nlisen = 1\n"),
            "conf/server.toml:2: unknown field `lisen`, expected one of `listen`, \
             `database`, `require_tokens`, `read_token_file`, `tls_cert_file`, `tls_key_file`, \
             `client_ca_file`, `hosts`, `groups`, `templates` in `lisen = 1`"
        );
        for (text, line) in [
            ("listen = \"localhost:9000\"\n", 1),
            ("\n\n[hosts.web\n", 3),
            ("[hosts.web]\nid = 1.5\n", 2),
            ("[hosts.web]\nid = 1\nid = 2\n", 3),
            ("[hosts.web]\nid = -1\n", 2),
            ("[hosts.web]\nid = 4294967296\n", 2),
        ] {
            let told = refused(text);
            let begins = format!("conf/server.toml:{line}: ");
            assert!(told.starts_with(&begins), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_key() {
        for (text, told) in [
            (
                "[hosts.a]\nid = 1\n[hosts.b]\nid = \"1\"\n",
                "`hosts.b.id` is 1, which `hosts.a` has already",
            ),
            (
                "[hosts.a]\ngroups = [\"x\"]\n",
                "`hosts.a.groups` names the group `x`, but there is no table [groups.x]",
            ),
            (
                "[hosts.a]\ntemplates = [\"x\"]\n",
                "`hosts.a.templates` names the template `x`, but there is no table [templates.x]",
            ),
            (
                "[groups.g]\ntemplates = [\"x\"]\n",
                "`groups.g.templates` names the template `x`, but there is no table [templates.x]",
            ),
            (
                "[templates.t.services]\nA = [\"p\", 0.05]\n",
                "`templates.t.services.A` has the interval 0.05 s, which is not within 0.1 to \
                 604800 s",
            ),
            (
                "[hosts.a]\nreports_for = [7]\n[hosts.b]\nid = \"7b\"\n",
                "`hosts.a.reports_for` names 7, but no host has that id",
            ),
            (
                "[hosts.a]\ntoken_sha256 = \"12\"\n",
                "`hosts.a.token_sha256` is not 64 hexadecimal digits, as `sha256sum` prints them",
            ),
            (
                "[hosts.a]\ntoken_sha256 = \"\"\ntoken_file = \"token\"\n",
                "`hosts.a.token_sha256` cannot be there beside token_file; leave one of them out",
            ),
            (
                "tls_cert_file = \"a\"\n",
                "`tls_key_file` is missing: TLS needs both tls_cert_file and tls_key_file",
            ),
            (
                "client_ca_file = \"a\"\n",
                "`tls_cert_file` is missing: TLS needs both tls_cert_file and tls_key_file",
            ),
        ] {
            assert_eq!(refused(text), format!("conf/server.toml: {told}"));
        }
        for service in [
            "[15, \"p\"]",
            "[\"p\"]",
            "[\"p\", 1, 2]",
            "[\"p\", \"1\"]",
            "15",
            "{}",
        ] {
            let text = format!("[templates.t.services]\nA = {service}\n");
            let told = refused(&text);
            let begins = "conf/server.toml: `templates.t.services.A` is not ";
            assert!(told.starts_with(begins), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
        for service in ["\"\" = [\"p\", 1]", "A = [\"\", 1]", "A = [\"a\\tb\", 1]"] {
            let text = format!("[templates.t.services]\n{service}\n");
            assert!(refused(&text).contains("control characters"), "{service}");
        }
        for interval in ["604801", "-1", "0", "nan", "inf"] {
            let text = format!("[templates.t.services]\nA = [\"p\", {interval}]\n");
            assert!(refused(&text).contains("which is not within"), "{interval}");
        }
        let long = "x".repeat(65);
        for id in ["", "a\\tb", "a\\u007f", &long] {
            let text = format!("[hosts.a]\nid = \"{id}\"\n");
            assert!(refused(&text).contains("`hosts.a.id` is"), "{id}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_is_told_what_one_is() {
        for listen in [
            "127.0.0.1:99999",
            "127.0.0.1",
            "localhost:9000",
            ":9000",
            "",
        ] {
            assert_eq!(
                refused(&format!("\nlisten = \"{listen}\"\n")),
                format!(
                    "conf/server.toml:2: an address to listen on is an IP address and a port from \
                     0 to 65535, such as 127.0.0.1:9000 or [::1]:9000, in `listen = \"{listen}\"`"
                )
            );
        }
        let settings = read("listen = \"[::1]:0\"\n").unwrap();
        assert_eq!(settings.listen.to_string(), "[::1]:0");
    }

    #[test]
    fn every_id_that_an_agent_may_have_is_one() {
        let long = "ü".repeat(32);
        for id in [
            "a/b",
            "..",
            "-x",
            "é",
            "a b",
            "%2f",
            "007",
            "4294967296",
            &long,
        ] {
            let settings = read(&format!("[hosts.a]\nid = \"{id}\"\n")).unwrap();
            assert!(settings.hosts.contains_key(&HostId::Name(id.to_owned())));
        }
    }

    /// A host with this many services, each with a name of this many bytes.
    fn ordering(count: usize, name_bytes: usize) -> String {
        let mut text =
            "[hosts.web]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\n".to_owned();
        for number in 0..count {
            text += &format!("\"{number:0>name_bytes$}\" = [\"p\", 1]\n");
        }
        text
    }

    #[test]
    fn what_no_agent_would_follow_is_not_ordered() {
        assert_eq!(
            read(&ordering(256, 200)).unwrap().hosts[&HostId::Number(1)]
                .services
                .len(),
            256
        );
        assert_eq!(
            refused(&ordering(257, 3)),
            "conf/server.toml: `hosts.web` gets a services document that agents refuse: \
             service \"256\": one more than the 256 services there is room for"
        );
        let told = refused(&ordering(1, 201));
        assert!(told.contains("of 1 to 200 bytes"), "{told}");
        // Names and plugins of 200 bytes each: 256 × (2 × 200 + a little) is more than 64 KiB.
        let told = refused(&ordering(256, 200).replace("\"p\"", &format!("{:?}", "p".repeat(200))));
        let begins = "conf/server.toml: `hosts.web` gets a services document of 10";
        assert!(told.starts_with(begins), "{told}");
        assert!(told.contains("at most 65536"), "{told}");
    }

    #[test]
    fn the_bounds_are_intervals_too() {
        let text = "[hosts.a]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\n\
                    A = [\"p\", 0.1]\nB = [\"p\", 604800]\n";
        let settings = read(text).unwrap();
        let services = &settings.hosts[&HostId::Number(1)].services;
        assert_eq!(services["A"].interval_ms, 100);
        assert_eq!(services["B"].interval_ms, 604_800_000);
    }

    #[test]
    fn a_device_is_no_settings_file() {
        let error = ServerSettings::read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/dev/zero cannot be read: it is not a regular file"
        );
    }

    #[test]
    fn the_file_that_comes_with_mote_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/server.toml");
        let settings = ServerSettings::read(&path).unwrap();
        assert!(!settings.hosts.is_empty());
        assert!(settings.clashes.is_empty());
    }
}
