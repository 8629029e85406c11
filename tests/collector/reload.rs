//! Settings that change while the collector runs, and settings with which it does not start.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mote_test_support::collector::{Program, REPORT, post, refusal, write_secret};
use mote_test_support::http::Client;
use mote_test_support::{DEADLINE, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::running::{post_head, report};

const TOML: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n";

fn wait_for_status(collector: &Program, id: &str, status: u16) {
    wait_for("the new settings", DEADLINE, || {
        (collector.services(id, "").status == status).then_some(())
    });
}

fn log_has(collector: &Program, text: &str) {
    wait_for(text, DEADLINE, || {
        collector.output().contains(text).then_some(())
    });
}

#[test]
fn new_hosts_are_known_when_a_file_changes_and_no_request_is_lost() {
    let collector = Program::new(TOML);
    let address = collector.address;
    let folder = collector.folder.path().to_owned();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Two that report all the time: one on a connection that it keeps, one on a new one each time.
        let kept = scope.spawn(|| {
            let mut client = Client::connect(address);
            let mut seq = 0;
            while !done.load(Ordering::Relaxed) {
                let body = report(json!({"boot": "kept", "seq": seq})).to_string();
                client.send(&(post_head("application/json", body.len()) + &body));
                assert_eq!(client.answer().unwrap().status, 200);
                seq += 1;
            }
            seq
        });
        let new = scope.spawn(|| {
            let mut seq = 0;
            while !done.load(Ordering::Relaxed) {
                let body = report(json!({"boot": "new", "seq": seq}));
                assert_eq!(post(address, REPORT, "", &body).status, 200);
                seq += 1;
            }
            seq
        });
        assert_eq!(collector.services("2", "").status, 404);
        fs::create_dir(folder.join("server.d")).unwrap();
        fs::write(folder.join("server.d/db.toml"), "[hosts.db]\nid = 2\n").unwrap();
        wait_for_status(&collector, "2", 200);
        fs::write(folder.join("server.toml"), format!("{TOML}[hosts.third]\n")).unwrap();
        wait_for_status(&collector, "third", 200);
        fs::remove_file(folder.join("server.d/db.toml")).unwrap();
        wait_for_status(&collector, "2", 404);
        done.store(true, Ordering::Relaxed);
        let sent = kept.join().unwrap() + new.join().unwrap();
        let account = collector.get("/api/accounting?client_id=1", "").json();
        assert_eq!(account["clients"][0]["received"], sent);
        assert_eq!(account["clients"][0]["gaps"], 0);
    });
}

#[test]
fn settings_are_followed_whole_or_not_at_all() {
    let collector = Program::new(TOML);
    let folder = collector.folder.path();
    fs::create_dir(folder.join("server.d")).unwrap();
    let further = folder.join("server.d/more.toml");
    let bad = "[hosts.db]\nid = 2\n\n[hosts.third]\ntoken_fil = \"a\"\n";
    fs::write(&further, bad).unwrap();
    let told = "server.d/more.toml:5: there is no setting `hosts.third.token_fil`; the nearest is \
                `hosts.third.token_file`; the settings that were read before stay in force";
    log_has(&collector, told);
    assert_eq!(collector.services("2", "").status, 404);
    assert_eq!(collector.services("1", "").status, 200);
    // A token that cannot be read is a reason, too.
    fs::write(&further, bad.replace("token_fil ", "token_file ")).unwrap();
    log_has(&collector, "server.d/a: No such file");
    assert_eq!(collector.services("2", "").status, 404);
    write_secret(&folder.join("server.d/a"), "token-of-the-third");
    // Nobody looks after files that are not there yet.
    collector.signal(Signal::SIGHUP);
    wait_for_status(&collector, "2", 200);
    assert_eq!(collector.services("third", "").status, 401);
    let known = collector.services("third", "token-of-the-third");
    assert_eq!(known.status, 200);
}

#[test]
fn a_hangup_reads_the_settings_and_does_not_end_the_collector() {
    let collector = Program::new(TOML);
    for _ in 0..3 {
        collector.signal(Signal::SIGHUP);
    }
    log_has(&collector, "the settings were read again; hosts: 1");
    let path = collector.folder.path().join("server.toml");
    let port = collector.address.port();
    fs::write(&path, TOML.replace(":0", ":1")).unwrap();
    log_has(&collector, "`commit_pause_ms` are read at start only");
    assert_eq!(collector.services("1", "").status, 200);
    assert_eq!(collector.address.port(), port);
    collector.terminate();
}

#[test]
fn a_code_is_for_a_host_that_the_running_collector_knows() {
    let collector = Program::new(TOML);
    let path = collector.folder.path().join("server.toml");
    let other = collector.folder.path().join("other.toml");
    // The command reads other settings than the collector, with the same database.
    fs::write(&other, format!("{TOML}[hosts.late]\n")).unwrap();
    let output = mote_test_support::mote()
        .args(["invite", "late", "--config"])
        .arg(&other)
        .output()
        .unwrap();
    assert!(output.status.success());
    let code = String::from_utf8(output.stdout).unwrap();
    let body = json!({"code": code.trim_end()});
    let refused = collector.post("/api/enroll", "", &body);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["error"],
        "the code is for the host with the id \"late\", which the collector's settings do not have; add it to them and \
         use the code again"
    );
    fs::copy(&other, &path).unwrap();
    wait_for_status(&collector, "late", 200);
    assert_eq!(collector.post("/api/enroll", "", &body).status, 200);
}

/// A collector that everybody may use is one on purpose.
#[test]
fn it_is_open_to_the_network_only_if_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |text: &str| fs::write(path.join("server.toml"), text).unwrap();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        write(&TOML.replace("127.0.0.1:0", listen));
        let told = refusal(path);
        for what in [
            "allow_anonymous = true",
            "require_tokens = true",
            "mote invite",
        ] {
            assert!(told.contains(what), "{told}");
        }
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let open = TOML.replace("127.0.0.1:0", "0.0.0.0:0");
    write_secret(&path.join("token"), "token-of-the-web-host");
    for text in [
        format!("allow_anonymous = true\n{open}"),
        format!("require_tokens = true\n{open}"),
        format!("{open}token_file = \"token\"\n"),
    ] {
        write(&text);
        let mut process = serve(path);
        wait_for("the address", DEADLINE, || {
            process.assert_running();
            process.output().contains("://").then_some(())
        });
        assert!(process.terminate().success());
    }
}

fn serve(folder: &Path) -> mote_test_support::Running {
    let _ = fs::remove_file(folder.join("open.log"));
    let mut command = mote_test_support::mote();
    command
        .arg("serve")
        .arg("--config")
        .arg(folder.join("server.toml"));
    mote_test_support::Running::start("open", &mut command, folder)
}

#[test]
fn a_database_that_cannot_be_there_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("file"), "").unwrap();
    for (database, told) in [
        ("file/reports.db", "does not exist and cannot be made: "),
        (".", " is a folder; name a regular file"),
    ] {
        let text = TOML.replace("\"reports.db\"", &format!("{database:?}"));
        fs::write(path.join("server.toml"), text).unwrap();
        let mut process = serve(path);
        assert_eq!(process.wait().code(), Some(1));
        let said = process.output();
        assert!(said.contains(told), "{said}");
    }
}
