//! Commands that ask the running collector: `mote hosts`, `mote export`, `mote backup`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;

use mote_agent::collector::MAX_OWN_CONNECTIONS;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::running::report;
use mote_test_support::collector::{Program, write_secret};
use mote_test_support::{Running, mote};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    read_token_file = "reader.token"
    [hosts.web]
    id = 1
    templates = ["t"]
    [hosts.db]
    id = "db-1"
    [templates.t.services]
    Net = ["GetNetworkStatus", 1]
    CPU = ["get_linux_cpu", 1]
"#;

fn collector() -> Program {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("reader.token"), "0123456789abcdef\n");
    fs::write(folder.path().join("server.toml"), TOML).unwrap();
    Program::start(folder)
}

fn command(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = mote();
    command.args(arguments).arg("--config");
    command.arg(folder.join("server.toml")).env("TZ", "UTC");
    command.output().unwrap()
}

/// What a command that succeeds prints.
fn told(collector: &Program, arguments: &[&str]) -> String {
    let output = command(collector.folder.path(), arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The code and the sentence of one that fails.
fn failure(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = command(folder, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), error)
}

fn deliver(collector: &Program, service: &str, seq: u64, time: f64, data: Value) {
    let body = report(json!({
        "service_name": service, "boot": "b", "seq": seq, "time": time, "uptime": 100, "data": data,
    }));
    let answer = collector.report("", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn the_owner_sees_which_hosts_report_without_a_token() {
    let collector = collector();
    assert_eq!(collector.get("/api/hosts", "").status, 401);
    deliver(
        &collector,
        "CPU",
        1,
        1000.0,
        json!({"status": 0, "idle": 87.5}),
    );
    deliver(
        &collector,
        "Net",
        2,
        1000.0,
        json!({"status": 1, "error": "no interfaces"}),
    );
    let all = told(&collector, &["hosts"]);
    let line = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.starts_with(name));
        found
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .to_owned()
    };
    assert!(line(&all, "web").contains(" 12.5 %"), "{all}");
    assert!(line(&all, "db").contains("never reported"), "{all}");
    assert!(all.contains("Times are in "), "{all}");

    let one = told(&collector, &["hosts", "web"]);
    assert!(line(&one, "CPU").contains("template t"), "{one}");
    assert!(line(&one, "Net").contains("fails: no interfaces"), "{one}");
    assert_eq!(one, told(&collector, &["hosts", "1"]), "by its id");
    let nothing = told(&collector, &["hosts", "db"]);
    assert!(nothing.contains("Nothing is ordered of it"), "{nothing}");

    let problems = told(&collector, &["hosts", "--problems"]);
    assert!(
        !problems.contains("web") && problems.contains("db"),
        "{problems}"
    );
    let json: Value = serde_json::from_str(&told(&collector, &["hosts", "--json", "db"])).unwrap();
    assert_eq!(json["hosts"][0]["client_id"], "db-1");
    assert_eq!(json["hosts"].as_array().unwrap().len(), 1);
    let (code, sentence) = failure(collector.folder.path(), &["hosts", "wbe"]);
    assert_eq!(
        (code, sentence.contains("no host \"wbe\"")),
        (64, true),
        "{sentence}"
    );
}

#[test]
fn the_socket_is_the_owner_s_and_a_second_collector_keeps_off_the_database() {
    let collector = collector();
    let socket = collector.folder.path().join("reports.db.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, sentence) = failure(collector.folder.path(), &["serve"]);
    assert_eq!(code, 1, "{sentence}");
    assert!(
        sentence.contains("another collector runs with the database"),
        "{sentence}"
    );
    assert!(told(&collector, &["hosts"]).contains("web"));

    let folder = collector.kill();
    assert!(socket.exists(), "nothing could remove it");
    let (code, sentence) = failure(folder.path(), &["hosts"]);
    assert_eq!(code, 69, "{sentence}");
    assert!(
        sentence.contains("the collector does not run"),
        "{sentence}"
    );
    let collector = Program::start(folder);
    assert!(told(&collector, &["hosts"]).contains("web"));
    collector.terminate();
    assert!(!socket.exists());
}

#[test]
fn history_is_exported_as_it_was_reported() {
    let collector = collector();
    for seq in 0..4_u32 {
        let time = 1_700_000_000.0 + f64::from(seq);
        let rate = f64::from(seq) * 1.5;
        let interface = json!({"t_in": rate, "t\x1b[2J": 1});
        let data = json!({"status": 0, "data": {"eth\"0,\n": interface}});
        deliver(&collector, "Net", u64::from(seq), time, data);
    }
    let range = [
        "export",
        "web",
        "Net",
        "--from",
        "@1700000000",
        "--to",
        "2023-11-14T22:13:24Z",
    ];
    let ask = |more: &[&str]| told(&collector, &[&range, more].concat());
    assert_eq!(
        ask(&["--csv", "--rows", "2", "--field", "t_in"]),
        "time,item,field,min,avg,max\n\
         2023-11-14T22:13:20Z,\"eth\"\"0,\n\",t_in,0,0.75,1.5\n\
         2023-11-14T22:13:22Z,\"eth\"\"0,\n\",t_in,3,3.75,4.5\n"
    );
    let table = ask(&["--rows", "2"]);
    assert!(table.contains("2023-11-14 22:13:22"), "{table}");
    assert!(table.contains("3.75") && !table.contains('\x1b'), "{table}");
    let json: Value = serde_json::from_str(&ask(&["--json", "--rows", "4"])).unwrap();
    assert_eq!(json["times"].as_array().unwrap().len(), 4);

    let folder = collector.folder.path();
    let (code, sentence) = failure(folder, &["export", "web", "Nett"]);
    assert_eq!(code, 64, "{sentence}");
    assert!(
        sentence.contains("never reported the service \"Nett\""),
        "{sentence}"
    );
    for more in [["--field", "t_inn"], ["--item", "eth1"]] {
        for form in ["--csv", "--json", "--rows=2"] {
            let (code, sentence) = failure(folder, &[&range[..], &more, &[form]].concat());
            assert_eq!(code, 64, "{sentence}");
            let said = format!("reported no {} {:?} in this time", &more[0][2..], more[1]);
            assert!(sentence.contains(&said), "{sentence}");
            assert!(
                sentence.contains("the fields ") && sentence.contains("\"t_in\""),
                "{sentence}"
            );
        }
    }
    // Where there is nothing at all, the name may be right.
    let quiet = [
        "export",
        "web",
        "Net",
        "--to",
        "@1600000000",
        "--field",
        "t_in",
        "--csv",
    ];
    assert_eq!(told(&collector, &quiet), "time,item,field,min,avg,max\n");
    let (code, sentence) = failure(
        folder,
        &quiet.map(|it| if it == "t_in" { "t_inn" } else { it }),
    );
    let said = "\"Net\" of web reported no field \"t_inn\" in this time; it has the items ";
    assert!(code == 64 && sentence.contains(said), "{code} {sentence}");
    // A service that never said a number.
    deliver(
        &collector,
        "CPU",
        9,
        1_700_000_000.0,
        json!({"error": "no"}),
    );
    let never = [
        "export",
        "web",
        "CPU",
        "--from",
        "@1699999999",
        "--field",
        "x",
    ];
    let (code, sentence) = failure(folder, &never);
    let said = "\"CPU\" of web reported no number so far, and so no field \"x\"";
    assert!(code == 64 && sentence.contains(said), "{code} {sentence}");
    let (code, sentence) = failure(folder, &["export", "web", "Net", "--from", "yesterday"]);
    assert_eq!((code, sentence.contains("22:00")), (64, true), "{sentence}");
}

#[test]
fn a_copy_of_a_running_collector_s_database_is_one_that_a_collector_takes() {
    let collector = collector();
    for seq in 0..50 {
        deliver(
            &collector,
            "CPU",
            seq,
            1000.0 + seq as f64,
            json!({"status": 0, "idle": 50}),
        );
    }
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("reports.db");
    let said = told(&collector, &["backup", copy.to_str().unwrap()]);
    assert!(said.contains("a copy of"), "{said}");
    // What comes later is not in it, and what was there before nobody writes over.
    deliver(
        &collector,
        "CPU",
        50,
        2000.0,
        json!({"status": 0, "idle": 50}),
    );
    let (code, sentence) = failure(collector.folder.path(), &["backup", copy.to_str().unwrap()]);
    assert_eq!(
        (code, sentence.contains("is there already")),
        (1, true),
        "{sentence}"
    );

    write_secret(&copies.path().join("reader.token"), "0123456789abcdef\n");
    fs::write(copies.path().join("server.toml"), TOML).unwrap();
    let restored = Program::start(copies);
    assert_eq!(received(&restored), 50);
    assert_eq!(received(&collector), 51);
}

#[test]
fn commands_wait_for_each_other_and_hold_up_nobody_else() {
    let collector = collector();
    let socket = collector.folder.path().join("reports.db.sock");
    let connect = || UnixStream::connect(&socket).unwrap();
    let mut held: Vec<_> = (0..MAX_OWN_CONNECTIONS).map(|_| connect()).collect();
    let mut waiting = mote();
    waiting.args(["hosts", "--config"]);
    waiting.arg(collector.folder.path().join("server.toml"));
    let mut waiting = Running::start("hosts", &mut waiting, collector.folder.path());
    for seq in 0..20 {
        deliver(
            &collector,
            "CPU",
            seq,
            1000.0,
            json!({"status": 0, "idle": 50}),
        );
    }
    waiting.assert_running();
    held.pop();
    assert!(waiting.wait().success(), "{}", waiting.output());
    assert!(waiting.output().contains("web"));
}

fn received(collector: &Program) -> u64 {
    let answer = collector.get("/api/accounting?client_id=1", "Bearer 0123456789abcdef");
    let json = answer.json();
    json["clients"][0]["runs"][0]["received"]
        .as_u64()
        .unwrap_or_else(|| panic!("{json}"))
}

#[test]
fn a_collector_that_hangs_is_said_to() {
    let collector = collector();
    collector.signal(Signal::SIGSTOP);
    let mut asking = mote();
    asking.args(["hosts", "--config"]);
    asking.arg(collector.folder.path().join("server.toml"));
    let mut asking = Running::start("hosts", &mut asking, collector.folder.path());
    let code = asking.wait().code();
    collector.signal(Signal::SIGCONT);
    let said = asking.output();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("does not answer"), "{said}");
}
