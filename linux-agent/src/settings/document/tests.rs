//! Which keys and values are refused, and in which words.

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
            format!("the environment variable {name} names no setting; the nearest is {nearest}")
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
