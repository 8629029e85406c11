//! What `conf/agent.toml` looks like: every key, and the rule for its value.

use std::collections::BTreeMap;
use std::time::Duration;

use super::boards::baud;
use super::rules::{self, integer, one_of, seconds};
use super::server::{Encoding, Method};
use crate::client_name::ClientName;
use crate::plugin::{Format, MAX_TIME_LIMIT};
use crate::toml_reader::As::{Names, Number, NumberOrName, Text, Toml};
use crate::toml_reader::{FromTable, Key, Replaced, Schema, Table, TomlError};

/// Names the settings file.
pub(super) const CONFIG_VARIABLE: &str = "MOTE_CONFIG";

/// Every key there is.
pub(super) const SCHEMA: Schema = Schema {
    keys: &[
        Key::new("client_id", NumberOrName),
        Key::new("state_dir", Text),
        Key::new("user", Text),
        Key::new("plugin_user", Text),
        Key::new("plugin_dir", Text),
        Key::new("plugins", Names),
        Key::new("plugin_timeout_s", Number),
        Key::new("first_sample_spread_s", Number),
        Key::new("procfs", Text),
        Key::new("sysfs", Text),
        Key::new("rootfs", Text),
        Key::new("server.url", Text),
        Key::new("server.token_file", Text),
        Key::new("server.ca_file", Text),
        Key::new("server.client_cert_file", Text),
        Key::new("server.client_key_file", Text),
        Key::new("server.get_configs.path", Text),
        Key::new("server.get_configs.method", Text),
        Key::new("server.service_report.path", Text),
        Key::new("server.service_report.method", Text),
        Key::new("server.service_report.encoding", Text),
        Key::new("server.service_report.attempts", Number),
        Key::new("server.service_report.fields.client_id", Text),
        Key::new("server.service_report.fields.service_name", Text),
        Key::new("server.service_report.fields.data", Text),
        Key::new("server.service_report.fields.time", Text),
        Key::new("server.service_report.fields.boot", Text),
        Key::new("server.service_report.fields.seq", Text),
        Key::new("server.service_report.fields.uptime", Text),
        Key::new("server.service_report.fields.uptime_ms", Text),
        Key::new("server.service_report.fields.age", Text),
        Key::new("server.request_timeout_s", Number),
        Key::new("server.config_update_interval_s", Number),
        Key::new("queue.max_bytes", Number),
        Key::new("queue.max_age_s", Number),
        Key::new("queue.durability", Text),
        Key::new("queue.sync_interval_s", Number),
        Key::new("services", Toml),
        Key::new("plugin", Toml),
        Key::new("plugin[].name", Text),
        Key::new("plugin[].command", Names),
        Key::new("plugin[].format", Text),
        Key::new("board", Toml),
        Key::new("board[].device", Text),
        Key::new("board[].client_id", NumberOrName),
        Key::new("board[].baud", Number),
    ],
    // Those of the reference client and of its kin.
    replaced: &[
        replaced("hostid", "client_id", "client_id = 1"),
        replaced("server", "server.url", URL),
        replaced("serverhost", "server.url", URL),
        replaced("serverport", "server.url", URL),
        replaced(
            "requesttimeout",
            "server.request_timeout_s",
            "server.request_timeout_s = 30",
        ),
        replaced(
            "configupdateinterval",
            "server.config_update_interval_s",
            "server.config_update_interval_s = 300",
        ),
    ],
    variable_prefix: "MOTE_",
};

const URL: &str = "server.url = \"http://192.0.2.1:9000\"";

const fn replaced(name: &'static str, by: &'static str, example: &'static str) -> Replaced {
    Replaced { name, by, example }
}

/// The file as it is written.
#[derive(Debug)]
pub(super) struct Document {
    pub client_id: Option<ClientName>,
    pub state_dir: Option<String>,
    pub user: Option<String>,
    pub plugin_user: Option<String>,
    pub plugin_dir: Option<String>,
    pub plugins: Option<Vec<String>>,
    pub plugin: Vec<PluginTable>,
    pub plugin_timeout_s: Option<Duration>,
    pub first_sample_spread_s: Option<Duration>,
    pub procfs: Option<String>,
    pub sysfs: Option<String>,
    pub rootfs: Option<String>,
    pub server: Option<ServerTable>,
    pub queue: QueueTable,
    pub services: Option<String>,
    pub board: Vec<BoardTable>,
}

impl FromTable for Document {
    fn from_table(table: &Table<'_>) -> Result<Document, TomlError> {
        let whose_user = "for the one who starts the agent";
        let whose_plugins = "for the agent's";
        Ok(Document {
            client_id: table.get("client_id", ClientName::from_setting)?,
            state_dir: table.get("state_dir", rules::path)?,
            user: table
                .get("user", |it| rules::user(it, whose_user))?
                .flatten(),
            plugin_user: table
                .get("plugin_user", |it| rules::user(it, whose_plugins))?
                .flatten(),
            plugin_dir: table.get("plugin_dir", rules::path)?,
            plugins: table.get("plugins", rules::plugin_names)?,
            plugin: table.tables("plugin")?,
            plugin_timeout_s: table.get("plugin_timeout_s", |it| {
                seconds(it, 0.1, MAX_TIME_LIMIT.as_secs_f64())
            })?,
            first_sample_spread_s: table
                .get("first_sample_spread_s", |it| seconds(it, 0.0, 604_800.0))?,
            procfs: table.get("procfs", rules::path)?,
            sysfs: table.get("sysfs", rules::path)?,
            rootfs: table.get("rootfs", rules::path)?,
            server: table.table("server")?,
            queue: table.table("queue")?.unwrap_or_default(),
            services: table.get("services", rules::services_document)?,
            board: table.tables("board")?,
        })
    }
}

/// `[server]`
#[derive(Debug, Default)]
pub(super) struct ServerTable {
    pub url: Option<String>,
    pub token_file: Option<String>,
    pub ca_file: Option<String>,
    pub client_cert_file: Option<String>,
    pub client_key_file: Option<String>,
    pub get_configs: GetConfigs,
    pub service_report: ServiceReport,
    pub request_timeout_s: Option<Duration>,
    pub config_update_interval_s: Option<Duration>,
}

impl FromTable for ServerTable {
    fn from_table(table: &Table<'_>) -> Result<ServerTable, TomlError> {
        // In the environment, too, what is empty was not given.
        let optional_path = |name| table.get(name, rules::optional_path).map(Option::flatten);
        Ok(ServerTable {
            url: table.get("url", rules::url)?,
            token_file: optional_path("token_file")?,
            ca_file: optional_path("ca_file")?,
            client_cert_file: optional_path("client_cert_file")?,
            client_key_file: optional_path("client_key_file")?,
            get_configs: table.table("get_configs")?.unwrap_or_default(),
            service_report: table.table("service_report")?.unwrap_or_default(),
            request_timeout_s: table.get("request_timeout_s", |it| seconds(it, 0.1, 600.0))?,
            config_update_interval_s: table
                .get("config_update_interval_s", |it| seconds(it, 1.0, 604_800.0))?,
        })
    }
}

/// `[server.get_configs]`
#[derive(Debug, Default)]
pub(super) struct GetConfigs {
    pub path: Option<String>,
    pub method: Option<Method>,
}

impl FromTable for GetConfigs {
    fn from_table(table: &Table<'_>) -> Result<GetConfigs, TomlError> {
        let methods = [("GET", Method::Get), ("POST", Method::Post)];
        Ok(GetConfigs {
            path: table.get("path", rules::url_path)?,
            method: table.get("method", |it| rules::method(it, &methods))?,
        })
    }
}

/// `[server.service_report]`
#[derive(Debug, Default)]
pub(super) struct ServiceReport {
    pub path: Option<String>,
    pub encoding: Option<Encoding>,
    pub attempts: Option<u8>,
    /// By the usual name.
    pub fields: BTreeMap<String, String>,
}

impl FromTable for ServiceReport {
    fn from_table(table: &Table<'_>) -> Result<ServiceReport, TomlError> {
        // Servers' settings name it, so it may stand here, but it can be nothing else.
        table.get("method", |it| rules::method(it, &[("POST", Method::Post)]))?;
        let encodings = [("json", Encoding::Json), ("form", Encoding::Form)];
        Ok(ServiceReport {
            path: table.get("path", rules::url_path)?,
            encoding: table.get("encoding", |it| one_of(it, &encodings))?,
            attempts: table.get("attempts", |it| integer(it, 1, 100, "tries"))?,
            fields: table.each("fields", rules::field_name)?,
        })
    }
}

/// `[queue]`
#[derive(Debug, Default)]
pub(super) struct QueueTable {
    pub max_bytes: Option<usize>,
    pub max_age_s: Option<Duration>,
    /// Whether a report is to survive a loss of power.
    pub durability: Option<bool>,
    pub sync_interval_s: Option<Duration>,
}

impl FromTable for QueueTable {
    fn from_table(table: &Table<'_>) -> Result<QueueTable, TomlError> {
        let durabilities = [("process", false), ("power", true)];
        Ok(QueueTable {
            max_bytes: table.get("max_bytes", |it| integer(it, 64 << 10, 1 << 30, "bytes"))?,
            max_age_s: table
                .get("max_age_s", |it| integer(it, 1, 31_536_000, "seconds"))?
                .map(Duration::from_secs),
            durability: table.get("durability", |it| one_of(it, &durabilities))?,
            sync_interval_s: table.get("sync_interval_s", |it| seconds(it, 0.1, 3600.0))?,
        })
    }
}

/// A `[[plugin]]`
#[derive(Debug)]
pub(super) struct PluginTable {
    pub name: Option<String>,
    pub command: Option<Vec<String>>,
    pub format: Option<Format>,
}

impl FromTable for PluginTable {
    fn from_table(table: &Table<'_>) -> Result<PluginTable, TomlError> {
        let formats = [("json", Format::Json), ("nagios", Format::Nagios)];
        Ok(PluginTable {
            name: table.get("name", rules::plugin_name)?,
            command: table.get("command", rules::command)?,
            format: table.get("format", |it| one_of(it, &formats))?,
        })
    }
}

/// A `[[board]]`
#[derive(Debug)]
pub(super) struct BoardTable {
    pub device: Option<String>,
    pub client_id: Option<ClientName>,
    pub baud: Option<u32>,
}

impl FromTable for BoardTable {
    fn from_table(table: &Table<'_>) -> Result<BoardTable, TomlError> {
        Ok(BoardTable {
            device: table.get("device", rules::path)?,
            client_id: table.get("client_id", ClientName::from_setting)?,
            baud: table.get("baud", baud)?,
        })
    }
}

#[cfg(test)]
mod tests;
