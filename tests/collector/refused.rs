//! What the database cannot take is refused, and changes nothing until the next start either.

use rusqlite::Connection;
use serde_json::json;

use super::access::ask;
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, wait_for};

/// The database takes no change of this table.
fn refuse(collector: &Program, table: &str) {
    let triggers = ["INSERT", "DELETE"].map(|change| {
        format!(
            "CREATE TRIGGER no_{change}_{table} BEFORE {change} ON {table}
                BEGIN SELECT RAISE(ABORT, 'no room'); END;"
        )
    });
    database(collector)
        .execute_batch(&triggers.concat())
        .unwrap();
}

fn take(collector: &Program, table: &str) {
    let sql = format!("DROP TRIGGER no_INSERT_{table}; DROP TRIGGER no_DELETE_{table};");
    database(collector).execute_batch(&sql).unwrap();
}

fn database(collector: &Program) -> Connection {
    Connection::open(collector.folder.path().join("reports.db")).unwrap()
}

#[test]
fn a_silence_that_is_not_on_disk_does_not_count() {
    let collector =
        Program::new("listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n");
    let lines = format!("Host: {}\r\n", collector.address);
    let wish = json!({"client_id": 1, "for_s": 600, "reason": "r"}).to_string();
    let status = |method: &str, path: &str, body: &str| {
        ask(collector.address, method, path, &lines, body).status
    };
    let silences = || {
        let answer = ask(collector.address, "GET", "/api/alarms", &lines, "");
        answer.json()["silences"].as_array().unwrap().len()
    };
    refuse(&collector, "silences");
    assert_eq!(
        (status("POST", "/api/silences", &wish), silences()),
        (503, 0)
    );
    take(&collector, "silences");
    let answer = ask(collector.address, "POST", "/api/silences", &lines, &wish);
    assert_eq!((answer.status, silences()), (200, 1), "{}", answer.body);
    let path = format!("/api/silences/{}", answer.json()["id"]);
    refuse(&collector, "silences");
    assert_eq!((status("DELETE", &path, ""), silences()), (503, 1));
    take(&collector, "silences");
    assert_eq!((status("DELETE", &path, ""), silences()), (200, 0));
}

#[test]
fn a_session_that_cannot_be_closed_on_disk_stays_open() {
    let users = user("ada", "admin", "correct horse battery");
    let collector = Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n{users}"
    ));
    let host = format!("Host: {}\r\n", collector.address);
    let body = json!({"user": "ada", "password": "correct horse battery"}).to_string();
    let answer = ask(collector.address, "POST", "/api/login", &host, &body);
    let (pair, _) = answer.header("set-cookie").split_once(';').unwrap();
    let lines = format!("{host}Cookie: {pair}\r\n");
    let status = |method: &str, path: &str| ask(collector.address, method, path, &lines, "").status;
    refuse(&collector, "sessions");
    assert_eq!(status("POST", "/api/logout"), 503);
    assert_eq!(status("GET", "/api/hosts"), 200);
    take(&collector, "sessions");
    assert_eq!(status("POST", "/api/logout"), 200);
    assert_eq!(status("GET", "/api/hosts"), 401);
}

#[test]
fn a_message_that_is_not_on_disk_is_shown_beside_its_alarm() {
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n\
         [notify.ops]\nwebhook = \"http://127.0.0.1:1/\"\n\
         [alarms.hot]\nservice = \"S\"\nfield = \"x\"\nabove = 5\n",
    );
    refuse(&collector, "outbox");
    let report = json!({"client_id": 1, "service_name": "S", "data": {"x": 7}});
    assert_eq!(collector.report("", &report).status, 200);
    let sent = wait_for("a message that was tried", DEADLINE, || {
        let alarms = collector.get("/api/alarms", "").json();
        let sent = alarms["active"][0]["sent"].clone();
        (sent[0]["tries"].as_u64()? > 0).then_some(sent)
    });
    assert_eq!(
        (&sent[0]["to"], &sent[0]["state"]),
        (&json!("ops"), &json!("waiting"))
    );
    assert_eq!(sent.as_array().unwrap().len(), 1);
    let kept = database(&collector);
    let count = kept.query_row("SELECT count(*) FROM outbox", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(count.unwrap(), 0);
}

#[test]
fn the_end_of_a_session_whose_user_is_gone_reaches_the_disk_in_the_end() {
    let users = user("ada", "admin", "correct horse battery");
    let bob = user("bob", "admin", "correct horse battery");
    let toml = format!("listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n{bob}");
    let collector = Program::new(&format!("{toml}{users}"));
    let host = format!("Host: {}\r\n", collector.address);
    let body = json!({"user": "ada", "password": "correct horse battery"}).to_string();
    let answer = ask(collector.address, "POST", "/api/login", &host, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    refuse(&collector, "sessions");
    std::fs::write(collector.folder.path().join("server.toml"), &toml).unwrap();
    wait_for("the complaint", DEADLINE, || {
        let output = collector.output();
        output
            .contains("does not take the end of sessions")
            .then_some(())
    });
    let kept = || {
        let database = database(&collector);
        let sql = "SELECT count(*) FROM sessions";
        database
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(kept(), 1);
    take(&collector, "sessions");
    wait_for("its end", DEADLINE, || (kept() == 0).then_some(()));
}
