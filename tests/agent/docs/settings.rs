//! The tables of settings against `conf/` and the program.

use std::collections::BTreeMap;
#[cfg(feature = "serve")]
use std::collections::BTreeSet;
use std::fs;

use super::pages::{doc, name, root, rows};
use mote_test_support::mote;
use mote_test_support::site::{Said, said};
use tempfile::TempDir;
use toml::Value;

/// A file of `conf/` with the keys in force that it shows in comments.
fn example(file: &str) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(root().join("conf").join(file)).expect("a text");
    let lines = text.lines().map(|line| {
        let bare = line
            .strip_prefix('#')
            .map(|it| it.strip_prefix(' ').unwrap_or(it));
        let is_key = |it: &str| {
            let (key, value) = it.split_once(" = ").unwrap_or_default();
            let is_word =
                |c: char| c.is_ascii_lowercase() || "_.".contains(c) || c.is_ascii_digit();
            !key.is_empty()
                && key.chars().all(is_word)
                && toml::from_str::<toml::Table>(&format!("k = {value}")).is_ok()
        };
        let is_table = |it: &str| {
            let tables = [
                "[[board]]",
                "[[plugin]]",
                "[users.",
                "[alarms.",
                "[notify.",
                "[templates.",
            ];
            it.ends_with(']') && tables.iter().any(|table| it.starts_with(table))
        };
        match bare {
            // In place of a server: it cannot be beside it.
            Some(bare) if bare.starts_with("services = ") => "",
            Some(bare) if is_key(bare) || is_table(bare) => bare,
            _ => line,
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let table: toml::Table =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut keys = BTreeMap::new();
    flatten("", &table, &mut keys);
    keys
}

fn flatten(parent: &str, table: &toml::Table, keys: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = format!("{parent}{key}");
        match value {
            Value::Table(table) => flatten(&format!("{key}."), table, keys),
            Value::Array(tables) if tables.first().is_some_and(Value::is_table) => {
                for table in tables.iter().filter_map(Value::as_table) {
                    flatten(&format!("{key}."), table, keys);
                }
            }
            value => drop(keys.insert(key, value.clone())),
        }
    }
}

/// The same value, written in TOML; 5 and 5.0 are.
fn is_same(told: &str, value: &Value) -> bool {
    let told: toml::Table = toml::from_str(&format!("k = {told}")).expect("a value");
    told["k"] == *value
}

#[test]
fn the_keys_and_defaults_of_the_agent_are_those_of_the_example() {
    let page = doc("settings");
    let mut shown = example("agent.toml");
    // It stands in a comment, in place of a server.
    shown.insert("services".to_owned(), Value::Boolean(false));
    for row in rows(&page.text).iter().filter(|row| row.len() == 4) {
        let key = name(&row[0]);
        let value = shown.remove(key);
        let value = value.unwrap_or_else(|| panic!("conf/agent.toml has no {key}"));
        if let Some(told) = row[1].strip_prefix('`') {
            let told = told.trim_end_matches('`');
            assert!(is_same(told, &value), "{key}: {told}, but {value:?}");
        }
    }
    assert_eq!(shown, BTreeMap::new(), "not in the table");
}

/// Calls a command that reads the settings and then has nothing to do.
fn read(text: &str) -> Said {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("agent.toml");
    fs::write(&file, text).expect("a file");
    said(mote().arg("--config").arg(&file).arg("stop"))
}

/// Keys that are of use only with an https:// address.
const OF_TLS: [&str; 3] = [
    "server.ca_file",
    "server.client_cert_file",
    "server.client_key_file",
];

/// Settings with one key given.
fn settings_with(key: &str, value: &str) -> String {
    let needed = [
        (
            "board",
            [("device", "\"/dev/ttyACM0\""), ("client_id", "7")],
        ),
        ("plugin", [("name", "\"a\""), ("command", "[\"/a\"]")]),
    ];
    for (table, needed) in needed {
        let Some(key) = key.strip_prefix(table).and_then(|it| it.strip_prefix('.')) else {
            continue;
        };
        let mut keys = BTreeMap::from(needed);
        keys.insert(key, value);
        let keys: Vec<_> = keys
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        return format!(
            "client_id = 1\nservices = {{}}\n[[{table}]]\n{}",
            keys.concat()
        );
    }
    let mut keys = BTreeMap::from([("client_id", "1"), ("server.url", "\"http://127.0.0.1:9\"")]);
    if OF_TLS.contains(&key) {
        keys.insert("server.url", "\"https://h\"");
    }
    if key.starts_with("server.client_") {
        keys.insert("server.client_cert_file", "\"one\"");
        keys.insert("server.client_key_file", "\"other\"");
    }
    if key == "services" {
        keys.remove("server.url");
    }
    keys.insert(key, value);
    keys.iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

fn assert_taken(key: &str, value: &str) {
    let said = read(&settings_with(key, value));
    assert_eq!(said.code, 0, "{key} = {value}: {said:?}");
}

fn assert_refused(key: &str, value: &str) {
    let said = read(&settings_with(key, value));
    assert_eq!(said.code, 78, "{key} = {value}: {said:?}");
    let named = key.rsplit('.').next().unwrap_or_default();
    assert!(said.err.contains(named), "{key} = {value}: {said:?}");
}

/// The program takes what the table allows, and nothing beside it.
#[test]
fn the_bounds_of_the_agent_are_those_of_the_table() {
    let page = doc("settings");
    let (mut ranges, mut choices) = (0, 0);
    for row in rows(&page.text).iter().filter(|row| row.len() == 4) {
        let (key, bounds) = (name(&row[0]), row[2].as_str());
        let words: Vec<_> = bounds.split([' ', ',']).collect();
        if let [min, "to", max, ..] = words[..]
            && let (Ok(low), Ok(high)) = (min.parse::<f64>(), max.parse::<f64>())
        {
            ranges += 1;
            assert_taken(key, min);
            assert_taken(key, max);
            let below = match low {
                0.0 => -1.0,
                low if low < 1.0 => low / 2.0,
                low => low - 1.0,
            };
            assert_refused(key, &below.to_string());
            assert_refused(key, &format!("{}", high + 1.0));
        }
        if bounds.contains("a name of 1 to 64 bytes") {
            assert_taken(key, &format!("{:?}", "x".repeat(64)));
            assert_refused(key, &format!("{:?}", "x".repeat(65)));
            assert_refused(key, "\"\"");
        }
        if bounds.starts_with("`\"") {
            choices += 1;
            for choice in bounds.split('`').filter(|it| it.starts_with('"')) {
                assert_taken(key, choice);
            }
            assert_refused(key, "\"something else\"");
        }
        if bounds == "a path" && (cfg!(feature = "tls") || !OF_TLS.contains(&key)) {
            assert_taken(key, "\"some/where\"");
            assert_refused(key, "7");
        }
    }
    assert!(
        ranges >= 8 && choices >= 4,
        "{ranges} ranges, {choices} choices"
    );
    assert_taken("board.baud", "1200");
    assert_taken("board.baud", "4000000");
    assert_refused("board.baud", "115201");
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    let said = read("client_id = 1\n[server]\nurl = \"http://h\"\nrequest_timeout = 1\n");
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("server.request_timeout_s"), "{said:?}");
}

/// A key of the collector as the table has it: what a person chose is NAME.
#[cfg(feature = "serve")]
fn general(key: &str) -> String {
    let mut parts: Vec<_> = key.split('.').collect();
    let named = ["templates", "groups", "hosts", "users", "alarms", "notify"];
    if named.contains(&parts[0]) && parts.len() > 2 {
        parts[1] = "NAME";
        // Whatever a service or an alarm is called.
        parts.truncate(if parts[0] == "notify" { 4 } else { 3 });
    }
    parts.join(".")
}

#[cfg(feature = "serve")]
#[test]
fn the_keys_of_the_collector_are_those_of_the_example() {
    let told = keys_of_the_collector();
    let shown = example("server.toml");
    // An alarm of a template has the keys of one of all hosts.
    let of_alarms = shown.keys().filter_map(|key| {
        let (table, key) = key.rsplit_once('.')?;
        table
            .contains("alarms")
            .then(|| format!("alarms.NAME.{key}"))
    });
    let shown: BTreeSet<_> = shown
        .keys()
        .map(|key| general(key))
        .chain(of_alarms)
        .collect();
    assert_eq!(told, shown);
}

/// Those of the tables in two pages.
#[cfg(feature = "serve")]
fn keys_of_the_collector() -> BTreeSet<String> {
    let (collector, alarms) = (doc("collector"), doc("alarms"));
    let chapters = [
        collector.chapter("## Settings"),
        alarms.chapter("## Alarms of your own"),
        alarms.chapter("## Who hears of it"),
    ];
    let rows = chapters.iter().flat_map(|chapter| rows(chapter));
    // The fields of a message are no keys.
    let keys = rows.filter(|row| row.len() == 3);
    keys.map(|row| name(&row[0]).to_owned()).collect()
}

/// The collector knows each key of the table, and none that is spelt a little differently.
#[cfg(feature = "serve")]
#[test]
fn the_collector_knows_the_keys_of_the_table() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("server.toml");
    // Where the key is known, its value is wrong; where not, the sentence says so.
    let complaint = |key: &str| {
        let key = key.replace("NAME", "name");
        let value = if key.ends_with(".services") || key.ends_with(".alarms") {
            "7"
        } else {
            "{ odd = 1 }"
        };
        let text = format!("{key} = {value}\n");
        fs::write(&file, text).expect("a file");
        let said = said(mote().arg("--config").arg(&file).args(["invite", "name"]));
        assert_eq!(said.code, 78, "{key}: {said:?}");
        said.err
    };
    let is_unknown =
        |sentence: &str| sentence.contains("unknown") || sentence.contains("no setting");
    for key in keys_of_the_collector() {
        let key = key.as_str();
        assert!(!is_unknown(&complaint(key)), "{key}: {}", complaint(key));
        assert!(
            is_unknown(&complaint(&format!("{key}x"))),
            "{key}x: {}",
            complaint(&format!("{key}x"))
        );
    }
}
