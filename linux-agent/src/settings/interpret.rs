//! From the tables of the file to what they mean together, with rules that span several keys.

use std::path::{Path, PathBuf};

use super::boards::{BoardSettings, DEFAULT_BAUD, MAX_BOARDS};
use super::document::{BoardTable, PluginTable, ServerTable};
use super::error::SettingsError;
use super::rules::below;
use super::server::{ClientCert, FieldNames, Server};
use crate::client_name::ClientName;
use crate::plugin::PluginCommand;
use crate::probes::Probe;
use crate::system::secret::{Keeper, SecretFile};
use crate::toml_reader::Given;

/// The name of the token among systemd's credentials.
const CREDENTIAL: &str = "mote.token";

/// `[server]`. `agent_uid`: the user that secrets may belong to, beside root. `credentials`: systemd's folder of them.
pub(super) fn server(
    folder: &Path,
    table: ServerTable,
    given: &Given,
    agent_uid: u32,
    credentials: Option<&Path>,
) -> Result<Server, SettingsError> {
    let example = r#"url = "http://127.0.0.1:9000""#;
    let url = required(table.url, given, "server.url", example)?;
    let path = |path: Option<String>| path.map(|path| below(folder, &path));
    let own = |path| SecretFile {
        path,
        keeper: Keeper::Owner { uid: agent_uid },
    };
    let token = path(table.token_file).map(own);
    let server = Server::at(&url, path(table.ca_file));
    let server = Server {
        token: token.or_else(|| credential(credentials?, agent_uid)),
        client_cert: client_cert(
            path(table.client_cert_file),
            path(table.client_key_file).map(own),
            given,
        )?,
        config_path: match table.get_configs.path {
            Some(path) => path.trim_matches('/').to_owned(),
            None => server.config_path,
        },
        config_method: table.get_configs.method.unwrap_or(server.config_method),
        report_path: match table.service_report.path {
            Some(path) => path.trim_start_matches('/').to_owned(),
            None => server.report_path,
        },
        report_encoding: table
            .service_report
            .encoding
            .unwrap_or(server.report_encoding),
        report_attempts: table
            .service_report
            .attempts
            .unwrap_or(server.report_attempts),
        field_names: FieldNames::new(table.service_report.fields),
        request_timeout: table.request_timeout_s.unwrap_or(server.request_timeout),
        config_update_interval: table
            .config_update_interval_s
            .unwrap_or(server.config_update_interval),
        ..server
    };
    check_privacy(&server, given)?;
    if let Some(field) = server.field_names.clash() {
        let key = format!("server.service_report.fields.{field}");
        return Err(given
            .invalid(&key, "must not be the name of another field")
            .into());
    }
    Ok(server)
}

/// `[[plugin]]`: plugins with a place and arguments of their own. `listed` are those in the folder.
pub(super) fn commands(
    tables: Vec<PluginTable>,
    given: &Given,
    listed: &[String],
) -> Result<Vec<PluginCommand>, SettingsError> {
    let mut commands: Vec<PluginCommand> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let key = |name: &str| format!("plugin.{index}{name}");
        let breaks = |name: &str, rule: &str| Err(given.invalid(&key(name), rule).into());
        let Some(name) = table.name else {
            return breaks("", "needs a name, like `name = \"check_disk\"`");
        };
        let Some(command) = table.command else {
            let rule = "needs a command, like `command = [\"/usr/lib/nagios/plugins/check_disk\", \"-w\", \"10%\"]`";
            return breaks("", rule);
        };
        if Probe::by_name(&name).is_some() {
            return breaks(".name", "must not be that of a probe of this agent");
        }
        if listed.contains(&name) || commands.iter().any(|it| it.name == name) {
            return breaks(".name", "must not be that of another plugin");
        }
        let mut words = command.into_iter();
        commands.push(PluginCommand {
            name,
            path: words.next().unwrap_or_default().into(),
            arguments: words.collect(),
            format: table.format.unwrap_or_default(),
        });
    }
    Ok(commands)
}

/// `[[board]]`: the boards in the order of the settings. None may have the agent's own id.
pub(super) fn boards(
    folder: &Path,
    tables: Vec<BoardTable>,
    given: &Given,
    own: &ClientName,
) -> Result<Vec<BoardSettings>, SettingsError> {
    let mut boards: Vec<BoardSettings> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let key = |name: &str| format!("board.{index}{name}");
        let breaks = |name: &str, rule: &str| Err(given.invalid(&key(name), rule).into());
        if boards.len() == MAX_BOARDS {
            let rule = format!("is one more than the {MAX_BOARDS} that there may be");
            return breaks("", &rule);
        }
        let Some(device) = table.device else {
            let rule = "needs a device, like `device = \"/dev/serial/by-id/…\"`";
            return breaks("", rule);
        };
        let device = below(folder, &device);
        let Some(client_id) = table.client_id else {
            return breaks("", "needs a client id, like `client_id = 7`");
        };
        // In a URL a number and a name of the same digits look the same.
        let is_same = |other: &ClientName| other.to_string() == client_id.to_string();
        if is_same(own) {
            return breaks(".client_id", "must not be the agent's own");
        }
        if boards.iter().any(|it| is_same(&it.client_id)) {
            return breaks(".client_id", "must not be that of another board");
        }
        if boards.iter().any(|it| it.device == device) {
            return breaks(".device", "must not be that of another board");
        }
        let board = BoardSettings {
            device,
            client_id,
            baud: table.baud.unwrap_or(DEFAULT_BAUD),
        };
        if let Some(fault) = board.fault() {
            return breaks(".client_id", fault);
        }
        boards.push(board);
    }
    Ok(boards)
}

/// The value of a key that has no default.
pub(super) fn required<T>(
    value: Option<T>,
    given: &Given,
    key: &'static str,
    example: &'static str,
) -> Result<T, SettingsError> {
    value.ok_or_else(|| SettingsError::Missing {
        place: given.place(key),
        key,
        example,
    })
}

/// The token among systemd's credentials, if it is there.
fn credential(folder: &Path, agent_uid: u32) -> Option<SecretFile> {
    let path = folder.join(CREDENTIAL);
    let keeper = Keeper::Systemd { uid: agent_uid };
    path.exists().then_some(SecretFile { path, keeper })
}

fn client_cert(
    cert_file: Option<PathBuf>,
    key_file: Option<SecretFile>,
    given: &Given,
) -> Result<Option<ClientCert>, SettingsError> {
    let breaks = |key, rule| Err(given.invalid(key, rule).into());
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Ok(Some(ClientCert {
            cert_file,
            key_file,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => breaks(
            "server.client_cert_file",
            "needs its key in `server.client_key_file`",
        ),
        (None, Some(_)) => breaks(
            "server.client_key_file",
            "needs its certificate in `server.client_cert_file`",
        ),
    }
}

/// A token goes only where others cannot read it, and certificates are for `https://`.
fn check_privacy(server: &Server, given: &Given) -> Result<(), SettingsError> {
    if server.token.is_some() && !server.is_private() {
        let rule = "must start with https://, since a token goes there and others could read it";
        return Err(given.invalid("server.url", rule).into());
    }
    let https_keys = [
        ("server.ca_file", server.ca_file.is_some()),
        ("server.client_cert_file", server.client_cert.is_some()),
    ];
    for (key, is_set) in https_keys {
        if is_set && !server.is_https() {
            let rule = "is of use only with an https:// `server.url`";
            return Err(given.invalid(key, rule).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
