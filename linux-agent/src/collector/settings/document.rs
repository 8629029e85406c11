//! What `conf/server.toml` looks like: every key, and the rule for its value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::access::Access;
use super::alarms::AlarmTable;
use super::host::OrderedService;
use super::notify::{Habits, NotifyTable};
use super::rules::{file_path, text, truth};
use crate::client_name::ClientName;
use crate::collector::digest::Digest;
use crate::collector::store::settings::{Retention, StoreSettings};
use crate::protocol::{MAX_NAME, is_text};
use crate::toml_reader::As::{Names, NumberOrName, Text, Toml};
use crate::toml_reader::{FromTable, Key, Schema, Table, TomlError, Value};

/// Every key there is.
pub const SCHEMA: Schema = Schema {
    keys: &[
        Key::new("listen", Text),
        Key::new("database", Text),
        Key::new("max_connections", Toml),
        Key::new("commit_pause_ms", Toml),
        Key::new("keep_reports_h", Toml),
        Key::new("keep_points_d", Toml),
        Key::new("keep_partials_d", Toml),
        Key::new("keep_mib", Toml),
        Key::new("require_tokens", Toml),
        Key::new("allow_anonymous", Toml),
        Key::new("read_token_file", Text),
        Key::new("tls_cert_file", Text),
        Key::new("tls_key_file", Text),
        Key::new("client_ca_file", Text),
        Key::new("enroll_into", Text),
        Key::new("trusted_proxies", Toml),
        Key::new("proxy_user_header", Text),
        Key::new("host_names", Toml),
        Key::new("users.*.role", Text),
        Key::new("users.*.password", Text),
        Key::new("hosts.*.id", NumberOrName),
        Key::new("hosts.*.token_file", Text),
        Key::new("hosts.*.token_sha256", Text),
        Key::new("hosts.*.reports_for", Toml),
        Key::new("hosts.*.groups", Names),
        Key::new("hosts.*.templates", Names),
        Key::new("groups.*.templates", Names),
        Key::new("templates.*.services.*", Toml),
        Key::new("alarms.*.service", Toml),
        Key::new("alarms.*.field", Toml),
        Key::new("alarms.*.item", Toml),
        Key::new("alarms.*.per_cpu", Toml),
        Key::new("alarms.*.figure", Toml),
        Key::new("alarms.*.above", Toml),
        Key::new("alarms.*.below", Toml),
        Key::new("alarms.*.reaches", Toml),
        Key::new("alarms.*.within", Toml),
        Key::new("alarms.*.clear", Toml),
        Key::new("alarms.*.for", Toml),
        Key::new("alarms.*.severity", Toml),
        Key::new("alarms.*.text", Toml),
        Key::new("alarms.*.notify", Names),
        Key::new("templates.*.alarms.*.service", Toml),
        Key::new("templates.*.alarms.*.field", Toml),
        Key::new("templates.*.alarms.*.item", Toml),
        Key::new("templates.*.alarms.*.per_cpu", Toml),
        Key::new("templates.*.alarms.*.figure", Toml),
        Key::new("templates.*.alarms.*.above", Toml),
        Key::new("templates.*.alarms.*.below", Toml),
        Key::new("templates.*.alarms.*.reaches", Toml),
        Key::new("templates.*.alarms.*.within", Toml),
        Key::new("templates.*.alarms.*.clear", Toml),
        Key::new("templates.*.alarms.*.for", Toml),
        Key::new("templates.*.alarms.*.severity", Toml),
        Key::new("templates.*.alarms.*.text", Toml),
        Key::new("templates.*.alarms.*.notify", Names),
        Key::new("notify.*.webhook", Text),
        Key::new("notify.*.format", Text),
        Key::new("notify.*.token_file", Text),
        Key::new("notify.*.ca_file", Text),
        Key::new("notify.*.mail.server", Text),
        Key::new("notify.*.mail.port", Text),
        Key::new("notify.*.mail.security", Text),
        Key::new("notify.*.mail.from", Text),
        Key::new("notify.*.mail.to", Names),
        Key::new("notify.*.mail.user", Text),
        Key::new("notify.*.mail.password_file", Text),
        Key::new("notify.*.mail.ca_file", Text),
        Key::new("alarm_repeat", Text),
        Key::new("alarm_grace", Text),
        Key::new("heartbeat_url", Text),
    ],
    replaced: &[],
    // Nothing of the collector is given by a variable.
    variable_prefix: "",
};

/// What only the first file may say.
pub const OF_THE_COLLECTOR: [&str; 24] = [
    "listen",
    "database",
    "max_connections",
    "commit_pause_ms",
    "keep_reports_h",
    "keep_points_d",
    "keep_partials_d",
    "keep_mib",
    "require_tokens",
    "allow_anonymous",
    "read_token_file",
    "tls_cert_file",
    "tls_key_file",
    "client_ca_file",
    "enroll_into",
    "trusted_proxies",
    "proxy_user_header",
    "host_names",
    "users",
    "alarms",
    "notify",
    "alarm_repeat",
    "alarm_grace",
    "heartbeat_url",
];

/// A file as it is written.
pub struct ServerDocument {
    pub listen: Option<SocketAddr>,
    pub database: Option<PathBuf>,
    pub max_connections: Option<u32>,
    pub store: StoreSettings,
    pub require_tokens: bool,
    pub allow_anonymous: bool,
    pub read_token_file: Option<PathBuf>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub client_ca_file: Option<PathBuf>,
    pub enroll_into: Option<String>,
    pub access: Access,
    pub hosts: BTreeMap<String, HostTable>,
    pub groups: BTreeMap<String, GroupTable>,
    pub templates: BTreeMap<String, TemplateTable>,
    pub alarms: BTreeMap<String, AlarmTable>,
    pub notify: BTreeMap<String, NotifyTable>,
    pub habits: Habits,
}

impl FromTable for ServerDocument {
    fn from_table(table: &Table<'_>) -> Result<ServerDocument, TomlError> {
        Ok(ServerDocument {
            listen: table.get("listen", address)?,
            database: table.get("database", file_path)?,
            max_connections: table.get("max_connections", connections)?,
            store: store(table)?,
            require_tokens: table.get("require_tokens", truth)?.unwrap_or(false),
            allow_anonymous: table.get("allow_anonymous", truth)?.unwrap_or(false),
            read_token_file: table.get("read_token_file", file_path)?,
            tls_cert_file: table.get("tls_cert_file", file_path)?,
            tls_key_file: table.get("tls_key_file", file_path)?,
            client_ca_file: table.get("client_ca_file", file_path)?,
            enroll_into: table.get("enroll_into", text)?,
            access: Access::read(table)?,
            hosts: table.named_tables("hosts")?,
            groups: table.named_tables("groups")?,
            templates: table.named_tables("templates")?,
            alarms: table.named_tables("alarms")?,
            notify: table.named_tables("notify")?,
            habits: Habits::from_table(table)?,
        })
    }
}

fn connections(value: &Value) -> Result<u32, String> {
    let number = within(1..=100_000)(value)?;
    u32::try_from(number).map_err(|error| error.to_string())
}

fn store(table: &Table<'_>) -> Result<StoreSettings, TomlError> {
    let default = Retention::default();
    let hours = table.get("keep_reports_h", within(1..=87_600))?;
    let days = within(1..=36_500);
    let points = table.get("keep_points_d", &days)?;
    let partials = table.get("keep_partials_d", &days)?;
    let mib = table.get("keep_mib", within(16..=16 << 20))?;
    let pause_ms = table.get("commit_pause_ms", within(0..=5000))?;
    let points_ms = points.map_or(default.points_ms, |it| it * 24 * HOUR_MS);
    Ok(StoreSettings {
        retention: Retention {
            reports_ms: hours.map_or(default.reports_ms, |it| it * HOUR_MS),
            points_ms,
            // They are what is left of points, so they stay as long at least.
            partials_ms: partials.map(|it| points_ms.max(it * 24 * HOUR_MS)),
            bytes: mib.map_or(default.bytes, |it| it << 20),
            ..default
        },
        commit_pause: Duration::from_millis(pause_ms.unwrap_or(0).unsigned_abs()),
        ..StoreSettings::default()
    })
}

const HOUR_MS: i64 = 3_600_000;

/// `[hosts.NAME]`
#[derive(Default)]
pub struct HostTable {
    pub id: Option<ClientName>,
    pub token_file: Option<PathBuf>,
    pub token_sha256: Option<Digest>,
    pub reports_for: Vec<ClientName>,
    pub groups: Vec<String>,
    pub templates: Vec<String>,
}

impl FromTable for HostTable {
    fn from_table(table: &Table<'_>) -> Result<HostTable, TomlError> {
        Ok(HostTable {
            id: table.get("id", ClientName::from_setting)?,
            token_file: table.get("token_file", file_path)?,
            token_sha256: table.get("token_sha256", digest)?,
            reports_for: table.list("reports_for", ClientName::from_setting)?,
            groups: table.list("groups", text)?,
            templates: table.list("templates", text)?,
        })
    }
}

/// `[groups.NAME]`
pub struct GroupTable {
    pub templates: Vec<String>,
}

impl FromTable for GroupTable {
    fn from_table(table: &Table<'_>) -> Result<GroupTable, TomlError> {
        Ok(GroupTable {
            templates: table.list("templates", text)?,
        })
    }
}

/// `[templates.NAME.services]` and `[templates.NAME.alarms.…]`
pub struct TemplateTable {
    pub services: BTreeMap<String, OrderedService>,
    pub alarms: BTreeMap<String, AlarmTable>,
}

impl FromTable for TemplateTable {
    fn from_table(table: &Table<'_>) -> Result<TemplateTable, TomlError> {
        Ok(TemplateTable {
            services: table.each("services", ordered_service)?,
            alarms: table.named_tables("alarms")?,
        })
    }
}

const INTERVAL_S: RangeInclusive<f64> = 0.1..=604_800.0;

fn ordered_service(value: &Value) -> Result<OrderedService, String> {
    let pair = value.as_list().and_then(|elements| match elements {
        [Value::Text(plugin), interval] => Some((plugin, interval.as_number()?)),
        _ => None,
    });
    let Some((plugin, interval_s)) = pair else {
        return Err(
            "must be a plugin and an interval in seconds such as [\"get_linux_cpu\", 15]"
                .to_owned(),
        );
    };
    if plugin.is_empty() || !is_text(plugin, MAX_NAME) {
        return Err(format!(
            "must name a plugin in 1 to {MAX_NAME} bytes without control characters"
        ));
    }
    if !INTERVAL_S.contains(&interval_s) {
        return Err(format!(
            "must have an interval within {} to {} s",
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

fn within(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<i64, String> {
    move |value| {
        let number = value.as_integer().filter(|it| range.contains(it));
        number.ok_or_else(|| {
            format!(
                "must be a whole number within {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| {
        "must be an IP address and a port from 0 to 65535, such as \"127.0.0.1:9000\" or \"[::1]:9000\""
            .to_owned()
    })
}

fn digest(value: &Value) -> Result<Digest, String> {
    let digest = value.as_str().and_then(Digest::from_hex);
    digest.ok_or_else(|| "must be 64 hexadecimal digits, as `sha256sum` prints them".to_owned())
}
