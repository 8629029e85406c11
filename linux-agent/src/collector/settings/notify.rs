//! `[notify.NAME]`: who hears of alarms, and how.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::Mailbox;
use ureq::http::Uri;

use super::rules::{file_path, text};
use crate::collector::span;
use crate::toml_reader::{FromTable, Given, Table, TomlError, Value, quoted};

/// At most this many of them.
pub const MAX_TARGETS: usize = 16;

/// At most this many receivers of one mail.
const MAX_RECEIVERS: usize = 50;

const REPEAT: Duration = Duration::from_secs(86_400);
const REPEAT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);

const GRACE: Duration = Duration::from_secs(120);
const GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// Who hears of alarms, and when.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// By name.
    pub targets: BTreeMap<String, NotifyTarget>,
    /// What lasts is said again after this time.
    pub repeat: Duration,
    /// Nobody is late for so long after the collector's own start.
    pub grace: Duration,
    /// Somebody who notices when this collector is dead.
    pub heartbeat: Option<String>,
}

/// One who hears of alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyTarget {
    /// A POST.
    Webhook(Webhook),
    /// A mail.
    Mail(Mail),
}

/// `webhook = "URL"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// What is posted.
    pub format: WebhookFormat,
    /// The file of a token that goes with it.
    pub token: Option<PathBuf>,
    /// The authorities to trust; none: those that the system trusts.
    pub authorities: Option<PathBuf>,
}

/// What is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// All that is known, as JSON.
    Json,
    /// As <https://ntfy.sh> takes it: text, with a title in a header.
    Ntfy,
    /// As Slack takes it, and what imitates it.
    Slack,
}

/// `mail = {…}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Name or address of the SMTP server.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub security: Security,
    /// Who sends.
    pub from: Mailbox,
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// The user at the server, and the file of the password.
    pub login: Option<(String, PathBuf)>,
    /// The authorities to trust; none: those that the system trusts.
    pub authorities: Option<PathBuf>,
}

/// How a connection for mail is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From a plain beginning, and never without.
    StartTls,
    /// From the beginning.
    Tls,
    /// Not.
    None,
}

/// A table as it is written.
pub struct NotifyTable {
    webhook: Option<String>,
    format: Option<WebhookFormat>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    mail: Option<MailTable>,
}

/// `mail = {…}` as it is written.
struct MailTable {
    server: Option<String>,
    port: Option<u16>,
    security: Security,
    from: Option<Mailbox>,
    to: Vec<Mailbox>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl FromTable for NotifyTable {
    fn from_table(table: &Table<'_>) -> Result<NotifyTable, TomlError> {
        Ok(NotifyTable {
            webhook: table.get("webhook", address)?,
            format: table.get("format", format)?,
            token_file: table.get("token_file", file_path)?,
            ca_file: table.get("ca_file", file_path)?,
            mail: table.table("mail")?,
        })
    }
}

impl FromTable for MailTable {
    fn from_table(table: &Table<'_>) -> Result<MailTable, TomlError> {
        Ok(MailTable {
            server: table.get("server", text)?.filter(|it| !it.is_empty()),
            port: table.get("port", port)?,
            security: table
                .get("security", security)?
                .unwrap_or(Security::StartTls),
            from: table.get("from", mailbox)?,
            to: table.list("to", mailbox)?,
            user: table.get("user", text)?,
            password_file: table.get("password_file", file_path)?,
            ca_file: table.get("ca_file", file_path)?,
        })
    }
}

/// `alarm_repeat`, `alarm_grace` and `heartbeat_url`, as they are written.
#[derive(Default)]
pub struct Habits {
    repeat: Option<Duration>,
    grace: Option<Duration>,
    heartbeat: Option<String>,
}

impl Habits {
    /// From the table of all settings.
    pub fn from_table(table: &Table<'_>) -> Result<Habits, TomlError> {
        let length =
            |range| move |value: &Value| span::parse(value.as_str().unwrap_or_default(), range);
        Ok(Habits {
            repeat: table.get("alarm_repeat", length(REPEAT_RANGE))?,
            grace: table.get("alarm_grace", length(GRACE_RANGE))?,
            heartbeat: table.get("heartbeat_url", address)?,
        })
    }
}

/// What these tables mean, which stand in a file of this `folder`.
pub fn settings(
    tables: &BTreeMap<String, NotifyTable>,
    habits: &Habits,
    given: &Given,
    folder: &Path,
) -> Result<NotifySettings, TomlError> {
    if tables.len() > MAX_TARGETS {
        let rule = format!("must have {MAX_TARGETS} tables at most");
        return Err(given.invalid("notify", rule));
    }
    let targets = tables.iter().map(|(name, table)| {
        let key = format!("notify.{}", quoted(name));
        let target = table.target(&key, given, folder)?;
        Ok((name.clone(), target))
    });
    Ok(NotifySettings {
        targets: targets.collect::<Result<_, TomlError>>()?,
        repeat: habits.repeat.unwrap_or(REPEAT),
        grace: habits.grace.unwrap_or(GRACE),
        heartbeat: habits.heartbeat.clone(),
    })
}

impl Default for NotifySettings {
    fn default() -> Self {
        NotifySettings {
            targets: BTreeMap::new(),
            repeat: REPEAT,
            grace: GRACE,
            heartbeat: None,
        }
    }
}

impl NotifyTable {
    fn target(&self, key: &str, given: &Given, folder: &Path) -> Result<NotifyTarget, TomlError> {
        let broken = |last: &str, rule: &str| Err(given.invalid(&format!("{key}.{last}"), rule));
        let in_folder = |path: &Option<PathBuf>| path.as_ref().map(|it| folder.join(it));
        match (&self.webhook, &self.mail) {
            (Some(url), None) => Ok(NotifyTarget::Webhook(Webhook {
                url: url.clone(),
                format: self.format.unwrap_or(WebhookFormat::Json),
                token: in_folder(&self.token_file),
                authorities: in_folder(&self.ca_file),
            })),
            (None, Some(mail)) => {
                if self.format.is_some() || self.token_file.is_some() || self.ca_file.is_some() {
                    return broken(
                        "mail",
                        "takes no format or token_file beside it, and its ca_file in it",
                    );
                }
                Ok(NotifyTarget::Mail(mail.mail(
                    &format!("{key}.mail"),
                    given,
                    folder,
                )?))
            }
            (Some(_), Some(_)) => broken(
                "mail",
                "cannot be there beside webhook; make a table of its own for it",
            ),
            (None, None) => Err(given.invalid(key, "must have a webhook or a mail")),
        }
    }
}

impl MailTable {
    fn mail(&self, key: &str, given: &Given, folder: &Path) -> Result<Mail, TomlError> {
        let broken = |last: &str, rule: &str| given.invalid(&format!("{key}.{last}"), rule);
        let missing = |last: &str| broken(last, "is missing");
        if self.to.is_empty() || self.to.len() > MAX_RECEIVERS {
            return Err(broken(
                "to",
                &format!("must be a list of 1 to {MAX_RECEIVERS} mail addresses"),
            ));
        }
        let server = self.server.clone().ok_or_else(|| missing("server"))?;
        let login = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => Some((user.clone(), folder.join(file))),
            (None, None) => None,
            _ => {
                return Err(broken(
                    "user",
                    "and password_file go together; leave both out, or neither",
                ));
            }
        };
        let is_here = server == "localhost"
            || server
                .parse()
                .is_ok_and(|it: std::net::IpAddr| it.is_loopback());
        if login.is_some() && self.security == Security::None && !is_here {
            return Err(broken(
                "security",
                "must not be \"none\" with a password, which others could read",
            ));
        }
        Ok(Mail {
            server,
            port: self.port.unwrap_or(match self.security {
                Security::StartTls => 587,
                Security::Tls => 465,
                Security::None => 25,
            }),
            security: self.security,
            from: self.from.clone().ok_or_else(|| missing("from"))?,
            to: self.to.clone(),
            login,
            authorities: self.ca_file.as_ref().map(|it| folder.join(it)),
        })
    }
}

fn address(value: &Value) -> Result<String, String> {
    let is_one = |text: &&str| {
        let url = text.parse::<Uri>();
        let scheme = |it: &Uri| matches!(it.scheme_str(), Some("http" | "https"));
        url.is_ok_and(|it| scheme(&it) && it.host().is_some_and(|it| !it.is_empty()))
    };
    let url = value.as_str().filter(is_one);
    let url =
        url.ok_or_else(|| "must be an address that starts with http:// or https://".to_owned())?;
    if cfg!(not(feature = "tls")) && url.starts_with("https:") {
        return Err(
            "starts with https://, but this program was built without TLS for what it calls"
                .to_owned(),
        );
    }
    Ok(url.to_owned())
}

fn format(value: &Value) -> Result<WebhookFormat, String> {
    match value.as_str() {
        Some("json") => Ok(WebhookFormat::Json),
        Some("ntfy") => Ok(WebhookFormat::Ntfy),
        Some("slack") => Ok(WebhookFormat::Slack),
        _ => Err("must be \"json\", \"ntfy\" or \"slack\"".to_owned()),
    }
}

fn security(value: &Value) -> Result<Security, String> {
    match value.as_str() {
        Some("starttls") => Ok(Security::StartTls),
        Some("tls") => Ok(Security::Tls),
        Some("none") => Ok(Security::None),
        _ => Err("must be \"starttls\", \"tls\" or \"none\"".to_owned()),
    }
}

fn mailbox(value: &Value) -> Result<Mailbox, String> {
    let mailbox = value.as_str().and_then(|text| text.parse().ok());
    mailbox.ok_or_else(|| "must be a mail address such as \"ops@example.org\"".to_owned())
}

fn port(value: &Value) -> Result<u16, String> {
    let port = value.as_integer().filter(|it| *it > 0);
    port.ok_or_else(|| "must be a port from 1 to 65535".to_owned())
}

#[cfg(test)]
mod tests;
