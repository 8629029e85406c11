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
mod tests {
    use super::*;
    use crate::toml_reader::{self, Variable};
    use std::path::Path;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Document, String> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .map(|(name, text)| Variable { name, text })
            .collect();
        let read = toml_reader::parse(Path::new("a.toml"), text, &SCHEMA, &variables);
        match read {
            Ok((document, _)) => Ok(document),
            Err(error) => Err(error.to_string()),
        }
    }

    fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
        read(text, variables).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        for (text, error) in [
            (
                "client_id = 1\n\nclient-id = 2",
                "a.toml:3: there is no setting `client-id`; the nearest is `client_id`",
            ),
            (
                "[server]\nuri = 1",
                "a.toml:2: there is no setting `server.uri`; the nearest is `server.url`",
            ),
            (
                "[queue]\nmax_age = 1",
                "a.toml:2: there is no setting `queue.max_age`; the nearest is `queue.max_age_s`",
            ),
            (
                "request_timeout_s = 1",
                "a.toml:1: there is no setting `request_timeout_s`; the nearest is `server.request_timeout_s`",
            ),
            (
                "[server]\nservice_report = { pth = \"x\" }",
                "a.toml:2: there is no setting `server.service_report.pth`; the nearest is `server.service_report.path`",
            ),
            (
                "\"server.url\" = 1",
                "a.toml:1: there is no setting `\"server.url\"`; the nearest is `server.url`",
            ),
            (
                "[[service]]\nname = 1",
                "a.toml:1: there is no setting `service`; the nearest is `services`",
            ),
            (
                "[servr]\nurl = \"http://h\"",
                "a.toml:1: there is no setting `servr`; the nearest is `server`",
            ),
            (
                "[server.service_reports]\npath = \"p\"",
                "a.toml:1: there is no setting `server.service_reports`; the nearest is `server.service_report`",
            ),
        ] {
            assert_eq!(refusal(text, &[]), error);
        }
    }

    #[test]
    fn keys_of_kindred_programs_are_answered_with_ours() {
        for (text, key, ours) in [
            ("HostID = 1", "HostID", "`client_id`, like `client_id = 1`"),
            (
                "Server = '192.0.2.1'",
                "Server",
                "`server.url`, like `server.url = \"http://192.0.2.1:9000\"`",
            ),
            (
                "ServerPort = 9000",
                "ServerPort",
                "`server.url`, like `server.url = \"http://192.0.2.1:9000\"`",
            ),
            (
                "[server]\nRequestTimeout = 30",
                "server.RequestTimeout",
                "`server.request_timeout_s`, like `server.request_timeout_s = 30`",
            ),
            (
                "configUpdateInterval = 300",
                "configUpdateInterval",
                "`server.config_update_interval_s`, like `server.config_update_interval_s = 300`",
            ),
        ] {
            let line = 1 + text.matches('\n').count();
            let error = format!("a.toml:{line}: there is no setting `{key}`; here it is {ours}");
            assert_eq!(refusal(text, &[]), error);
        }
        assert_eq!(
            refusal("", &[("MOTE_HOST_ID", "1")]),
            "the environment variable MOTE_HOST_ID names no setting; the nearest is MOTE_CLIENT_ID"
        );
    }

    #[test]
    fn a_method_is_one_in_small_letters_too() {
        let text = "[server]\nget_configs.method = 'post'\nservice_report.method = 'Post'";
        let server = read(text, &[]).unwrap().server.unwrap();
        assert_eq!(server.get_configs.method, Some(Method::Post));
    }

    #[test]
    fn nothing_is_suggested_where_nothing_is_near() {
        for (text, key) in [
            ("log_level = 1", "log_level"),
            ("[server]\nport = 1", "server.port"),
            ("[server]\ntoast = 1", "server.toast"),
            ("[logging]\npath = 1", "logging"),
            ("\"\" = 1", ""),
        ] {
            let error = refusal(text, &[]);
            assert!(
                error.ends_with(&format!(": there is no setting `{key}`")),
                "{error}"
            );
        }
        for name in ["MOTE_LOG_LEVEL", "MOTE_X", "MOTE_", "MOTE_SERVER__PORT"] {
            assert_eq!(
                refusal("", &[(name, "1")]),
                format!("the environment variable {name} names no setting")
            );
        }
    }

    #[test]
    fn a_name_with_control_characters_is_shown_without_them() {
        for (text, variable, shown) in [
            ("\"a\\nb\" = 1", "MOTE_CLIENT_ID", r#"`"a\nb"`"#),
            (
                "[server]\n\"a\\u001b\" = 1",
                "MOTE_CLIENT_ID",
                r#"`server."a\u{1b}"`"#,
            ),
            ("", "MOTE_\u{1b}[2J", r"MOTE_\u{1b}[2J names"),
        ] {
            let error = refusal(text, &[(variable, "1")]);
            assert!(error.contains(shown), "{error}");
        }
    }

    #[test]
    fn a_value_in_place_of_a_table_is_refused() {
        assert_eq!(
            refusal("client_id = 1\nserver = \"h\"", &[]),
            "a.toml:2: `server` must be a table"
        );
        assert_eq!(
            refusal("[[queue]]\nmax_bytes = 1", &[]),
            "a.toml:1: `queue` must be a table"
        );
    }

    #[test]
    fn what_is_not_toml_is_named_with_its_line() {
        for (text, start) in [
            ("a = 1\nb = [1,", "a.toml:2: this is not TOML: "),
            ("\n\nclient_id 1", "a.toml:3: this is not TOML: "),
            ("plugins = []\nplugins = []", "a.toml:2: this is not TOML: "),
        ] {
            let error = refusal(text, &[]);
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest() {
        for (name, nearest) in [
            ("MOTE_SERVER_URL", "MOTE_SERVER__URL"),
            ("MOTE_SERVER", "MOTE_SERVER__URL"),
            ("MOTE_SERVR", "MOTE_SERVER__URL"),
            ("MOTE_URL", "MOTE_SERVER__URL"),
            ("MOTE_SERVER__URI", "MOTE_SERVER__URL"),
            ("MOTE_QUEUE", "MOTE_QUEUE__MAX_BYTES"),
            ("MOTE_QUEUE_MAX_AGE_S", "MOTE_QUEUE__MAX_AGE_S"),
            ("MOTE_SERVICE", "MOTE_SERVICES"),
            ("MOTE_CLIENTID", "MOTE_CLIENT_ID"),
        ] {
            assert_eq!(
                refusal("", &[(name, "http://h")]),
                format!(
                    "the environment variable {name} names no setting; the nearest is {nearest}"
                )
            );
        }
    }

    #[test]
    fn a_variable_overrides_the_file_and_is_read_as_plain_text() {
        let client_id = |text: &str| {
            let document = read("client_id = 1", &[("MOTE_CLIENT_ID", text)]);
            document.map(|it| it.client_id.unwrap())
        };
        let name = |text: &str| Ok(ClientName::Name(text.to_owned()));
        assert_eq!(client_id("2"), Ok(ClientName::Number(2)));
        assert_eq!(client_id("0"), Ok(ClientName::Number(0)));
        // None of these is a number to whoever set the variable.
        for text in [
            "12_3",
            "0x10",
            "0b1",
            "007",
            "+7",
            "1e3",
            "4294967296",
            "nan",
            "true",
            "web-1",
            "\"2\"",
            "[1]",
        ] {
            assert_eq!(client_id(text), name(text));
        }
        let rule = "must be an integer from 0 to 4294967295, or a name of 1 to 64 bytes without control characters";
        for text in ["", "1\nstate_dir = 2"] {
            let error = format!("MOTE_CLIENT_ID: `client_id` {rule}");
            assert_eq!(client_id(text), Err(error), "{text}");
        }
    }

    #[test]
    fn text_in_a_variable_is_text_whatever_it_looks_like() {
        for text in ["5", "true", "1979-05-27", "\"q\"", "a = 1", "'"] {
            let document = read("", &[("MOTE_STATE_DIR", text)]).unwrap();
            assert_eq!(document.state_dir.as_deref(), Some(text));
        }
    }

    #[test]
    fn a_number_in_a_variable_is_a_decimal_one() {
        let timeout = |text: &str| {
            read("", &[("MOTE_PLUGIN_TIMEOUT_S", text)]).map(|it| it.plugin_timeout_s.unwrap())
        };
        assert_eq!(timeout("5"), Ok(Duration::from_secs(5)));
        assert_eq!(timeout("0.5"), Ok(Duration::from_millis(500)));
        let rule = "must be a number from 0.1 to 3600 (seconds)";
        for text in [
            "1_0", "0x5", "5s", " 5", "05", "1e2", "+5", "inf", "", "-5", "5.",
        ] {
            let error = format!("MOTE_PLUGIN_TIMEOUT_S: `plugin_timeout_s` {rule}");
            assert_eq!(timeout(text), Err(error), "{text}");
        }
    }

    #[test]
    fn names_in_a_variable_have_commas_between_them() {
        let plugins = |text: &str| {
            read("", &[("MOTE_PLUGINS", text)])
                .unwrap()
                .plugins
                .unwrap()
        };
        assert_eq!(plugins("a, b.sh ,5"), ["a", "b.sh", "5"]);
        assert_eq!(plugins("[\"a\", 'b.sh']"), ["a", "b.sh"]);
        assert!(plugins("").is_empty());
    }

    #[test]
    fn a_value_is_named_where_it_was_given() {
        for (text, variables, error) in [
            (
                "[server]\nurl = 1",
                &[("MOTE_SERVER__URL", "http://h")] as &[_],
                None,
            ),
            (
                "[queue]\nmax_bytes = 65536\nmax_age_s = 0",
                &[],
                Some("a.toml:3: `queue.max_age_s` must be an integer from 1 to 31536000 (seconds)"),
            ),
            (
                "[queue]\nmax_bytes = 65536",
                &[("MOTE_QUEUE__MAX_AGE_S", "0")],
                Some(
                    "MOTE_QUEUE__MAX_AGE_S: `queue.max_age_s` must be an integer from 1 to 31536000 (seconds)",
                ),
            ),
            (
                "plugins = [\n'a',\n'/']",
                &[],
                Some(
                    "a.toml:1: `plugins` must be a list of file names without `/` and without a leading dot",
                ),
            ),
        ] {
            assert_eq!(read(text, variables).err().as_deref(), error);
        }
    }
}
