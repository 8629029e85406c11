//! Rules that span several keys: the server, plugins and boards.

use super::super::document::{Document, SCHEMA};
use super::*;
use crate::plugin::Format;
use crate::toml_reader::{self, Variable};

fn read_server(text: &str, credentials: Option<&Path>) -> Result<Server, String> {
    let file = Path::new("a.toml");
    let (document, given): (Document, _) =
        toml_reader::parse(file, text, &SCHEMA, &[]).map_err(|error| error.to_string())?;
    let table = document.server.unwrap_or_default();
    server(Path::new("/etc/mote"), table, &given, 7, credentials).map_err(|error| error.to_string())
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

fn read_boards(text: &str, variables: &[Variable]) -> Result<Vec<BoardSettings>, String> {
    let file = Path::new("a.toml");
    let (document, given): (Document, _) =
        toml_reader::parse(file, text, &SCHEMA, variables).map_err(|error| error.to_string())?;
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

fn board(device: &str, client_id: ClientName, baud: u32) -> BoardSettings {
    BoardSettings {
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
