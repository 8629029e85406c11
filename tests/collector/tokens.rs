//! Who may ask, report and read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::running::report;
use mote_test_support::collector::{Program, REPORT, bearer, refusal, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::site::said;
use mote_test_support::{DEADLINE, mote, wait_for};

const WEB: &str = "token-of-the-web-host";
const DB: &str = "token-of-the-database-host";
const READER: &str = "token-of-whoever-reads";
const WRONG: &str = "token-of-nobody-at-all";

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    token_file = "web.token"
    reports_for = [7, "pump"]
    [hosts.db]
    id = 2
    # printf token-of-the-database-host | sha256sum
    token_sha256 = "DIGEST"
    [hosts.board]
    id = 7
    [hosts.pump]
    [hosts.open]
    id = 9
"#;

fn folder(before: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, DB.as_bytes());
    let digits: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let toml = format!("{before}\n{}", TOML.replace("DIGEST", &digits));
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    write_secret(&folder.path().join("web.token"), &format!("{WEB}\n"));
    write_secret(&folder.path().join("reader.token"), READER);
    folder
}

fn in_short(answer: &Answer) -> (u16, String) {
    (answer.status, answer.body.clone())
}

#[test]
fn each_host_asks_and_reports_with_its_own_token_only() {
    let collector = Program::start(folder(""));
    for (id, token, status) in [
        ("1", WEB, 200),
        ("7", WEB, 200),
        ("pump", WEB, 200),
        ("2", DB, 200),
        ("9", "", 200),
        ("1", DB, 403),
        ("2", WEB, 403),
        ("7", DB, 403),
        ("9", WEB, 403),
        ("nobody", WEB, 403),
        ("1", "", 401),
        ("2", "", 401),
        ("7", "", 401),
        ("pump", "", 401),
        ("nobody", "", 401),
        ("1", WRONG, 401),
        ("9", WRONG, 401),
        ("nobody", WRONG, 401),
        ("1", &WEB[..WEB.len() - 1], 401),
        ("1", READER, 401),
    ] {
        let before = collector.count(id);
        let sent = collector.report(token, &report(json!({"client_id": id})));
        let asked = collector.services(id, token);
        assert_eq!(
            (sent.status, asked.status),
            (status, status),
            "{id} {token}"
        );
        if status == 401 {
            assert_eq!(asked.header("www-authenticate"), "Bearer");
            assert_eq!(in_short(&sent), in_short(&asked));
        }
        if status != 200 {
            let sentence = sent.json()["error"].as_str().unwrap().to_owned();
            assert!(!sentence.contains("token-of"), "{sentence}");
            assert_eq!(collector.count(id), before, "{id} {token}: not stored");
        }
    }
    assert_eq!((collector.count("1"), collector.count("9")), (1, 1));
    // Another way to write it is no way around.
    let basic = collector.get("/api/client/config/1", "Basic dG9rZW46dG9rZW4=");
    assert_eq!(basic.status, 401);
    let output = collector.output();
    assert!(!output.contains("token-of"), "{output}");
}

#[test]
fn a_host_that_is_refused_is_said_to_be_until_it_is_let_in() {
    let collector = Program::start(folder(""));
    let refused = |id: u32| {
        let path = format!("/api/hosts?client_id={id}");
        collector.get(&path, "").json()["hosts"][0]["refused"].as_f64()
    };
    assert_eq!(refused(1), None);
    assert_eq!(collector.services("1", WRONG).status, 401);
    assert_eq!(collector.services("7", DB).status, 403);
    assert!(refused(1) > Some(1e9) && refused(7) > Some(1e9));
    assert_eq!(refused(2), None);
    let one = said(
        mote()
            .arg("--config")
            .arg(collector.folder.path().join("server.toml"))
            .args(["hosts", "web"]),
    );
    assert!(one.out.contains("for want of a valid token"), "{one:?}");
    // The instant of a refusal is in milliseconds, and so is that of what comes after it.
    wait_for("another millisecond", DEADLINE, || {
        assert_eq!(collector.services("1", WEB).status, 200);
        refused(1).is_none().then_some(())
    });
    assert!(refused(7).is_some());
}

#[test]
fn a_known_client_and_an_unknown_one_are_refused_alike() {
    let collector = Program::start(folder(""));
    for token in ["", WRONG] {
        let known = collector.services("1", token);
        assert_eq!(
            in_short(&known),
            in_short(&collector.services("404", token))
        );
        let known = collector.report(token, &report(json!({"client_id": 1})));
        let unknown = collector.report(token, &report(json!({"client_id": 404})));
        assert_eq!(in_short(&known), in_short(&unknown));
    }
    let known = collector.services("2", WEB);
    assert_eq!(in_short(&known), in_short(&collector.services("404", WEB)));
}

#[test]
fn a_wrong_token_is_refused_before_its_body_is_understood() {
    let collector = Program::start(folder(""));
    assert_eq!(collector.post(REPORT, WRONG, &json!([])).status, 401);
    assert_eq!(collector.post(REPORT, WEB, &json!([])).status, 400);
}

#[test]
fn a_token_file_that_changes_is_read_again() {
    let collector = Program::start(folder(""));
    let file = collector.folder.path().join("web.token");
    let status = |token: &str| collector.services("1", token).status;
    let become_valid = |token: &str| {
        wait_for("the new token", DEADLINE, || {
            (status(token) == 200).then_some(())
        });
    };
    assert_eq!(status(WEB), 200);
    // As long as the old one, and written into the same file.
    let new = WEB.to_uppercase();
    fs::write(&file, &new).unwrap();
    become_valid(&new);
    assert_eq!(status(WEB), 401);

    // One that others may read is not taken; what was known stays.
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, WEB).unwrap();
    wait_for("a line in the log", DEADLINE, || {
        assert_eq!(status(&new), 200);
        collector.output().contains("0644").then_some(())
    });
    assert_eq!((status(WEB), status(&new)), (401, 200));
    fs::remove_file(&file).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(status(&new), 200);
    write_secret(&file, WEB);
    become_valid(WEB);
    assert_eq!(status(&new), 401);
    assert_eq!(collector.output().matches("stays in force").count(), 1);
}

#[test]
fn a_token_that_others_can_read_keeps_it_from_starting() {
    let folder = folder("");
    let file = folder.path().join("web.token");
    let told = |folder: &Path| {
        let told = refusal(folder);
        assert!(told.contains("web.token") && !told.contains(WEB), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        told
    };
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(told(folder.path()).contains("chmod 600"));
    }
    write_secret(&file, "too short");
    assert!(told(folder.path()).contains("16 to 256"));
    fs::remove_file(&file).unwrap();
    assert!(told(folder.path()).contains("No such file"));
}

#[test]
fn required_tokens_leave_nobody_in_without_one() {
    let collector = Program::start(folder("require_tokens = true"));
    assert_eq!(collector.services("9", "").status, 401);
    assert_eq!(
        collector
            .report("", &report(json!({"client_id": 9})))
            .status,
        401
    );
    assert_eq!(collector.services("1", WEB).status, 200);
    let output = collector.output();
    assert!(output.contains("refused: `open`\n"), "{output}");
}

#[test]
fn people_read_with_a_token_of_their_own() {
    let collector = Program::start(folder("read_token_file = \"reader.token\""));
    // printf ada:token-of-whoever-reads | base64
    let password = "Basic YWRhOnRva2VuLW9mLXdob2V2ZXItcmVhZHM=";
    for path in ["/", "/api/reports", "/api/accounting"] {
        for good in [&bearer(READER), password] {
            assert_eq!(collector.get(path, good).status, 200, "{path}");
        }
        for bad in [
            "",
            &bearer(WEB),
            &bearer(WRONG),
            "Basic YWRhOg==",
            "Basic ?",
            "Bearer",
        ] {
            let answer = collector.get(path, bad);
            assert_eq!(answer.status, 401, "{path} {bad}");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
    }
    assert_eq!(collector.services("9", "").status, 200);
    assert_eq!(collector.services("1", READER).status, 401);
}

#[test]
fn what_is_compressed_or_has_too_large_a_head_is_refused() {
    let collector = Program::start(folder(""));
    let body = report(json!({"client_id": 9})).to_string();
    let send = |lines: &str| {
        let mut client = Client::connect(collector.address);
        client.send(&format!(
            "POST {REPORT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer().unwrap().status
    };
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        assert_eq!(
            send(&format!("Content-Encoding: {coding}\r\n")),
            415,
            "{coding}"
        );
    }
    assert_eq!(
        send("Content-Encoding: gzip\r\nContent-Encoding: identity\r\n"),
        415
    );
    assert_eq!(send("Content-Encoding: Identity\r\n"), 200);
    let lines = |count: usize| "A: b\r\n".repeat(count);
    assert_eq!((send(&lines(97)), send(&lines(98))), (200, 431));
    let long = |bytes: usize| format!("A: {}\r\n", "b".repeat(bytes));
    assert_eq!((send(&long(16_000)), send(&long(16_500))), (200, 431));
    assert_eq!(collector.count("9"), 3);
}
