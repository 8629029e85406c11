//! From the tables of the file to what they mean together, with rules that span several keys.

use std::path::{Path, PathBuf};

use super::boards::{Board, DEFAULT_BAUD, MAX_BOARDS};
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
) -> Result<Vec<Board>, SettingsError> {
    let mut boards: Vec<Board> = Vec::new();
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
        let board = Board {
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
mod tests {
    use super::super::document::{Document, SCHEMA};
    use super::*;
    use crate::plugin::Format;
    use crate::toml_reader::{self, Variable};

    fn read_server(text: &str, credentials: Option<&Path>) -> Result<Server, String> {
        let file = Path::new("a.toml");
        let (document, given): (Document, _) =
            toml_reader::parse(file, text, &SCHEMA, &[]).map_err(|error| error.to_string())?;
        let table = document.server.unwrap_or_default();
        server(Path::new("/etc/mote"), table, &given, 7, credentials)
            .map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        read_server(text, None).unwrap_err()
    }

    #[test]
    fn files_start_at_the_folder_and_an_empty_name_is_none() {
        let text = "[server]\nurl = 'http://localhost'\ntoken_file = 'token'\nca_file = ''\nclient_key_file = ''";
        let server = read_server(text, None).unwrap();
        let keeper = Keeper::Owner { uid: 7 };
        let path = PathBuf::from("/etc/mote/token");
        assert_eq!(server.token, Some(SecretFile { path, keeper }));
        assert_eq!((server.ca_file, server.client_cert), (None, None));
    }

    #[test]
    fn a_credential_of_systemd_stands_in_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let token = |text: &str| read_server(text, Some(folder.path())).map(|it| it.token);
        let url = "server.url = 'http://127.0.0.1'\n";
        assert_eq!(token(url), Ok(None));
        let path = folder.path().join("mote.token");
        std::fs::write(&path, "").unwrap();
        let keeper = Keeper::Systemd { uid: 7 };
        assert_eq!(token(url), Ok(Some(SecretFile { path, keeper })));
        let named = token(&format!("{url}server.token_file = '/t'")).unwrap();
        assert_eq!(named.unwrap().path, Path::new("/t"));
        let error = token("[server]\nurl = 'http://h'").unwrap_err();
        assert_eq!(
            error,
            "a.toml:2: `server.url` must start with https://, since a token goes there and others could read it"
        );
    }

    #[test]
    fn a_token_leaves_the_machine_encrypted_only() {
        let taken = |url: &str| {
            read_server(
                &format!("server.url = '{url}'\nserver.token_file = 't'"),
                None,
            )
        };
        for url in [
            "http://127.0.0.1:9000",
            "http://127.8.9.1",
            "http://[::1]:9",
            "http://LocalHost/a",
        ] {
            assert!(taken(url).is_ok(), "{url}");
        }
        for url in [
            "http://h",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::2]",
            "http://[::ffff:10.0.0.1]",
        ] {
            let says = "a.toml:1: `server.url` must start with https://, since a token goes there and others could read it";
            assert_eq!(taken(url), Err(says.to_owned()), "{url}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_certificate_and_its_key_come_together() {
        let https = "[server]\nurl = 'https://h'\n";
        assert_eq!(
            refusal(&format!("{https}client_cert_file = 'c'")),
            "a.toml:3: `server.client_cert_file` needs its key in `server.client_key_file`"
        );
        assert_eq!(
            refusal(&format!("{https}client_key_file = 'k'")),
            "a.toml:3: `server.client_key_file` needs its certificate in `server.client_cert_file`"
        );
        let both = format!("{https}client_cert_file = 'c'\nclient_key_file = 'k'");
        let own = read_server(&both, None).unwrap().client_cert.unwrap();
        assert_eq!(own.cert_file, Path::new("/etc/mote/c"));
        assert_eq!(own.key_file.path, Path::new("/etc/mote/k"));
    }

    #[test]
    fn certificates_without_https_are_a_mistake() {
        for (key, other) in [
            ("ca_file", ""),
            ("client_cert_file", "client_key_file = 'k'"),
        ] {
            let text = format!("[server]\nurl = 'http://localhost'\n{key} = 'x'\n{other}");
            let error = "is of use only with an https:// `server.url`";
            assert_eq!(refusal(&text), format!("a.toml:3: `server.{key}` {error}"));
        }
    }

    fn variable(name: &str, text: &str) -> [Variable; 1] {
        let (name, text) = (name.to_owned(), text.to_owned());
        [Variable { name, text }]
    }

    fn read_boards(text: &str, variables: &[Variable]) -> Result<Vec<Board>, String> {
        let file = Path::new("a.toml");
        let (document, given): (Document, _) = toml_reader::parse(file, text, &SCHEMA, variables)
            .map_err(|error| error.to_string())?;
        let own = ClientName::Number(1);
        boards(Path::new("/etc"), document.board, &given, &own).map_err(|error| error.to_string())
    }

    fn read_commands(text: &str) -> Result<Vec<PluginCommand>, String> {
        let (document, given): (Document, _) =
            toml_reader::parse(Path::new("a.toml"), text, &SCHEMA, &[])
                .map_err(|error| error.to_string())?;
        let listed = document.plugins.unwrap_or_default();
        commands(document.plugin, &given, &listed).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_has_a_name_a_path_and_arguments() {
        let text = "[[plugin]]\nname = 'check_disk'\ncommand = ['/x/check_disk', '-w', '10%']\nformat = 'nagios'\n\
                    [[plugin]]\nname = 'own'\ncommand = ['/x/own']\n";
        let expected = [
            ("check_disk", vec!["-w", "10%"], Format::Nagios),
            ("own", vec![], Format::Json),
        ];
        let expected = expected.map(|(name, arguments, format)| PluginCommand {
            name: name.to_owned(),
            path: Path::new("/x").join(name),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            format,
        });
        assert_eq!(read_commands(text), Ok(expected.to_vec()));
    }

    #[test]
    fn a_command_that_cannot_run_is_refused() {
        let named = "[[plugin]]\nname = 'a'\n";
        for (text, error) in [
            (
                "[[plugin]]\ncommand = ['/a']",
                "a.toml:1: `plugin` needs a name, like `name = \"check_disk\"`",
            ),
            (
                named,
                "a.toml:1: `plugin` needs a command, like `command = [\"/usr/lib/nagios/plugins/check_disk\", \"-w\", \"10%\"]`",
            ),
            (
                "[[plugin]]\nname = 'a/b'",
                "a.toml:2: `plugin.name` must be a name without `/` and without a leading dot",
            ),
            (
                &format!("{named}format = 'xml'"),
                "a.toml:3: `plugin.format` must be \"json\" or \"nagios\"",
            ),
            (
                "plugins = ['a']\n[[plugin]]\nname = 'a'\ncommand = ['/a']",
                "a.toml:3: `plugin.name` must not be that of another plugin",
            ),
            (
                "[[plugin]]\nname = 'get_linux_cpu'\ncommand = ['/a']",
                "a.toml:2: `plugin.name` must not be that of a probe of this agent",
            ),
        ] {
            assert_eq!(read_commands(text), Err(error.to_owned()), "{text}");
        }
        for command in [
            "[]",
            "['a']",
            "'/a'",
            "['/a', 1]",
            &format!("['/{}']", "a".repeat(200)),
            &format!("['/a'{}]", ", ''".repeat(32)),
        ] {
            let error = read_commands(&format!("{named}command = {command}")).unwrap_err();
            assert!(
                error.starts_with("a.toml:3: `plugin.command` must be an absolute path"),
                "{error}"
            );
        }
    }

    fn board(device: &str, client_id: ClientName, baud: u32) -> Board {
        Board {
            device: device.into(),
            client_id,
            baud,
        }
    }

    #[test]
    fn boards_come_from_the_file_or_from_the_environment() {
        let expected = vec![
            board("/dev/ttyACM0", ClientName::Number(7), 115_200),
            board("/dev/b", ClientName::Name("pico".to_owned()), 9600),
        ];
        let text = "[[board]]\ndevice = '/dev/ttyACM0'\nclient_id = 7\n\
                    [[board]]\nclient_id = 'pico'\nbaud = 9_600\ndevice = '../dev/b'\n";
        assert_eq!(read_boards(text, &[]), Ok(expected.clone()));

        let value = "[{ device = '/dev/ttyACM0', client_id = 7 }, \
                     { device = '../dev/b', client_id = 'pico', baud = 9600 }]";
        assert_eq!(
            read_boards("", &variable("MOTE_BOARD", value)),
            Ok(expected)
        );
        assert_eq!(read_boards("", &[]), Ok(vec![]));
    }

    #[test]
    fn a_fault_is_named_with_its_line_and_rule() {
        let first = "[[board]]\ndevice = 'a'\nclient_id = 7\n";
        let rates = "1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, \
                     576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, \
                     4000000";
        for (text, error) in [
            (
                "[[board]]\n\nclient_id = 7",
                "a.toml:1: `board` needs a device, like `device = \"/dev/serial/by-id/…\"`",
            ),
            (
                "\n[[board]]\ndevice = 'a'",
                "a.toml:2: `board` needs a client id, like `client_id = 7`",
            ),
            (
                "[[board]]\ndevice = 7",
                "a.toml:2: `board.device` must be a path in quotes",
            ),
            (
                "[[board]]\ndevice = 'a'\nclient_id = 1",
                "a.toml:3: `board.client_id` must not be the agent's own",
            ),
            (
                "[[board]]\ndevice = 'a'\nclient_id = '1'",
                "a.toml:3: `board.client_id` must not be the agent's own",
            ),
            (
                &format!("{first}[[board]]\ndevice = 'b'\nclient_id = 7"),
                "a.toml:6: `board.client_id` must not be that of another board",
            ),
            (
                &format!("{first}[[board]]\ndevice = './a'\nclient_id = 8"),
                "a.toml:5: `board.device` must not be that of another board",
            ),
            (
                &format!("{first}baud = 115201"),
                &format!("a.toml:4: `board.baud` must be one of {rates}"),
            ),
            (
                "[[board]]\ndevise = 'a'",
                "a.toml:2: there is no setting `board.devise`; the nearest is `board.device`",
            ),
            (
                "[board]\ndevice = 'a'",
                "a.toml:1: `board` must be a list of tables: give each of them under [[board]]",
            ),
            (
                "board = [1]",
                "a.toml:1: `board` must be a list of tables: give each of them under [[board]]",
            ),
            (
                "[[boards]]\ndevice = 'a'",
                "a.toml:1: there is no setting `boards`; the nearest is `board`",
            ),
        ] {
            assert_eq!(read_boards(text, &[]), Err(error.to_owned()), "{text}");
        }
        let text: String = (0..17)
            .map(|n| format!("[[board]]\ndevice = '{n}'\nclient_id = {}\n", n + 7))
            .collect();
        let error = "a.toml:49: `board` is one more than the 16 that there may be";
        assert_eq!(read_boards(&text, &[]), Err(error.to_owned()));
    }

    #[test]
    fn a_variable_is_named() {
        for (name, value, error) in [
            (
                "MOTE_BOARD",
                "[{ device = 'a' }]",
                "MOTE_BOARD: `board` needs a client id, like `client_id = 7`",
            ),
            (
                "MOTE_BOARD__DEVICE",
                "a",
                "the environment variable MOTE_BOARD__DEVICE names no setting; the nearest is MOTE_BOARD",
            ),
        ] {
            assert_eq!(
                read_boards("", &variable(name, value)),
                Err(error.to_owned())
            );
        }
    }
}
