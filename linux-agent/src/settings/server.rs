//! `[server]`: where the orders come from and the reports go, and how the agent is let in there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::Uri;

use crate::system::secret::{Keeper, SecretFile};

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `url`: `http://` or `https://`, host, port if it is not 80 or 443, perhaps a path; no slash at its end.
    pub url: String,
    /// `token_file`, or else the credential `mote.token` of systemd.
    pub token: Option<SecretFile>,
    /// `ca_file`: the authorities to trust; none: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// `client_cert_file` and `client_key_file`
    pub client_cert: Option<ClientCert>,
    /// `get_configs.path`, without a slash at either end.
    pub config_path: String,
    /// `get_configs.method`
    pub config_method: Method,
    /// `service_report.path`, without a slash at its start. Reports are always POSTed.
    pub report_path: String,
    /// `service_report.encoding`
    pub report_encoding: Encoding,
    /// `service_report.attempts`: how often a report is tried that the server fails on while it takes others.
    pub report_attempts: u8,
    /// `service_report.fields`
    pub field_names: FieldNames,
    /// `request_timeout_s`: how long one request may take.
    pub request_timeout: Duration,
    /// `config_update_interval_s`: how old the services document may become.
    pub config_update_interval: Duration,
}

/// The agent's certificate for a server that asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// `client_cert_file`: its certificate in PEM, then those that lead from it to an authority.
    pub cert_file: PathBuf,
    /// `client_key_file`: its private key in PEM.
    pub key_file: SecretFile,
}

/// How the services document is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `"GET"`
    Get,
    /// `"POST"`
    Post,
}

/// What a report looks like on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `"json"`: the body is one JSON object.
    Json,
    /// `"form"`: the body is form fields, `data` being JSON text.
    Form,
}

/// The fields of a report, in the order in which they are sent. `uptime`, `uptime_ms` and `age` are boards'.
pub const REPORT_FIELDS: [&str; 9] = [
    "client_id",
    "service_name",
    "data",
    "time",
    "boot",
    "uptime",
    "uptime_ms",
    "age",
    "seq",
];

/// What the fields of a report are called on their way to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames(BTreeMap<String, String>);

impl FieldNames {
    /// The names by the usual ones.
    pub(super) fn new(mut names: BTreeMap<String, String>) -> FieldNames {
        names.retain(|field, name| field != name);
        FieldNames(names)
    }

    /// Whether all have their usual names.
    pub fn are_usual(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of one of [`REPORT_FIELDS`].
    pub fn of<'a>(&'a self, field: &'a str) -> &'a str {
        self.0.get(field).map_or(field, String::as_str)
    }

    /// The first field that would have the name of another.
    pub(super) fn clash(&self) -> Option<&'static str> {
        let is_taken = |field: &&str| {
            let mut others = REPORT_FIELDS.iter().filter(|other| *other != field);
            others.any(|other| self.of(other) == self.of(field))
        };
        let mut given = REPORT_FIELDS.iter().filter(|it| self.0.contains_key(**it));
        given.find(|it| is_taken(it)).copied()
    }
}

impl Server {
    /// Sets the user that must own the secrets: the one that the agent becomes.
    pub fn set_agent_uid(&mut self, uid: u32) {
        let key = self.client_cert.as_mut().map(|it| &mut it.key_file);
        for secret in self.token.as_mut().into_iter().chain(key) {
            match &mut secret.keeper {
                Keeper::Owner { uid: of } | Keeper::Systemd { uid: of } => *of = uid,
            }
        }
    }

    /// A server at a valid address with defaults for the rest, to enrol at.
    pub fn at(url: &str, ca_file: Option<PathBuf>) -> Server {
        Server {
            url: url.to_owned(),
            token: None,
            ca_file,
            client_cert: None,
            config_path: "api/client/config".to_owned(),
            config_method: Method::Get,
            report_path: "api/client/service/report/".to_owned(),
            report_encoding: Encoding::Json,
            report_attempts: 5,
            field_names: FieldNames::default(),
            request_timeout: Duration::from_secs(30),
            config_update_interval: Duration::from_secs(300),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// Whether nobody else can read the connection: it is encrypted, or does not leave this machine.
    pub fn is_private(&self) -> bool {
        self.is_https() || self.url.parse().is_ok_and(|url| is_loopback(&url))
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = bare.parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}
