//! From the files as they are written to what follows for each host.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mote_core::Config;

use super::access::{MAX_USER, is_user_name};
use super::alarm_rules::AlarmRules;
use super::alarms::MAX_ALARMS;
use super::document::{GroupTable, HostTable, OF_THE_COLLECTOR, ServerDocument, TemplateTable};
use super::host::{Host, OrderedService, Origin, TokenSource};
use super::part::Part;
use crate::client_name::ClientName;
use crate::protocol::{MAX_CLIENT_NAME, MAX_DOCUMENT, MAX_NAME, MAX_SERVICES, is_text};
use crate::toml_reader::{TomlError, quoted};

/// Two templates of one host have a service of the same name. The shorter interval wins; if both are equal, the
/// template that is named first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Label of the host.
    pub host: String,
    /// Name of the service.
    pub service: String,
    /// The template whose service is used.
    pub kept: String,
    /// The template whose service is not used.
    pub left: String,
}

/// The files that TLS needs, each in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The collector's certificate, then those between it and its authority.
    pub certificates: PathBuf,
    /// The key of the certificate; a secret.
    pub key: PathBuf,
    /// One of these authorities must have signed each client's certificate.
    pub client_authorities: Option<PathBuf>,
}

/// Every host with its services, and what was decided between templates that disagree.
pub fn hosts(
    first: &Part,
    further: &[Part],
    alarms: &AlarmRules,
) -> Result<(BTreeMap<ClientName, Host>, Vec<Clash>), TomlError> {
    let all = Tables::gather(std::iter::once(first).chain(further))?;
    for (name, (part, table)) in &all.groups {
        let key = format!("groups.{}.templates", quoted(name));
        check_known(part, key, &table.templates, &all.templates, "template")?;
    }
    let mut hosts: BTreeMap<ClientName, Host> = BTreeMap::new();
    let mut clashes = Vec::new();
    for &(label, part, table) in &all.hosts {
        let key = |name: &str| format!("hosts.{}.{name}", quoted(label));
        check_known(part, key("groups"), &table.groups, &all.groups, "group")?;
        let templates = &table.templates;
        check_known(
            part,
            key("templates"),
            templates,
            &all.templates,
            "template",
        )?;
        let id = id(label, table);
        if !id.is_valid() {
            let rule = format!(
                "must be a number from 0 to {}, or a name of 1 to {MAX_CLIENT_NAME} bytes without control characters",
                u32::MAX
            );
            return Err(part.given.invalid(&key("id"), rule));
        }
        if let Some(other) = hosts.get(&id) {
            let rule = format!("is {id}, which `hosts.{}` has already", other.label);
            return Err(part.given.invalid(&key("id"), rule));
        }
        let (services, origins) = all.services_of(label, table, &mut clashes);
        let alarms = alarms.of(all.templates_of(table).into_iter());
        if alarms.len() > MAX_ALARMS {
            let rule = format!("has {} alarms, more than {MAX_ALARMS}", alarms.len());
            return Err(part
                .given
                .invalid(&format!("hosts.{}", quoted(label)), rule));
        }
        let host = Host {
            label: label.to_owned(),
            token: token(part, table, &key("token_sha256"))?,
            reports_for: table.reports_for.iter().map(plain).collect(),
            groups: table.groups.clone(),
            services,
            origins,
            alarms,
        };
        check_followed(&host).map_err(|rule| {
            part.given
                .invalid(&format!("hosts.{}", quoted(label)), rule)
        })?;
        hosts.insert(id, host);
    }
    for &(label, part, table) in &all.hosts {
        let boards = table.reports_for.iter().map(plain);
        if let Some(unknown) = boards.into_iter().find(|id| !hosts.contains_key(id)) {
            let key = format!("hosts.{}.reports_for", quoted(label));
            let rule = format!("names {unknown}, but no host has that id");
            return Err(part.given.invalid(&key, rule));
        }
    }
    Ok((hosts, clashes))
}

/// Of each group a host that is in it, and that no file names. The settings must have the one for hosts that enrol.
pub fn groups(
    first: &Part,
    further: &[Part],
    alarms: &AlarmRules,
) -> Result<BTreeMap<String, Host>, TomlError> {
    let all = Tables::gather(std::iter::once(first).chain(further))?;
    let mut groups = BTreeMap::new();
    for (name, (part, _)) in &all.groups {
        let name = (*name).to_owned();
        let table = HostTable {
            groups: vec![name.clone()],
            ..HostTable::default()
        };
        // Where templates disagree, the hosts of the group say so.
        let (services, origins) = all.services_of(&name, &table, &mut Vec::new());
        let alarms = alarms.of(all.templates_of(&table).into_iter());
        if alarms.len() > MAX_ALARMS {
            let rule = format!("has {} alarms, more than {MAX_ALARMS}", alarms.len());
            let key = format!("groups.{}", quoted(&name));
            return Err(part.given.invalid(&key, rule));
        }
        let host = Host {
            label: name.clone(),
            alarms,
            token: None,
            reports_for: Vec::new(),
            groups: table.groups,
            services,
            origins,
        };
        check_followed(&host).map_err(|rule| {
            let key = format!("groups.{}", quoted(&name));
            part.given.invalid(&key, rule)
        })?;
        groups.insert(name, host);
    }
    let into = first.document.enroll_into.as_ref();
    if let Some(name) = into.filter(|name| !groups.contains_key(*name)) {
        let rule = format!("names the group `{name}`, but there is no table [groups.{name}]");
        return Err(first.given.invalid("enroll_into", rule));
    }
    Ok(groups)
}

/// The files for TLS, if it is wanted.
pub fn tls(part: &Part) -> Result<Option<TlsFiles>, TomlError> {
    let ServerDocument {
        tls_cert_file,
        tls_key_file,
        client_ca_file,
        ..
    } = &part.document;
    let in_folder = |path: &PathBuf| part.folder.join(path);
    match (tls_cert_file, tls_key_file) {
        (Some(certificates), Some(key)) => Ok(Some(TlsFiles {
            certificates: in_folder(certificates),
            key: in_folder(key),
            client_authorities: client_ca_file.as_ref().map(in_folder),
        })),
        (None, None) if client_ca_file.is_none() => Ok(None),
        (given, _) => {
            let missing = match given {
                None => "tls_cert_file",
                Some(_) => "tls_key_file",
            };
            let rule = "is missing: TLS needs both tls_cert_file and tls_key_file";
            Err(part.given.invalid(missing, rule))
        }
    }
}

/// Whether people can come as the settings say.
pub fn check_access(part: &Part) -> Result<(), TomlError> {
    let access = &part.document.access;
    if let Some(name) = access.users.keys().find(|name| !is_user_name(name)) {
        let rule = format!("must have a name of 1 to {MAX_USER} bytes without control characters");
        return Err(part.given.invalid(&format!("users.{}", quoted(name)), rule));
    }
    if access.proxy_user_header.is_some() && access.trusted_proxies.is_empty() {
        let rule = "is of use only with trusted_proxies, since anybody can send that header";
        return Err(part.given.invalid("proxy_user_header", rule));
    }
    Ok(())
}

/// Whether a file beside the first says what only that may say.
pub fn check_further(part: &Part, first: &Path) -> Result<(), TomlError> {
    match OF_THE_COLLECTOR.iter().find(|key| part.given.has(key)) {
        None => Ok(()),
        Some(key) => {
            let rule = format!(
                "must stand in {}; the files beside it hold hosts, groups and templates only",
                first.display()
            );
            Err(part.given.invalid(key, rule))
        }
    }
}

/// The tables of all files, each with the file that it is from.
struct Tables<'a> {
    /// In the order of the files.
    hosts: Vec<(&'a str, &'a Part, &'a HostTable)>,
    groups: BTreeMap<&'a str, (&'a Part, &'a GroupTable)>,
    templates: BTreeMap<&'a str, (&'a Part, &'a TemplateTable)>,
}

impl<'a> Tables<'a> {
    fn gather(parts: impl Iterator<Item = &'a Part>) -> Result<Tables<'a>, TomlError> {
        let mut all = Tables {
            hosts: Vec::new(),
            groups: BTreeMap::new(),
            templates: BTreeMap::new(),
        };
        let mut hosts = BTreeMap::new();
        for part in parts {
            let document = &part.document;
            for (name, template) in &document.templates {
                for service in template.services.keys() {
                    if service.is_empty() || !is_text(service, MAX_NAME) {
                        let key =
                            format!("templates.{}.services.{}", quoted(name), quoted(service));
                        let rule = format!(
                            "must have a name of 1 to {MAX_NAME} bytes without control characters"
                        );
                        return Err(part.given.invalid(&key, rule));
                    }
                }
            }
            add(&mut hosts, part, "hosts", &document.hosts)?;
            let in_order = document.hosts.iter();
            all.hosts
                .extend(in_order.map(|(label, table)| (label.as_str(), part, table)));
            add(&mut all.groups, part, "groups", &document.groups)?;
            add(&mut all.templates, part, "templates", &document.templates)?;
        }
        Ok(all)
    }

    /// The templates of a host: its own, then those of its groups.
    fn templates_of<'h>(&'h self, table: &'h HostTable) -> Vec<&'h str> {
        let groups = table.groups.iter();
        let groups = groups.filter_map(|group| self.groups.get(group.as_str()));
        let of_groups = groups.flat_map(|(_, group)| &group.templates);
        let mut names: Vec<&str> = Vec::new();
        for name in table.templates.iter().chain(of_groups) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The services of a host: those of its own templates, then those of its groups' templates.
    fn services_of(
        &self,
        label: &str,
        table: &HostTable,
        clashes: &mut Vec<Clash>,
    ) -> (BTreeMap<String, OrderedService>, BTreeMap<String, Origin>) {
        let names = self.templates_of(table);
        let mut chosen: BTreeMap<&str, (&str, &OrderedService)> = BTreeMap::new();
        for template in names {
            let services = self.templates.get(template).map(|(_, it)| &it.services);
            for (name, service) in services.into_iter().flatten() {
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
                    service: name.clone(),
                    kept: kept.0.to_owned(),
                    left: left.0.to_owned(),
                });
            }
        }
        let group_of = |template: &str| {
            let mut groups = table.groups.iter();
            groups.find(|group| {
                let group = self.groups.get(group.as_str());
                group.is_some_and(|(_, it)| it.templates.iter().any(|it| it == template))
            })
        };
        let chosen = chosen.into_iter().map(|(name, (template, service))| {
            let is_own = table.templates.iter().any(|it| it == template);
            let group = if is_own { None } else { group_of(template) };
            let origin = Origin {
                template: template.to_owned(),
                group: group.cloned(),
            };
            (
                (name.to_owned(), service.clone()),
                (name.to_owned(), origin),
            )
        });
        chosen.unzip()
    }
}

fn add<'a, T>(
    all: &mut BTreeMap<&'a str, (&'a Part, &'a T)>,
    part: &'a Part,
    kind: &str,
    tables: &'a BTreeMap<String, T>,
) -> Result<(), TomlError> {
    for (name, table) in tables {
        if let Some((other, _)) = all.insert(name, (part, table)) {
            let key = format!("{kind}.{}", quoted(name));
            let rule = format!("stands in {} already", other.given.place(&key));
            return Err(part.given.invalid(&key, rule));
        }
    }
    Ok(())
}

fn id(label: &str, table: &HostTable) -> ClientName {
    let own = table.id.as_ref().map(plain);
    own.unwrap_or_else(|| ClientName::from_text(label))
}

/// Here `7` and `"7"` are one host: the path of a URL cannot tell them apart.
fn plain(id: &ClientName) -> ClientName {
    ClientName::from_text(&id.to_string())
}

fn token(part: &Part, table: &HostTable, key: &str) -> Result<Option<TokenSource>, TomlError> {
    match (&table.token_file, &table.token_sha256) {
        (None, None) => Ok(None),
        (Some(path), None) => Ok(Some(TokenSource::File(part.folder.join(path)))),
        (None, Some(digest)) => Ok(Some(TokenSource::Sha256(digest.clone()))),
        (Some(_), Some(_)) => {
            let rule = "cannot be there beside token_file; leave one of them out";
            Err(part.given.invalid(key, rule))
        }
    }
}

fn check_known<T>(
    part: &Part,
    key: String,
    names: &[String],
    known: &BTreeMap<&str, T>,
    kind: &str,
) -> Result<(), TomlError> {
    match names.iter().find(|name| !known.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let rule = format!("names the {kind} `{name}`, but there is no table [{kind}s.{name}]");
            Err(part.given.invalid(&key, rule))
        }
    }
}

/// Checks with the agents' own reader that they accept this host's services. A mistake should show here, where it
/// can be mended.
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
    let mut orders = Config::<(), MAX_SERVICES, MAX_NAME>::new();
    orders
        .read(&document, |_| ())
        .map_err(|cause| format!("gets a services document that agents refuse: {cause}"))
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
