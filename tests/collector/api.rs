//! What agents and readers are answered over HTTP, and how a collector begins.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use mote_agent::collector::{Collector, ServeError, ServerSettings};
use serde_json::json;

use super::running::{Running, new_folder, report, settings};

#[test]
fn a_host_gets_its_services_by_number_and_by_name() {
    let collector = Running::new();
    let web = json!({"services": {"LinuxCPU": ["get_linux_cpu", 15], "LinuxLoad": ["get_linux_load", 0.5]}});
    let board = json!({"services": {"LinuxCPU": ["get_linux_cpu", 60], "LinuxLoad": ["get_linux_load", 0.5]}});
    let bare = json!({"services": {}});
    for (id, services) in [("1", web), ("board-7", board), ("3", bare)] {
        for slash in ["", "/"] {
            let answer = collector.get(&format!("/api/client/config/{id}{slash}"));
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.json(), services, "{id}{slash}");
        }
    }
    // Boards read whole numbers only.
    let text = collector.get("/api/client/config/1").body;
    assert!(text.contains(r#"["get_linux_cpu",15]"#), "{text}");
}

#[test]
fn every_id_and_name_of_an_agent_is_served() {
    let name = format!("{}ü/ \"%2f&+", "n".repeat(190));
    assert_eq!(name.len(), 200);
    let long = format!("x{}y", "ü".repeat(31));
    for (id, segment) in [
        ("web 1", "web%201".to_owned()),
        ("a/b", "a%2Fb".to_owned()),
        ("100%2F", "100%252F".to_owned()),
        ("a?b#c", "a%3Fb%23c".to_owned()),
        ("..", "..".to_owned()),
        ("{id}", "%7Bid%7D".to_owned()),
        (&long, format!("x{}y", "%C3%BC".repeat(31))),
    ] {
        let folder = new_folder();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.a]\nid = {id:?}\ntemplates = [\"t\"]\n\
             [templates.t.services]\n{name:?} = [\"p\", 1]\n"
        );
        std::fs::write(folder.path().join("server.toml"), toml).unwrap();
        let collector = Running::at(folder);
        for slash in ["", "/"] {
            let answer = collector.get(&format!("/api/client/config/{segment}{slash}"));
            assert_eq!(answer.status, 200, "{id}");
            assert_eq!(answer.json(), json!({"services": {&name: ["p", 1]}}));
        }
        let sent = report(json!({"client_id": id, "service_name": name}));
        assert_eq!(collector.post_json(&sent).status, 200, "{id}");
        let kept = collector.reports(&format!("client_id={segment}"));
        assert_eq!(kept.len(), 1, "{id}");
        assert_eq!(kept[0]["client_id"], id);
        assert_eq!(kept[0]["service_name"], name);
    }
}

#[test]
fn a_collector_without_hosts_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(
        &path,
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n",
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mote"))
        .args(["serve", "--config"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("mote: no hosts: "), "{line}");
}

#[test]
fn who_is_unknown_is_told_so_in_json() {
    let collector = Running::new();
    for id in ["2", "01", "web", "%ff", "%2e%2e", "1%00", "4294967297"] {
        let answer = collector.get(&format!("/api/client/config/{id}"));
        let expected = if id == "%ff" { 400 } else { 404 };
        assert_eq!(answer.status, expected, "{id}");
        assert!(answer.json()["error"].is_string(), "{id}");
    }
    let answer = collector.post_json(&report(json!({"client_id": 2})));
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json(),
        json!({"error": "no host of the collector's settings has the id \"2\"; add a table such as [hosts.NAME] with that id"})
    );
    for path in ["/nothing", "/api/client/config/", "/api/client/config/1/2"] {
        let answer = collector.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    let answer = collector.get("/api/client/service/report/");
    assert_eq!(answer.status, 405);
    assert!(answer.json()["error"].is_string());
    assert_eq!(collector.reports("").len(), 0);
}

#[test]
fn the_overview_shows_every_service() {
    let collector = Running::new();
    let time = json!({"time": 1795339484.886, "data": {"user": 1.25}});
    assert_eq!(collector.post_json(&report(time)).status, 200);
    let answer = collector.get("/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("refresh"), "2");
    let text = answer.body;
    for part in [
        "web (client 1)\n",
        "board-7 (client board-7)\n",
        "  LinuxCPU: 09:24:44, ",
        "s ago: {\"user\":1.25}\n",
        "  LinuxLoad: nothing yet\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_before_it_starts() {
    let collector = Running::new();
    let mut taken = settings(new_folder().path());
    taken.listen = collector.address;
    let error = Collector::bind(taken).err().unwrap();
    assert!(matches!(error, ServeError::Listen { .. }));
    let address = collector.address.to_string();
    assert!(error.to_string().contains(&address), "{error}");

    let folder = new_folder();
    std::fs::create_dir(folder.path().join("reports.db")).unwrap();
    let error = Collector::bind(settings(folder.path())).err().unwrap();
    assert!(matches!(error, ServeError::Store(_)));
    assert!(error.to_string().contains("reports.db"), "{error}");
}

#[test]
fn the_demo_orders_everything_from_host_1() {
    let folder = new_folder();
    let demo = ServerSettings::demo(folder.path(), "127.0.0.1:0".parse().unwrap());
    let collector = Running::with(demo, folder);
    let services = collector.get("/api/client/config/1").json()["services"].clone();
    assert_eq!(
        services,
        json!({
            "LinuxCPU": ["get_linux_cpu", 1],
            "LinuxMemory": ["get_memory_info", 2],
            "LinuxNetwork": ["GetNetworkStatus", 2],
            "LinuxLoad": ["get_linux_load", 5],
            "DiskIO": ["get_disk_io", 2],
            "HostAlive": ["host_alive_check", 10],
            "Filesystem": ["get_filesystem", 10],
            "SysInfo": ["LinuxSysInfo", 60],
        })
    );
}
