//! What came, what came again and what never came.

use std::sync::mpsc;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::running::post_head;
use super::running::report;
use mote_test_support::collector::Program;
use mote_test_support::http::Client;

const TOML: &str =
    "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n[hosts.pump]\n";

fn numbered(boot: &str, seq: i64) -> Value {
    report(json!({"boot": boot, "seq": seq}))
}

fn deliver(collector: &Program, boot: &str, seqs: &[i64]) {
    for seq in seqs {
        let answer = collector.report("", &numbered(boot, *seq));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn account(collector: &Program) -> Value {
    let answer = collector.get("/api/accounting?client_id=1", "").json();
    assert_eq!(answer["clients"].as_array().unwrap().len(), 1);
    answer["clients"][0].clone()
}

#[test]
fn duplicates_and_gaps_are_counted_across_a_kill_and_a_restart() {
    let collector = Program::new(TOML);
    deliver(&collector, "a", &[0, 1, 2, 2, 1, 5]);
    let collector = Program::start(collector.kill());
    deliver(&collector, "a", &[5, 6]);
    let collector = Program::start(collector.terminate());
    deliver(&collector, "b", &[3]);
    deliver(&collector, "a", &[0]);
    assert_eq!(
        account(&collector),
        json!({
            "client_id": 1, "received": 6, "unnumbered": 0, "duplicates": 4, "gaps": 5, "runs_left_out": 0,
            "runs": [
                {"boot": "a", "first": 0, "last": 6, "received": 5, "duplicates": 4, "gaps": 2},
                {"boot": "b", "first": 3, "last": 3, "received": 1, "duplicates": 0, "gaps": 3},
            ]
        })
    );
    // What comes late closes its gap.
    deliver(&collector, "a", &[3]);
    deliver(&collector, "b", &[0]);
    let account = account(&collector);
    assert_eq!(account["gaps"], 3);
    assert_eq!(account["runs"][1]["first"], 0);
}

#[test]
fn the_last_loss_is_told_with_its_time_and_its_end() {
    let collector = Program::new(TOML);
    deliver(&collector, "a", &[0, 5]);
    let told = || account(&collector)["lost"].clone();
    assert_eq!(told(), Value::Null);
    let database = Connection::open(collector.folder.path().join("reports.db")).unwrap();
    let alarm = |id: u32, name: &str, times: &str| {
        let sql = format!(
            "INSERT INTO alarms (id, name, client, item, severity, began_ms, fired_ms, ended_ms, text, told)
             VALUES ({id}, '{name}', '1', '', 'warning', {times}, '', '')"
        );
        database.execute(&sql, []).unwrap();
    };
    // It never fired, or is another one.
    alarm(901, "lost", "1000, NULL, NULL");
    alarm(902, "late", "2000, 2000, NULL");
    assert_eq!(told(), Value::Null);
    alarm(903, "lost", "3000, 3500, 9000");
    assert_eq!(told(), json!({"since": 3.5, "until": 9.0}));
    alarm(904, "lost", "11000, 12000, NULL");
    assert_eq!(told(), json!({"since": 12.0}));
}

#[test]
fn each_acknowledged_report_is_counted_once_whenever_the_kill_comes() {
    let collector = Program::new(TOML);
    let address = collector.address;
    let (told, acknowledgements) = mpsc::channel();
    let killer = std::thread::spawn(move || {
        for _ in 0..60 {
            acknowledgements.recv().unwrap();
        }
        collector.kill()
    });
    let mut client = Client::connect(address);
    let mut acknowledged = 0;
    loop {
        // Each comes twice.
        let body = numbered("a", acknowledged / 2).to_string();
        client.send_if_open(&(post_head("application/json", body.len()) + &body));
        match client.answer() {
            Some(answer) => assert_eq!(answer.status, 200),
            None => break,
        }
        acknowledged += 1;
        // Nobody listens any more while the kill is under way.
        let _ = told.send(());
    }
    let collector = Program::start(killer.join().unwrap());
    let account = account(&collector);
    let count = |key: &str| account[key].as_i64().unwrap();
    let counted = count("received") + count("duplicates");
    // The one that was under way may be there too.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&counted),
        "{acknowledged}: {account}"
    );
    assert!(
        (0..=1).contains(&(count("received") - count("duplicates"))),
        "{account}"
    );
    assert_eq!(count("received") as usize, collector.count("1"));
    assert_eq!(count("gaps"), 0);
}

#[test]
fn of_two_reports_with_one_number_the_first_stays() {
    let collector = Program::new(TOML);
    for user in [1, 2] {
        let fields = json!({"boot": "a", "seq": 0, "service_name": format!("S{user}"), "data": {"user": user}});
        assert_eq!(collector.report("", &report(fields)).status, 200);
    }
    let reports = collector.get("/api/reports", "").json();
    assert_eq!(reports["reports"][0]["data"], json!({"user": 1}));
    assert_eq!(reports["reports"].as_array().unwrap().len(), 1);
    let account = account(&collector);
    assert_eq!(
        (&account["received"], &account["duplicates"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn numbers_at_their_bound_are_counted_and_what_has_none_is_counted_apart() {
    let collector = Program::new(TOML);
    let last = (1_i64 << 40) - 1;
    deliver(&collector, "a", &[last, last]);
    // What is beyond would count as that many reports that never came.
    for seq in [last + 1, i64::MAX] {
        let refused = collector.report("", &report(json!({"boot": "a", "seq": seq})));
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    for fields in [json!({}), json!({"boot": "a"}), json!({"seq": 4})] {
        assert_eq!(collector.report("", &report(fields)).status, 200);
    }
    let account = account(&collector);
    assert_eq!(account["gaps"], last);
    assert_eq!(
        (&account["received"], &account["duplicates"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(account["runs"][0]["last"], last);
    assert_eq!(account["unnumbered"], 3);
}

#[test]
fn all_hosts_of_the_settings_have_an_account() {
    let collector = Program::new(TOML);
    deliver(&collector, "a", &[0]);
    let clients = |query: &str| -> Vec<Value> {
        let answer = collector.get(&format!("/api/accounting{query}"), "");
        assert_eq!(answer.status, 200);
        let clients = answer.json()["clients"].as_array().unwrap().clone();
        clients
            .iter()
            .map(|client| client["client_id"].clone())
            .collect()
    };
    assert_eq!(clients(""), [json!(1), json!("pump")]);
    assert_eq!(clients("?client_id="), [json!(1), json!("pump")]);
    assert_eq!(clients("?client_id=pump"), [json!("pump")]);
    assert_eq!(clients("?client_id=nobody"), [Value::Null; 0]);
    assert_eq!(collector.get("/api/accounting?client=1", "").status, 400);

    // One that is not a host any more still has what came of it.
    let folder = collector.terminate();
    std::fs::write(
        folder.path().join("server.toml"),
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n",
    )
    .unwrap();
    let collector = Program::start(folder);
    assert_eq!(account(&collector)["received"], 1);
    assert_eq!(
        collector.get("/api/accounting", "").json(),
        json!({"clients": []})
    );
}
