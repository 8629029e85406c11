//! What the collector's log says of clients, and what the accounting says of copied machines.

use std::time::{SystemTime, UNIX_EPOCH};

use mote_test_support::collector::{Program, REPORT, post, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::{DEADLINE, wait_for};
use serde_json::{Value, json};

use crate::running::report;

const TOML: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n[hosts.db]\nid = 2\n";

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

/// The lines of the log with this text in them, once there is one.
fn lines(collector: &Program, text: &str) -> Vec<String> {
    wait_for(text, DEADLINE, || {
        let log = collector.output();
        let lines: Vec<String> = log
            .lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect();
        (!lines.is_empty()).then_some(lines)
    })
}

#[test]
fn who_is_refused_is_said_with_client_and_reason_and_not_each_time() {
    let collector = Program::new(TOML);
    for _ in 0..100 {
        assert_eq!(collector.services("7", "").status, 404);
        let answer = collector.report("", &report(json!({"client_id": 8})));
        assert_eq!(answer.status, 404);
    }
    assert_eq!(
        lines(&collector, "client 7"),
        [
            "mote: refused GET /api/client/config/7 of 127.0.0.1, client 7: 404 no host of the collector's settings has \
             the id \"7\"; add a table such as [hosts.NAME] with that id"
        ]
    );
    let of_report = lines(&collector, "client 8");
    assert_eq!(of_report.len(), 1, "{of_report:?}");
    assert!(of_report[0].contains(REPORT));

    let mut client = Client::connect(collector.address);
    client.send(&format!(
        "POST {REPORT} HTTP/1.1\r\nHost: localhost\r\nMote-Client: web\r\nContent-Length: 1\r\n\r\nx"
    ));
    assert_eq!(client.answer().unwrap().status, 400);
    let line = &lines(&collector, "says to be client web")[0];
    assert!(line.contains("400 the body is neither"), "{line}");

    // One who speaks TLS to a collector without.
    let mut client = Client::connect(collector.address);
    client.send("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0");
    assert_eq!(client.answer().map(|it| it.status), Some(400));
    lines(
        &collector,
        "refused 127.0.0.1: what it sends is no HTTP/1.1",
    );
    let log = collector.output();
    assert!(log.lines().count() < 10, "{log}");
}

#[test]
fn a_wrong_token_is_said() {
    let collector = Program::new(&format!("require_tokens = true\n{TOML}"));
    assert_eq!(collector.services("1", "token-of-a-stranger").status, 401);
    let line = &lines(&collector, "client 1:")[0];
    assert!(
        line.contains("401 the request needs a valid token"),
        "{line}"
    );
    assert!(!collector.output().contains("token-of-a-stranger"));
}

#[test]
fn an_id_of_no_host_is_said_here_and_not_to_the_stranger() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("server.toml"),
        format!("{TOML}token_file = \"db.token\"\n"),
    )
    .unwrap();
    write_secret(&folder.path().join("db.token"), "token-of-the-database");
    let collector = Program::start(folder);
    let headers = |id: u32, token: &str| {
        let mut client = Client::connect(collector.address);
        client.send(&format!(
            "POST {REPORT} HTTP/1.1\r\nHost: localhost\r\nMote-Client: {id}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 0\r\n\r\n"
        ));
        client.answer().unwrap()
    };
    let same = |known: Answer, unknown: Answer, status: u16| {
        assert_eq!((known.status, unknown.status), (status, status));
        assert_eq!(known.body, unknown.body);
    };
    let db = "token-of-the-database";
    let report_of =
        |id: u32, token: &str| collector.report(token, &report(json!({"client_id": id})));
    // Without a token, with a wrong one, and with another host's.
    same(
        collector.services("2", ""),
        collector.services("7", ""),
        401,
    );
    same(
        headers(2, "token-of-a-stranger"),
        headers(8, "token-of-a-stranger"),
        401,
    );
    same(report_of(1, db), report_of(9, db), 403);
    for (id, status) in [(7, 401), (8, 401), (9, 403)] {
        let line = &lines(&collector, &format!("client {id}: "))[0];
        let end = format!(
            ": {status} no host of the collector's settings has the id \"{id}\"; add a table such as [hosts.NAME] with \
             that id"
        );
        assert!(line.ends_with(&end), "{line}");
    }
    for (id, words) in [
        (2, "needs a valid token"),
        (1, "is not that of this client"),
    ] {
        let said = lines(&collector, &format!("client {id}: "));
        assert!(said.iter().all(|line| line.contains(words)), "{said:?}");
    }
}

#[test]
fn a_clock_that_is_off_is_said() {
    let collector = Program::new(TOML);
    let send = |time| {
        let fields = json!({"client_id": 2, "time": time, "boot": "a", "seq": 0});
        assert_eq!(collector.report("", &report(fields)).status, 200);
    };
    for _ in 0..5 {
        send(now() + 3600.5);
    }
    let said = lines(&collector, "its clock is");
    assert_eq!(said.len(), 1, "{said:?}");
    let begins = "mote: host `db` (client 2): its clock is 3600 s ahead of this one";
    assert_eq!(said[0], begins);
}

#[test]
fn a_plugin_that_an_agent_does_not_have_is_said() {
    let collector = Program::new(TOML);
    let error = "\"get_x\" is neither a probe of this agent nor listed in its setting `plugins`";
    for _ in 0..3 {
        let data = json!({"status": 1, "error": error});
        let fields = json!({"service_name": "X", "data": data});
        assert_eq!(collector.report("", &report(fields)).status, 200);
    }
    assert_eq!(
        lines(&collector, "get_x"),
        [format!(
            "mote: host `web` (client 1): service \"X\": {error}"
        )]
    );
}

#[test]
fn a_copied_machine_is_said_by_name_and_stands_in_the_accounting() {
    let collector = Program::new(TOML);
    let account = |id: u32| -> Value {
        let answer = collector.get(&format!("/api/accounting?client_id={id}"), "");
        answer.json()["clients"][0].clone()
    };
    // Their clocks are a little ahead, so that the test does not have to wait.
    let send = |client: u32, boot: &str, seq: u32| {
        let later = if boot == "bbbb" { 0.1 } else { 0.0 };
        let time = now() + later + 12.0 * f64::from(seq).min(4.0);
        let fields = json!({"client_id": client, "boot": boot, "seq": seq, "time": time});
        let answer = post(collector.address, REPORT, "", &report(fields));
        assert_eq!(answer.status, 200);
    };
    for seq in 0..6 {
        send(1, "aaaa", seq);
        send(1, "bbbb", seq);
        // One that was started anew.
        send(2, if seq < 3 { "cccc" } else { "dddd" }, seq);
    }
    let said = lines(&collector, "two agents report with this id");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("mote: host `web` (client 1): "),
        "{}",
        said[0]
    );
    for boot in ["aaaa", "bbbb"] {
        assert!(said[0].contains(&format!("from 127.0.0.1 (boot {boot})")));
    }
    let twins = account(1)["twins"].clone();
    let mut boots: Vec<&str> = twins
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["boot"].as_str().unwrap())
        .collect();
    boots.sort_unstable();
    assert_eq!(boots, ["aaaa", "bbbb"]);
    assert_eq!(twins[0]["address"], "127.0.0.1");
    assert_eq!(account(2).get("twins"), None);
}
