//! What `conf/server.toml` looks like, and what follows from it for each host.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use mote_core::Config;
use serde::{Deserialize, Deserializer};

use super::host::{Host, HostId, OrderedService, TokenSource};
use crate::collector::digest::Digest;
use crate::protocol::{MAX_CLIENT_NAME, MAX_DOCUMENT, MAX_NAME, MAX_SERVICES, is_text};

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// See [`Settings::listen`](super::ServerSettings::listen).
    #[serde(default, deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    /// As it is written: a relative path starts at the file's folder.
    pub database: Option<PathBuf>,
    /// See [`Settings::require_tokens`](super::ServerSettings::require_tokens).
    #[serde(default)]
    pub require_tokens: bool,
    /// As it is written.
    pub read_token_file: Option<PathBuf>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    hosts: BTreeMap<String, HostTable>,
    #[serde(default)]
    groups: BTreeMap<String, GroupTable>,
    #[serde(default)]
    templates: BTreeMap<String, TemplateTable>,
}

/// The files that TLS needs, each in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The collector's certificate, then those between it and its authority.
    pub certificates: PathBuf,
    /// The key of the certificate; a secret.
    pub key: PathBuf,
    /// Authorities one of which has to have signed the certificate of every client.
    pub client_authorities: Option<PathBuf>,
}

/// Two templates of one host that hold a service of the same name. The shorter interval is in
/// force; if they are equal, the one that the settings name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Label of the host.
    pub host: String,
    /// Name of the service.
    pub service: String,
    /// The template whose service is in force.
    pub kept: String,
    /// The template whose service is not.
    pub left: String,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clash {
            host,
            service,
            kept,
            left,
        } = self;
        write!(
            f,
            "host `{host}` gets the service `{service}` from two templates: \
             that of `{kept}` is in force, that of `{left}` is not"
        )
    }
}

/// A key, and what is wrong with it.
pub struct Bad(pub String, pub String);

impl Document {
    /// Every host with its services, and what was decided between templates that disagree. Relative
    /// paths start at `folder`.
    pub fn resolve(&self, folder: &Path) -> Result<(BTreeMap<HostId, Host>, Vec<Clash>), Bad> {
        let templates = check_templates(self)?;
        for (name, group) in &self.groups {
            check_known(&group.templates, &self.templates, "template", || {
                format!("groups.{name}.templates")
            })?;
        }
        let mut hosts: BTreeMap<HostId, Host> = BTreeMap::new();
        let mut clashes = Vec::new();
        for (label, table) in &self.hosts {
            let id = check_host(label, table, self)?;
            let services = services_of(label, table, self, &templates, &mut clashes);
            if let Some(other) = hosts.get(&id) {
                let problem = format!("is {id}, which `hosts.{}` has already", other.label);
                return Err(Bad(format!("hosts.{label}.id"), problem));
            }
            let host = Host {
                label: label.clone(),
                token: check_token(label, table, folder)?,
                reports_for: table.reports_for.clone(),
                services,
            };
            check_followed(&host).map_err(|problem| Bad(format!("hosts.{label}"), problem))?;
            hosts.insert(id, host);
        }
        for host in hosts.values() {
            if let Some(unknown) = host.reports_for.iter().find(|id| !hosts.contains_key(id)) {
                return Err(Bad(
                    format!("hosts.{}.reports_for", host.label),
                    format!("names {unknown}, but no host has that id"),
                ));
            }
        }
        Ok((hosts, clashes))
    }

    /// The files for TLS, if it is wanted. Relative paths start at `folder`.
    pub fn tls(&self, folder: &Path) -> Result<Option<TlsFiles>, Bad> {
        let client_authorities = self.client_ca_file.as_ref().map(|path| folder.join(path));
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(certificates), Some(key)) => Ok(Some(TlsFiles {
                certificates: folder.join(certificates),
                key: folder.join(key),
                client_authorities,
            })),
            (None, None) if client_authorities.is_none() => Ok(None),
            (given, _) => {
                let missing = if given.is_none() {
                    "tls_cert_file"
                } else {
                    "tls_key_file"
                };
                let problem = "is missing: TLS needs both tls_cert_file and tls_key_file";
                Err(Bad(missing.to_owned(), problem.to_owned()))
            }
        }
    }
}

const INTERVAL_S: RangeInclusive<f64> = 0.1..=604_800.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    id: Option<HostId>,
    token_file: Option<PathBuf>,
    token_sha256: Option<String>,
    #[serde(default)]
    reports_for: Vec<HostId>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    templates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    templates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateTable {
    /// OrderedService name to `["plugin", interval in seconds]`.
    services: BTreeMap<String, toml::Value>,
}

/// The services of every template, by its name.
type Templates<'a> = BTreeMap<&'a str, BTreeMap<&'a str, OrderedService>>;

fn check_templates(document: &Document) -> Result<Templates<'_>, Bad> {
    let mut templates = Templates::new();
    for (template, table) in &document.templates {
        let mut services = BTreeMap::new();
        for (name, value) in &table.services {
            let service = check_service(name, value)
                .map_err(|problem| Bad(format!("templates.{template}.services.{name}"), problem))?;
            services.insert(name.as_str(), service);
        }
        templates.insert(template.as_str(), services);
    }
    Ok(templates)
}

fn check_service(name: &str, value: &toml::Value) -> Result<OrderedService, String> {
    use toml::Value::{Array, Float, Integer, String as Text};

    let pair = match value {
        Array(elements) => match elements.as_slice() {
            [Text(plugin), Integer(seconds)] => Some((plugin, *seconds as f64)),
            [Text(plugin), Float(seconds)] => Some((plugin, *seconds)),
            _ => None,
        },
        _ => None,
    };
    let Some((plugin, interval_s)) = pair else {
        return Err("is not a plugin and an interval in seconds such as \
                    [\"get_linux_cpu\", 15]"
            .to_owned());
    };
    for text in [name, plugin] {
        if text.is_empty() || !is_text(text, MAX_NAME) {
            return Err(format!(
                "needs a service name and a plugin name of 1 to {MAX_NAME} bytes without control \
                 characters"
            ));
        }
    }
    if !INTERVAL_S.contains(&interval_s) {
        return Err(format!(
            "has the interval {interval_s} s, which is not within {} to {} s",
            INTERVAL_S.start(),
            INTERVAL_S.end()
        ));
    }
    Ok(OrderedService {
        plugin: plugin.clone(),
        // Within the range above, so it fits.
        interval_ms: (interval_s * 1000.0).round() as u32,
    })
}

fn check_host(label: &str, table: &HostTable, document: &Document) -> Result<HostId, Bad> {
    check_known(&table.groups, &document.groups, "group", || {
        format!("hosts.{label}.groups")
    })?;
    check_known(&table.templates, &document.templates, "template", || {
        format!("hosts.{label}.templates")
    })?;
    let id = table.id.clone().unwrap_or_else(|| HostId::new(label));
    match &id {
        HostId::Name(name) if name.is_empty() || !is_text(name, MAX_CLIENT_NAME) => Err(Bad(
            format!("hosts.{label}.id"),
            format!(
                "is {name:?}; an id is a number from 0 to {}, or a name of 1 to {MAX_CLIENT_NAME} \
                 bytes without control characters",
                u32::MAX
            ),
        )),
        _ => Ok(id),
    }
}

fn check_token(label: &str, table: &HostTable, folder: &Path) -> Result<Option<TokenSource>, Bad> {
    let bad = |problem: &str| Bad(format!("hosts.{label}.token_sha256"), problem.to_owned());
    match (&table.token_file, &table.token_sha256) {
        (None, None) => Ok(None),
        (Some(path), None) => Ok(Some(TokenSource::File(folder.join(path)))),
        (None, Some(digits)) => Digest::from_hex(digits)
            .map(|digest| Some(TokenSource::Sha256(digest)))
            .ok_or_else(|| bad("is not 64 hexadecimal digits, as `sha256sum` prints them")),
        (Some(_), Some(_)) => Err(bad(
            "cannot be there beside token_file; leave one of them out",
        )),
    }
}

fn check_known<T>(
    names: &[String],
    known: &BTreeMap<String, T>,
    kind: &str,
    key: impl Fn() -> String,
) -> Result<(), Bad> {
    match names.iter().find(|name| !known.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Bad(
            key(),
            format!("names the {kind} `{name}`, but there is no table [{kind}s.{name}]"),
        )),
    }
}

/// Whether agents take what this host is to get. Their own reader decides: an order that nobody
/// follows is to be noticed here, where it can be changed.
fn check_followed(host: &Host) -> Result<(), String> {
    let document = serde_json::to_vec(host)
        .map_err(|cause| format!("gets services that cannot be written as JSON: {cause}"))?;
    if document.len() > MAX_DOCUMENT {
        return Err(format!(
            "gets a services document of {} bytes, and agents take at most {MAX_DOCUMENT}; give it \
             fewer services or shorter names",
            document.len()
        ));
    }
    Config::<(), MAX_SERVICES, MAX_NAME>::new()
        .read(&document, |_| ())
        .map_err(|cause| format!("gets a services document that agents refuse: {cause}"))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(|_| {
            serde::de::Error::custom(
                "an address to listen on is an IP address and a port from 0 to 65535, such as \
                 127.0.0.1:9000 or [::1]:9000,",
            )
        })
}

/// The services of a host: those of its own templates, then those of its groups' templates.
fn services_of(
    label: &str,
    table: &HostTable,
    document: &Document,
    templates: &Templates<'_>,
    clashes: &mut Vec<Clash>,
) -> BTreeMap<String, OrderedService> {
    let of_groups = table
        .groups
        .iter()
        .filter_map(|group| document.groups.get(group))
        .flat_map(|group| &group.templates);
    let mut names: Vec<&str> = Vec::new();
    for name in table.templates.iter().chain(of_groups) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut chosen: BTreeMap<&str, (&str, &OrderedService)> = BTreeMap::new();
    for template in names {
        for (name, service) in templates.get(template).into_iter().flatten() {
            let candidate = (template, service);
            let Some(first) = chosen.insert(name, candidate) else {
                continue;
            };
            let (kept, left) = if service.interval_ms < first.1.interval_ms {
                (candidate, first)
            } else {
                (first, candidate)
            };
            chosen.insert(name, kept);
            clashes.push(Clash {
                host: label.to_owned(),
                service: (*name).to_owned(),
                kept: kept.0.to_owned(),
                left: left.0.to_owned(),
            });
        }
    }
    chosen
        .into_iter()
        .map(|(name, (_, service))| (name.to_owned(), service.clone()))
        .collect()
}
