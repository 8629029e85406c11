//! Many reports in one request: each line has its own end.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use mote_agent::collector::{MAX_BODIES_BYTES, MAX_BODY_BYTES};
use mote_agent::protocol::{MAX_BATCH_BYTES, MAX_BATCH_REPORTS};
use mote_test_support::collector::{Program, REPORT, bearer, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::{DEADLINE, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::running::report;

const TOML: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n[hosts.db]\nid = 2\n";

const REPORTS: &str = "/api/client/service/reports";

fn numbered(seq: u64) -> Value {
    report(json!({"boot": "b", "seq": seq}))
}

fn lines(reports: impl IntoIterator<Item = Value>) -> String {
    let lines = reports.into_iter().map(|it| format!("{it}\n"));
    lines.collect()
}

/// Posts bytes with these lines of head.
fn post(collector: &Program, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut client = Client::connect(collector.address);
    client.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n{head}Content-Length: {}\r\n\r\n",
        body.len()
    ));
    client.stream.write_all(body).unwrap();
    client.answer().unwrap()
}

fn batch(collector: &Program, body: &str) -> Answer {
    post(collector, REPORTS, "", body.as_bytes())
}

/// Packed by another hand than the collector's.
fn packed(program: &str, arguments: &[&str], text: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&text).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

fn gzip(text: &[u8]) -> Vec<u8> {
    packed("gzip", &["-c"], text)
}

const ZSTD: &str = "Content-Encoding: zstd\r\n";

const GZIP: &str = "Content-Encoding: gzip\r\n";

fn seqs(collector: &Program) -> Vec<u64> {
    let page = collector.get("/api/reports?client_id=1", "").json();
    let reports = page["reports"].as_array().unwrap().iter();
    reports.map(|it| it["seq"].as_u64().unwrap()).collect()
}

#[test]
fn every_line_is_kept_or_refused_on_its_own() {
    let collector = Program::new(TOML);
    let long = report(json!({"data": {"text": "x".repeat(MAX_BODY_BYTES)}}));
    let body = [
        numbered(0).to_string(),
        String::new(),
        "{\"client_id\":1".to_owned(),
        format!(" {}\r", numbered(1)),
        report(json!({"client_id": 7})).to_string(),
        "client_id=1&service_name=a&data={}".to_owned(),
        long.to_string(),
        report(json!({"service_name": ""})).to_string(),
        numbered(2).to_string(),
    ];
    let answer = batch(&collector, &body.join("\n"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    let answer = answer.json();
    assert_eq!(
        (&answer["status"], &answer["reports"]),
        (&json!("ok"), &json!(8))
    );
    let exceptions = answer["exceptions"].as_array().unwrap();
    let told: Vec<_> = exceptions
        .iter()
        .map(|it| (it["line"].as_u64().unwrap(), it["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [(3, 400), (5, 404), (6, 400), (7, 413), (8, 400)]);
    let unknown: Vec<_> = exceptions
        .iter()
        .filter_map(|it| it.get("unknown_client"))
        .collect();
    assert_eq!(unknown, [&json!(true)]);
    let single = collector.report("", &report(json!({"client_id": 7})));
    assert_eq!(exceptions[1]["error"], single.json()["error"]);
    assert_eq!(seqs(&collector), [0, 1, 2]);

    // Sent again, as after a lost answer.
    let again = lines([numbered(2), numbered(3)]);
    let answer = post(&collector, &format!("{REPORTS}/"), "", again.as_bytes());
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"status": "ok", "reports": 2, "exceptions": []}))
    );
    assert_eq!(seqs(&collector), [0, 1, 2, 3]);
}

#[test]
fn the_reason_of_an_exception_is_short() {
    let collector = Program::new(TOML);
    let odd = report(json!({"client_id": "\"".repeat(64)}));
    let answer = batch(&collector, &lines([numbered(0), odd])).json();
    let told = answer["exceptions"][0]["error"].as_str().unwrap();
    assert_eq!(told.chars().count(), 200, "{told}");
}

#[test]
fn a_token_is_good_for_the_lines_of_its_host() {
    let folder = TempDir::new().unwrap();
    let token = |of: &str| format!("token-of-the-{of}-host");
    for of in ["web", "db"] {
        write_secret(&folder.path().join(of), &token(of));
    }
    let toml = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nrequire_tokens = true\n[hosts.web]\nid = 1\ntoken_file = \"web\"\n\
                reports_for = [\"board\"]\n[hosts.db]\nid = 2\ntoken_file = \"db\"\n[hosts.board]\n";
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    let collector = Program::start(folder);
    let of = |id: Value| report(json!({"client_id": id}));
    let body = lines([of(json!(1)), of(json!(2)), of(json!("board")), of(json!(3))]);
    let head = format!("Authorization: {}\r\n", bearer(&token("web")));
    let answer = post(&collector, REPORTS, &head, body.as_bytes()).json();
    assert_eq!(answer["reports"], 4);
    let exceptions = answer["exceptions"].as_array().unwrap();
    let told: Vec<_> = exceptions
        .iter()
        .map(|it| (&it["line"], &it["status"]))
        .collect();
    assert_eq!(told, [(&json!(2), &json!(403)), (&json!(4), &json!(403))]);
    let kept = ["1", "2", "board"].map(|id| collector.count(id));
    assert_eq!(kept, [1, 0, 1]);

    assert_eq!(batch(&collector, &body).status, 401);
    let head = format!("Authorization: {}\r\n", bearer("token-of-a-stranger"));
    let answer = post(&collector, REPORTS, &head, body.as_bytes());
    assert_eq!(answer.status, 401);
    assert_eq!(collector.count("1"), 1);
}

#[test]
fn a_batch_of_which_nothing_can_be_read_is_refused_whole() {
    let collector = Program::new(TOML);
    for body in [
        "",
        "\n \r\n\n",
        "{}\n",
        "x\n[]\n",
        "client_id=1&service_name=a&data={}",
    ] {
        let answer = batch(&collector, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].is_string(), "{body}");
    }
    // It can be read, though it is not kept.
    let answer = batch(&collector, &lines([report(json!({"client_id": 7}))]));
    assert_eq!(answer.status, 200);
    let answer = collector.get(REPORTS, "");
    assert_eq!(answer.status, 405);
}

#[test]
fn a_batch_may_be_packed_with_gzip() {
    let collector = Program::new(TOML);
    let body = lines((0..100).map(numbered));
    let packed = gzip(body.as_bytes());
    assert!(packed.len() * 4 < body.len());
    let answer = post(&collector, REPORTS, GZIP, &packed);
    assert_eq!(answer.json()["reports"], 100);
    assert_eq!(seqs(&collector), (0..100).collect::<Vec<_>>());
    let plain = post(
        &collector,
        REPORTS,
        "Content-Encoding: identity\r\n",
        body.as_bytes(),
    );
    assert_eq!(plain.status, 200);

    let twice = [&packed[..], &packed[..]].concat();
    for (broken, what) in [
        (&packed[..packed.len() - 1], "cut"),
        (body.as_bytes(), "plain"),
        (&twice, "two"),
        (&[], "nothing"),
    ] {
        let answer = post(&collector, REPORTS, GZIP, broken);
        assert_eq!(answer.status, 400, "{what}");
        let told = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(told.contains("gzip"), "{what}: {told}");
    }
    for coding in ["deflate", "br", "gzip, gzip", "gzip, zstd", "x"] {
        let head = format!("Content-Encoding: {coding}\r\n");
        let answer = post(&collector, REPORTS, &head, &packed);
        assert_eq!(answer.status, 415, "{coding}");
        assert_eq!(answer.header("accept-encoding"), "gzip, zstd");
    }
    let twice = format!("{GZIP}{GZIP}");
    assert_eq!(post(&collector, REPORTS, &twice, &packed).status, 415);
    let single = gzip(numbered(7).to_string().as_bytes());
    assert_eq!(post(&collector, REPORT, GZIP, &single).status, 415);
}

#[test]
fn a_batch_may_be_packed_with_zstd() {
    let collector = Program::new(TOML);
    let body = lines((0..100).map(numbered));
    for level in ["-1", "-19"] {
        let packed = packed("zstd", &["-c", "--check", level], body.as_bytes());
        assert!(packed.len() * 4 < body.len());
        let answer = post(&collector, REPORTS, ZSTD, &packed);
        assert_eq!(answer.json()["reports"], 100, "{}", answer.body);
    }
    assert_eq!(seqs(&collector), (0..100).collect::<Vec<_>>());
    let packed = packed("zstd", &["-c", "--check"], body.as_bytes());
    let twice = [&packed[..], &packed[..]].concat();
    let mut flipped = packed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (broken, what) in [
        (&packed[..packed.len() - 1], "cut"),
        (body.as_bytes(), "plain"),
        (&twice, "two"),
        (&flipped, "another sum"),
        (&[], "nothing"),
    ] {
        let answer = post(&collector, REPORTS, ZSTD, broken);
        assert_eq!(answer.status, 400, "{what}");
        let told = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(told.contains("zstd"), "{what}: {told}");
    }
    assert_eq!(post(&collector, REPORT, ZSTD, &packed).status, 415);
}

#[test]
fn a_batch_is_bounded_in_bytes_and_lines_also_unpacked() {
    let collector = Program::new(TOML);
    let one = lines([numbered(0)]);
    let of_size = |bytes: usize| one.clone() + &" ".repeat(bytes - one.len());
    for (bytes, status) in [
        (MAX_BATCH_BYTES, 200),
        (MAX_BATCH_BYTES + 1, 413),
        (64 << 20, 413),
    ] {
        let body = of_size(bytes);
        let zstd = packed("zstd", &["-c"], body.as_bytes());
        for (coding, packed) in [(GZIP, gzip(body.as_bytes())), (ZSTD, zstd)] {
            let packed = post(&collector, REPORTS, coding, &packed);
            assert_eq!(packed.status, status, "{bytes}, {coding}");
        }
        // Of even more than that the end is not read, and the answer may be lost.
        if bytes < 8 << 20 {
            assert_eq!(batch(&collector, &body).status, status, "{bytes}");
        }
    }
    let many = |count: u64| lines((0..count).map(numbered));
    let most = MAX_BATCH_REPORTS as u64;
    assert_eq!(batch(&collector, &many(most)).status, 200);
    let answer = batch(&collector, &many(most + 1));
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"].is_string());
}

/// What is unpacked counts, and what becomes of each line.
#[test]
fn batches_share_the_room_of_all_bodies() {
    let collector = Program::new(TOML);
    let slow = |bytes: usize| {
        let mut stream = TcpStream::connect(collector.address).unwrap();
        let body = "x".repeat(bytes - 1);
        let head = format!(
            "POST {REPORT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // All but half a batch.
    let count = (MAX_BODIES_BYTES - MAX_BATCH_BYTES / 2) / MAX_BODY_BYTES;
    let large = lines([numbered(0)]) + &" ".repeat(MAX_BATCH_BYTES - 1000);
    let large = gzip(large.as_bytes());
    let many = gzip(lines((0..1000).map(numbered)).as_bytes());
    let few = gzip(lines((0..100).map(numbered)).as_bytes());
    for packed in [&large, &many] {
        assert!(packed.len() < 64 << 10);
        assert_eq!(post(&collector, REPORTS, GZIP, packed).status, 200);
    }
    let held: Vec<_> = (0..count).map(|_| slow(MAX_BODY_BYTES)).collect();
    for packed in [&large, &many] {
        wait_for("a refusal", DEADLINE, || {
            let answer = post(&collector, REPORTS, GZIP, packed);
            (answer.status == 503 && answer.header("retry-after") == "1").then_some(())
        });
    }
    assert_eq!(post(&collector, REPORTS, GZIP, &few).status, 200);
    drop(held);
    for packed in [&large, &many] {
        wait_for("room again", DEADLINE, || {
            (post(&collector, REPORTS, GZIP, packed).status == 200).then_some(())
        });
    }
}

#[test]
fn what_the_database_does_not_take_is_an_exception() {
    let collector = Program::new(TOML);
    let other = rusqlite::Connection::open(collector.folder.path().join("reports.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = lines([numbered(0), report(json!({"client_id": 7})), numbered(1)]);
    let answer = batch(&collector, &body);
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["reports"], 3);
    let exceptions = answer["exceptions"].as_array().unwrap();
    let told: Vec<_> = exceptions
        .iter()
        .map(|it| (&it["line"], &it["status"]))
        .collect();
    let expected =
        [(1, 503), (2, 404), (3, 503)].map(|(line, status)| (json!(line), json!(status)));
    assert_eq!(
        told,
        expected.each_ref().map(|(line, status)| (line, status))
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        batch(&collector, &body).json()["exceptions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(seqs(&collector), [0, 1]);
}

#[test]
fn the_log_hears_of_lines_as_of_single_reports() {
    let collector = Program::new(TOML);
    let ahead = report(json!({"time": 4_000_000_000.0, "boot": "b", "seq": 1}));
    let unknown = report(json!({"client_id": 8}));
    for _ in 0..3 {
        batch(
            &collector,
            &lines([unknown.clone(), ahead.clone(), unknown.clone()]),
        );
    }
    let told = format!("refused POST {REPORTS} of 127.0.0.1, client 8: 404 no host");
    wait_for("both", DEADLINE, || {
        let log = collector.output();
        (log.contains(&told) && log.contains("its clock is")).then_some(())
    });
    assert_eq!(collector.output().matches("client 8").count(), 1);
}

#[test]
fn what_a_batch_acknowledges_survives_a_kill() {
    let mut collector = Program::new(TOML);
    let mut next = 0;
    for _ in 0..5 {
        let body = lines((next..next + 100).map(numbered));
        let answer = batch(&collector, &body);
        assert_eq!(answer.json()["exceptions"], json!([]));
        next += 100;
        collector = Program::start(collector.kill());
        assert_eq!(seqs(&collector), (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn who_has_the_services_document_is_told_so() {
    let services = "[templates.t.services]\nLoad = [\"get_linux_load\", 5]\n";
    let collector = Program::new(&format!("{TOML}templates = [\"t\"]\n{services}"));
    let ask = |head: &str| {
        let mut client = Client::connect(collector.address);
        client.send(&format!(
            "GET /api/client/config/2 HTTP/1.1\r\nHost: localhost\r\n{head}\r\n"
        ));
        client.answer().unwrap()
    };
    let whole = ask("");
    assert_eq!((whole.status, whole.header("mote-batch")), (200, "1"));
    let tag = whole.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    let same = ask(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(
        (same.header("etag"), same.header("mote-batch")),
        (tag.as_str(), "1")
    );
    assert_eq!(ask("If-None-Match: \"other\"\r\n").json(), whole.json());

    let path = collector.folder.path().join("server.toml");
    let toml = fs::read_to_string(&path).unwrap().replace(", 5]", ", 6]");
    fs::write(&path, toml).unwrap();
    collector.signal(nix::sys::signal::Signal::SIGHUP);
    let changed = wait_for("the change", DEADLINE, || {
        let answer = ask(&format!("If-None-Match: {tag}\r\n"));
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(
        changed.json(),
        json!({"services": {"Load": ["get_linux_load", 6]}})
    );
    assert_ne!(changed.header("etag"), tag);
    // Who may not have it learns nothing from its tag.
    let mut client = Client::connect(collector.address);
    client.send("GET /api/client/config/7 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 404);
}
