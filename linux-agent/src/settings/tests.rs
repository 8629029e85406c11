//! Settings as a whole: from files, and with the environment.

use super::*;
#[cfg(feature = "tls")]
use crate::system::secret::{Keeper, SecretFile};
use std::os::unix::ffi::OsStringExt;
use tempfile::TempDir;

const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf");
const EXAMPLE: &str = include_str!("../../../conf/agent.toml");
const MINIMAL: &str = "client_id = 1\n[server]\nurl = \"http://h\"\n";

/// A folder whose file `conf/agent.toml` holds `text`.
fn folder_with(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    fs::write(folder.path().join("conf/agent.toml"), text).unwrap();
    folder
}

fn load(folder: &TempDir, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let file = folder.path().join("conf/agent.toml");
    Settings::load_with(Some(&file), &[], environment).map_err(|error| {
        error
            .to_string()
            .replace(file.to_str().unwrap(), "agent.toml")
    })
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    load(&folder_with(text), variables)
}

fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
    load_text(text, variables).unwrap_err()
}

/// The example with every default that it shows in a comment put into force.
fn example_with_defaults() -> String {
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// All but those that stand in the place of a server, or for boards.
fn keys_with_defaults() -> impl Iterator<Item = &'static str> {
    let keys = SCHEMA.keys.iter().map(|key| key.path);
    keys.take_while(|key| *key != "services")
}

#[test]
fn the_example_shows_every_key_and_its_true_default() {
    let shown = example_with_defaults();
    let file = Path::new("agent.toml");
    let (_, given): (Document, _) = toml_reader::parse(file, &shown, &SCHEMA, &[]).unwrap();
    for key in keys_with_defaults() {
        assert!(given.has(key), "{key} is not shown");
    }
    let folder = folder_with(EXAMPLE);
    let as_it_is = load(&folder, &[]).unwrap();
    fs::write(&as_it_is.file, shown).unwrap();
    assert_eq!(load(&folder, &[]), Ok(as_it_is));
}

#[test]
fn the_example_of_local_services_is_valid() {
    let example = EXAMPLE
        .lines()
        .find_map(|line| line.strip_prefix("# services = "))
        .unwrap();
    let settings = load_text(&format!("client_id = 1\nservices = {example}\n"), &[]).unwrap();
    let OrdersFrom::Local { document, place } = settings.orders_from else {
        panic!("{:?}", settings.orders_from);
    };
    assert_eq!(
        document,
        r#"{"services":{"LinuxCPU":["get_linux_cpu",15],"LinuxMemory":["get_memory_info",60]}}"#
    );
    assert!(place.to_string().ends_with("/conf/agent.toml:2"), "{place}");
}

#[test]
fn the_example_asks_the_example_collector() {
    let file = Path::new(CONF).join("agent.toml");
    let settings = Settings::load_with(Some(&file), &[], []).unwrap();
    assert_eq!(settings.client_id, ClientName::Number(1));
    let OrdersFrom::Server(server) = settings.orders_from else {
        panic!("{:?}", settings.orders_from);
    };
    assert_eq!(server.url, "http://127.0.0.1:9000");
    let root = Path::new(CONF).parent().unwrap().canonicalize().unwrap();
    assert_eq!(settings.state_dir, root.join("var"));
    assert_eq!(settings.plugins.folder, root.join("plugins"));
}

#[test]
fn the_systemd_unit_and_the_command_line_have_the_same_places() {
    let unit = include_str!("../../../conf/mote.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key));
    let start = value("ExecStart=").unwrap();
    let file = Path::new(start.rsplit(' ').next().unwrap());
    assert!(DEFAULT_FILES.map(Path::new).contains(&file));
    let folder = file.parent().unwrap();
    let settings = Settings::parse(file, folder, EXAMPLE, &[]).unwrap();
    let state_dir = Path::new("/var/lib").join(value("StateDirectory=").unwrap());
    assert_eq!(settings.state_dir, state_dir);
    assert_eq!(settings.plugins.folder, Path::new("/etc/mote/plugins"));
    assert_eq!(value("User="), Some(SYSTEM_USER));
    // No variable says to the unit what the command line does not know.
    assert_eq!(value("Environment="), None);
}

#[cfg(feature = "tls")]
const OTHER_VALUES: &[(&str, &str)] = &[
    ("client_id", "\"web-1\""),
    ("state_dir", "\"/s\""),
    ("user", "\"mote\""),
    ("plugin_user", "\"mote-plugin\""),
    ("plugin_dir", "\"/p\""),
    ("plugins", "[\"a\", \"b\"]"),
    ("plugin_timeout_s", "0.5"),
    ("first_sample_spread_s", "0"),
    ("procfs", "\"/host/proc\""),
    ("sysfs", "\"/host/sys\""),
    ("rootfs", "\"/host\""),
    ("server.url", "\"https://[::1]:443/base/\""),
    ("server.token_file", "\"/t\""),
    ("server.ca_file", "\"/ca\""),
    ("server.client_cert_file", "\"/cert\""),
    ("server.client_key_file", "\"/key\""),
    ("server.get_configs.path", "\"/c/\""),
    ("server.get_configs.method", "\"POST\""),
    ("server.service_report.path", "\"/r/\""),
    ("server.service_report.method", "\"POST\""),
    ("server.service_report.encoding", "\"form\""),
    ("server.service_report.attempts", "7"),
    ("server.service_report.fields.client_id", "\"client_ip\""),
    ("server.service_report.fields.service_name", "\"service\""),
    ("server.service_report.fields.data", "\"values\""),
    ("server.service_report.fields.time", "\"when\""),
    ("server.service_report.fields.boot", "\"run\""),
    ("server.service_report.fields.seq", "\"number\""),
    ("server.service_report.fields.uptime", "\"up\""),
    ("server.service_report.fields.uptime_ms", "\"up_ms\""),
    ("server.service_report.fields.age", "\"old\""),
    ("server.request_timeout_s", "1.5"),
    ("server.config_update_interval_s", "60"),
    ("queue.max_bytes", "1000000"),
    ("queue.max_age_s", "3600"),
    ("queue.durability", "\"power\""),
    ("queue.sync_interval_s", "0.5"),
];

#[cfg(feature = "tls")]
fn secret(path: &str) -> SecretFile {
    let agent_uid = geteuid().as_raw();
    SecretFile {
        path: path.into(),
        keeper: Keeper::Owner { uid: agent_uid },
    }
}

// Some keys go with https:// only.
#[cfg(feature = "tls")]
#[test]
fn every_key_takes_effect_from_the_file_and_from_the_environment() {
    let expected = |file: PathBuf| Settings {
        file,
        client_id: ClientName::Name("web-1".to_owned()),
        state_dir: "/s".into(),
        user: Some("mote".to_owned()),
        plugin_user: Some("mote-plugin".to_owned()),
        plugins: Plugins {
            folder: "/p".into(),
            allowed: vec!["a".to_owned(), "b".to_owned()],
            commands: vec![],
            time_limit: Duration::from_millis(500),
        },
        first_sample_spread: Duration::ZERO,
        roots: Roots {
            procfs: "/host/proc".into(),
            sysfs: "/host/sys".into(),
            rootfs: "/host".into(),
        },
        orders_from: OrdersFrom::Server(Server {
            url: "https://[::1]:443/base".to_owned(),
            token: Some(secret("/t")),
            ca_file: Some("/ca".into()),
            client_cert: Some(ClientCert {
                cert_file: "/cert".into(),
                key_file: secret("/key"),
            }),
            config_path: "c".to_owned(),
            config_method: Method::Post,
            report_path: "r/".to_owned(),
            report_encoding: Encoding::Form,
            report_attempts: 7,
            field_names: FieldNames::new(
                [
                    ("client_id", "client_ip"),
                    ("service_name", "service"),
                    ("data", "values"),
                    ("time", "when"),
                    ("boot", "run"),
                    ("seq", "number"),
                    ("uptime", "up"),
                    ("uptime_ms", "up_ms"),
                    ("age", "old"),
                ]
                .map(|(field, name)| (field.to_owned(), name.to_owned()))
                .into(),
            ),
            request_timeout: Duration::from_millis(1500),
            config_update_interval: Duration::from_secs(60),
        }),
        queue: QueueLimits {
            max_bytes: 1_000_000,
            max_age: Duration::from_secs(3600),
            sync_interval: Some(Duration::from_millis(500)),
        },
        boards: vec![],
    };
    let keys: Vec<_> = OTHER_VALUES.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, keys_with_defaults().collect::<Vec<_>>());

    let lines: String = OTHER_VALUES
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let settings = load_text(&lines, &[]).unwrap();
    assert_eq!(settings, expected(settings.file.clone()));

    // In the environment a string needs no quotes.
    let names: Vec<_> = keys.iter().map(|key| SCHEMA.variable(key)).collect();
    let values = OTHER_VALUES
        .iter()
        .map(|(_, value)| value.trim_matches('"'));
    let variables: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
    let settings = load_text(EXAMPLE, &variables).unwrap();
    assert_eq!(settings, expected(settings.file.clone()));

    let services = [("MOTE_SERVICES", "{ A = [\"b\", 0.5] }")];
    let settings = load_text("client_id = 1", &services).unwrap();
    assert_eq!(
        settings.orders_from,
        OrdersFrom::Local {
            document: r#"{"services":{"A":["b",0.5]}}"#.to_owned(),
            place: Place::Variable("MOTE_SERVICES".to_owned()),
        }
    );
}

#[test]
fn every_key_refuses_a_value_of_another_type_and_names_its_line() {
    for key in SCHEMA.keys.iter().map(|key| key.path) {
        let (key, text) = match key.split_once("[].") {
            Some((table, key)) => (
                format!("{table}.{key}"),
                format!("\n[[{table}]]\n{key} = 1979-05-27"),
            ),
            None => (key.to_owned(), format!("\n\n{key} = 1979-05-27")),
        };
        let error = refusal(&text, &[]);
        let start = format!("agent.toml:3: `{key}` must be ");
        assert!(error.starts_with(&start), "{error}");
    }
    for (variable, text, key) in [
        ("MOTE_PLUGIN_TIMEOUT_S", "soon", "plugin_timeout_s"),
        ("MOTE_QUEUE__DURABILITY", "eternal", "queue.durability"),
        ("MOTE_SERVER__URL", "h", "server.url"),
        ("MOTE_PLUGINS", "/bin/sh", "plugins"),
        ("MOTE_SERVICES", "cpu", "services"),
        ("MOTE_BOARD", "/dev/ttyACM0", "board"),
    ] {
        let error = refusal("", &[(variable, text)]);
        let start = format!("{variable}: `{key}` must be ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn a_value_out_of_bounds_is_named_with_its_line_and_rule() {
    for (line, error) in [
        (
            "plugin_timeout_s = 0",
            "agent.toml:2: `plugin_timeout_s` must be a number from 0.1 to 3600 (seconds)",
        ),
        (
            "first_sample_spread_s = -1",
            "agent.toml:2: `first_sample_spread_s` must be a number from 0 to 604800 (seconds)",
        ),
        (
            "server.request_timeout_s = 601",
            "agent.toml:2: `server.request_timeout_s` must be a number from 0.1 to 600 (seconds)",
        ),
        (
            "server.config_update_interval_s = 0.9",
            "agent.toml:2: `server.config_update_interval_s` must be a number from 1 to 604800 (seconds)",
        ),
        (
            "queue.max_bytes = 65535",
            "agent.toml:2: `queue.max_bytes` must be an integer from 65536 to 1073741824 (bytes)",
        ),
        (
            "queue = { max_age_s = 0 }",
            "agent.toml:2: `queue.max_age_s` must be an integer from 1 to 31536000 (seconds)",
        ),
        (
            "server.service_report = { method = \"GET\" }",
            "agent.toml:2: `server.service_report.method` must be \"POST\"",
        ),
        (
            "server.get_configs = {\n method = \"put\" }",
            "agent.toml:3: `server.get_configs.method` must be \"GET\" or \"POST\"",
        ),
        (
            "server.service_report.fields = {\n time = 5 }",
            "agent.toml:3: `server.service_report.fields.time` must be a name of 1 to 64 bytes without control characters",
        ),
        (
            "server.service_report.fields = {\n time = 'seq' }",
            "agent.toml:3: `server.service_report.fields.time` must not be the name of another field",
        ),
        (
            "server.service_report.fields = { tme = 't' }",
            "agent.toml:2: there is no setting `server.service_report.fields.tme`; the nearest is `server.service_report.fields.time`",
        ),
        (
            "server.service_report.attempts = 0",
            "agent.toml:2: `server.service_report.attempts` must be an integer from 1 to 100 (tries)",
        ),
        (
            "server.service_report.encoding = \"xml\"",
            "agent.toml:2: `server.service_report.encoding` must be \"json\" or \"form\"",
        ),
    ] {
        let text = format!("client_id = 1\n{line}\nserver.url = \"http://h\"\n");
        assert_eq!(refusal(&text, &[]), error);
    }
}

#[test]
fn what_must_be_given_is_asked_for() {
    assert_eq!(
        refusal("[server]\nurl = \"http://h\"", &[]),
        "agent.toml: `client_id` is missing; give it like `client_id = 1`"
    );
    assert_eq!(
        refusal("client_id = 1\n[server]\nrequest_timeout_s = 1", &[]),
        "agent.toml:2: `server.url` is missing; give it like `url = \"http://127.0.0.1:9000\"`"
    );
    assert_eq!(
        refusal("client_id = 1\n", &[]),
        "agent.toml: there is neither a [server] nor `services`, so there is nothing to monitor; give one of them"
    );
    assert_eq!(
        refusal(
            "client_id = 1\nserver.url = \"http://h\"\nservices = {}",
            &[]
        ),
        "agent.toml: there are both a [server] and `services` (agent.toml:3); remove one of them"
    );
    assert_eq!(
        refusal(MINIMAL, &[("MOTE_SERVICES", "{}")]),
        "agent.toml: there are both a [server] and `services` (MOTE_SERVICES); remove one of them"
    );
}

#[test]
fn the_file_is_looked_for_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, id: u32| {
        let path = folder.path().join(name);
        let text = format!("client_id = {id}\nservices = {{}}\n");
        fs::write(&path, text).unwrap();
        path
    };
    let explicit = file("explicit", 1);
    let named = file("named", 2);
    let second = file("second", 3);
    let missing = folder.path().join("missing");
    let found = |explicit: Option<&Path>, named: &Path| {
        let environment = [
            (OsString::from("MOTE_CONFIG"), named.as_os_str().to_owned()),
            (OsString::from("PATH"), OsString::from("/bin")),
        ];
        Settings::load_with(explicit, &[&missing, &second], environment)
            .map(|settings| settings.client_id)
            .map_err(|error| error.to_string())
    };
    assert_eq!(found(Some(&explicit), &named), Ok(ClientName::Number(1)));
    assert_eq!(found(None, &named), Ok(ClientName::Number(2)));
    // An empty variable is an unset one.
    assert_eq!(found(None, Path::new("")), Ok(ClientName::Number(3)));

    // A file that was named is not replaced by another.
    let error = found(Some(&missing), &named).unwrap_err();
    assert!(
        error.starts_with(&format!("{}: ", missing.display())),
        "{error}"
    );
    let error = found(None, &missing).unwrap_err();
    assert!(
        error.starts_with(&format!("{}: ", missing.display())),
        "{error}"
    );

    let other = folder.path().join("other");
    let error = Settings::load_with(None, &[&missing, &other], []).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "there is no settings file: looked for {} and {}; name one with --config or MOTE_CONFIG",
            missing.display(),
            other.display()
        )
    );
}

#[test]
fn a_fifo_is_no_settings_file() {
    let folder = folder_with("");
    let file = folder.path().join("conf/agent.toml");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let expected = "agent.toml: it is a pipe (FIFO), and not a regular file";
    assert_eq!(load(&folder, &[]), Err(expected.to_owned()));
}

#[test]
fn a_variable_of_the_tests_is_no_setting() {
    assert!(load_text(MINIMAL, &[("MOTE_ALLOW_SKIP", "1")]).is_ok());
}

#[test]
fn a_variable_that_is_not_utf_8_is_named() {
    let folder = folder_with(MINIMAL);
    let value = OsString::from_vec(vec![b'/', 0xff]);
    let error = Settings::load_with(
        Some(&folder.path().join("conf/agent.toml")),
        &[],
        [(OsString::from("MOTE_STATE_DIR"), value)],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the value of the environment variable MOTE_STATE_DIR is not UTF-8"
    );
}
