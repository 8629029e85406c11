//! Checks of the Nagios kind: those of Debian's package monitoring-plugins-basic, as the settings give them.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use mote_test_support::need;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};

const FOLDER: &str = "/usr/lib/nagios/plugins";

pub(super) fn checks(test: &str) -> Option<()> {
    let is_there = Path::new(FOLDER).join("check_disk").exists();
    let found = is_there.then_some(()).ok_or_else(|| {
        format!("{FOLDER}/check_disk is missing: apt-get install monitoring-plugins-basic")
    });
    need(test, found)
}

/// The table of a check, whose name is that of its service too.
pub(super) fn table(name: &str, command: &[&str]) -> String {
    format!("[[plugin]]\nname = {name:?}\ncommand = {command:?}\nformat = \"nagios\"\n")
}

pub(super) fn path(check: &str) -> String {
    format!("{FOLDER}/{check}")
}

#[test]
fn states_and_performance_data_of_real_checks_arrive() {
    let test = "plugins::checks::states_and_performance_data_of_real_checks_arrive";
    if checks(test).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let [disk, load, procs, tcp, dummy, users, file_age] = [
        "check_disk",
        "check_load",
        "check_procs",
        "check_tcp",
        "check_dummy",
        "check_users",
        "check_file_age",
    ]
    .map(path);
    let commands: [(&str, &[&str]); 9] = [
        ("disk", &[&disk, "-w", "0%", "-c", "0%", "-p", "/"]),
        ("disk_full", &[&disk, "-c", "100%", "-p", "/"]),
        (
            "load",
            &[&load, "-w", "9999,9999,9999", "-c", "99999,99999,99999"],
        ),
        ("procs", &[&procs, "-c", "1:1000000"]),
        ("tcp", &[&tcp, "-H", "127.0.0.1", "-p", &port]),
        ("warning", &[&dummy, "1", "a 'quoted' | sign"]),
        ("unknown", &[&dummy, "3", "cannot tell"]),
        ("users", &[&users, "-w", "1000", "-c", "2000"]),
        (
            "age",
            &[
                &file_age,
                "-w",
                "999999999",
                "-c",
                "9999999999",
                "/etc/passwd",
            ],
        ),
    ];
    let mut tables = String::new();
    let mut services = String::new();
    for (name, command) in &commands {
        tables += &table(name, command);
        write!(services, "{name:?}: [{name:?}, 1], ").unwrap();
    }
    let services = format!("{{{}}}", services.trim_end_matches(", "));
    let server = Server::new(&services);
    let site = Site::new(&format!("{}\n{tables}", server_settings(&server.url(), "")));
    let agent = site.run();
    let data = |service: &str| server.wait_for_more(service, 1)[0]["data"].clone();

    let of_disk = data("disk");
    assert_eq!(
        (&of_disk["status"], &of_disk["state"]),
        (&json!(0), &json!(0)),
        "{of_disk}"
    );
    assert!(
        of_disk["text"].as_str().unwrap().starts_with("DISK OK"),
        "{of_disk}"
    );
    let root = &of_disk["data"]["/"];
    // The package's version decides.
    let unit: u64 = match root["unit"].as_str() {
        Some("B") => 1,
        Some("MiB" | "MB") => 1 << 20,
        other => panic!("{other:?}: {of_disk}"),
    };
    let total = nix::sys::statvfs::statvfs("/").unwrap();
    let total = total.blocks() * total.fragment_size();
    let max = root["max"].as_u64().unwrap();
    assert!(root["value"].as_u64().unwrap() <= max, "{of_disk}");
    // The check may leave out what is kept for root.
    let max = max * unit;
    assert!(
        max <= total + unit && max > total / 2,
        "{max} of {total}: {of_disk}"
    );

    assert_eq!(data("disk_full")["state"], 2);
    for label in ["load1", "load5", "load15"] {
        assert!(data("load")["data"][label]["value"].as_f64().unwrap() >= 0.0);
    }
    assert!(data("procs")["data"]["procs"]["value"].as_u64() > Some(1));
    let of_tcp = data("tcp");
    assert_eq!(of_tcp["data"]["time"]["unit"], "s", "{of_tcp}");
    assert_eq!(
        data("warning"),
        json!({"status": 0, "state": 1, "text": "WARNING: a 'quoted'"})
    );
    let of_unknown = data("unknown");
    assert_eq!(
        (&of_unknown["status"], &of_unknown["state"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(of_unknown["error"], "UNKNOWN: cannot tell");
    for service in ["users", "age"] {
        let data = data(service);
        assert_eq!(data["state"], 0, "{service}: {data}");
        assert!(data["data"].is_object(), "{service}: {data}");
    }
    drop(agent);
}

#[test]
fn a_command_gets_its_arguments_as_they_are_and_no_shell() {
    let server = Server::new(r#"{"Own": ["own", 0.2]}"#);
    let printf = r#"{"a": "%s", "b": "%s", "c": "%s", "d": "%s"}"#;
    let command = ["/usr/bin/printf", printf, "$HOME; *", "", "a b", "ä"];
    let table = format!("[[plugin]]\nname = \"own\"\ncommand = {command:?}\n");
    let site = Site::new(&format!("{}\n{table}", server_settings(&server.url(), "")));
    let _agent = site.run();
    let data: Value = server.wait_for_more("Own", 1)[0]["data"].clone();
    assert_eq!(
        data,
        json!({"status": 0, "a": "$HOME; *", "b": "", "c": "a b", "d": "ä"})
    );
    // `mote probe` runs it the same way.
    let probed = site.call(&["probe", "own"]);
    assert!(probed.out.contains(r#""a":"$HOME; *""#), "{probed:?}");
}
