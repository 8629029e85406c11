//! Codes for tokens.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::running::report;
use mote_test_support::collector::{Program, post};
use mote_test_support::http::Answer;
use mote_test_support::{DEADLINE, wait_for};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    reports_for = [7]
    [hosts.pump]
    [hosts.board]
    id = 7
"#;

fn enroll(collector: &Program, code: &str) -> Answer {
    collector.post("/api/enroll", "", &json!({"code": code}))
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_code_is_exchanged_for_a_token_once() {
    let collector = Program::new(TOML);
    assert_eq!(collector.services("1", "").status, 200);
    let code = collector.code("web");
    assert_eq!(collector.services("1", "").status, 200, "not yet");
    let answer = enroll(&collector, &code);
    assert_eq!(answer.json()["client_id"], 1);
    assert_eq!(answer.header("cache-control"), "no-store");
    let token_of_web = token(&answer);
    assert!((16..=256).contains(&token_of_web.len()));

    // At once, and after a kill.
    assert_eq!(collector.services("1", "").status, 401);
    assert_eq!(collector.services("7", &token_of_web).status, 200);
    let collector = Program::start(collector.kill());
    assert_eq!(collector.services("1", "").status, 401);
    let sent = report(json!({"client_id": 1}));
    assert_eq!(collector.report(&token_of_web, &sent).status, 200);
    assert_eq!(collector.services("pump", "").status, 200);

    let used = enroll(&collector, &code);
    let unknown = enroll(&collector, "00000-00000-00000-00000");
    let no_code = enroll(&collector, "no code");
    for answer in [&used, &unknown, &no_code] {
        assert_eq!((answer.status, &answer.body), (403, &used.body));
    }
    // By name, and as somebody may type it.
    let typed = collector.code("pump").replace('-', " ").to_lowercase();
    let answer = enroll(&collector, &typed);
    assert_eq!(answer.json()["client_id"], "pump");
    assert_eq!(collector.services("pump", &token(&answer)).status, 200);
    assert_eq!(collector.services("pump", &token_of_web).status, 403);

    let database = std::fs::read(collector.folder.path().join("reports.db")).unwrap();
    let log = std::fs::read(collector.folder.path().join("reports.db-wal")).unwrap();
    for secret in [code.replace('-', ""), code, token_of_web] {
        let secret = secret.as_bytes();
        let is_there = |bytes: &[u8]| bytes.windows(secret.len()).any(|it| it == secret);
        assert!(!is_there(&database) && !is_there(&log));
        assert!(!is_there(collector.output().as_bytes()));
    }
}

#[test]
fn of_two_at_the_same_instant_one_gets_the_token() {
    let collector = Program::new(TOML);
    for _ in 0..4 {
        let code = collector.code("web");
        let barrier = Barrier::new(2);
        let mut statuses = std::thread::scope(|scope| {
            let tries = [(); 2].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    enroll(&collector, &code).status
                })
            });
            tries.map(|it| it.join().unwrap())
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
    }
}

#[test]
fn a_code_expires_and_a_host_is_revoked() {
    let collector = Program::new(TOML);
    let output = collector.invite(&["web", "--valid-for-s", "1"]);
    let late = String::from_utf8(output.stdout).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(enroll(&collector, late.trim()).status, 403);

    let tokens = [(); 2].map(|()| token(&enroll(&collector, &collector.code("1"))));
    for token in &tokens {
        assert_eq!(collector.services("1", token).status, 200);
    }
    let open = collector.code("web");
    let output = collector.invite(&["web", "--revoke"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "web: removed enrolled tokens: 2, open codes: 1\n"
    );
    wait_for("the end of the tokens", DEADLINE, || {
        (collector.services("1", &tokens[0]).status == 401).then_some(())
    });
    assert_eq!(collector.services("1", &tokens[1]).status, 401);
    // It is not a host that anybody may report for now.
    assert_eq!(collector.services("1", "").status, 401);
    assert_eq!(collector.services("7", "").status, 401);
    assert_eq!(enroll(&collector, &open).status, 403);
    let again = token(&enroll(&collector, &collector.code("web")));
    assert_eq!(collector.services("1", &again).status, 200);
}

#[test]
fn a_lost_database_opens_no_host_if_tokens_are_required() {
    // Without the setting nothing is left that says who had a token; the settings say so of it.
    for (keys, status) in [("", 200), ("require_tokens = true", 401)] {
        let collector = Program::new(&format!("{keys}\n{TOML}"));
        let first = token(&enroll(&collector, &collector.code("web")));
        let sent = report(json!({"client_id": 1}));
        assert_eq!(collector.services("1", "").status, 401);
        assert_eq!(collector.report(&first, &sent).status, 200);

        let folder = collector.terminate();
        for name in std::fs::read_dir(folder.path()).unwrap().flatten() {
            if name.file_name().to_string_lossy().starts_with("reports.db") {
                std::fs::remove_file(name.path()).unwrap();
            }
        }
        let collector = Program::start(folder);
        for id in ["1", "7", "pump", "8"] {
            let expected = if id == "8" && status == 200 {
                404
            } else {
                status
            };
            assert_eq!(collector.services(id, "").status, expected, "{keys}: {id}");
        }
        assert_eq!(collector.report("", &sent).status, status, "{keys}");
        // It is nobody's now; a collector without any tokens looks at none.
        assert_eq!(collector.services("1", &first).status, status, "{keys}");
        assert_eq!(collector.report(&first, &sent).status, status, "{keys}");
        let again = token(&enroll(&collector, &collector.code("web")));
        assert_eq!(collector.services("1", &again).status, 200);
    }
}

#[test]
fn who_guesses_waits_and_keeps_nobody_out() {
    let collector = Program::new(TOML);
    let code = collector.code("web");
    for body in [json!({}), json!({"code": 1}), json!("code"), Value::Null] {
        assert_eq!(collector.post("/api/enroll", "", &body).status, 400);
    }
    let long = json!({"code": "0".repeat(5000)});
    assert_eq!(collector.post("/api/enroll", "", &long).status, 413);
    // 50, 100, 200, 400 and 800 ms.
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(enroll(&collector, "00000-00000-00000-00000").status, 403);
    }
    assert!(began.elapsed() >= Duration::from_millis(1550));
    // Whoever has a code is not kept out, from the same address either.
    let answer = std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| enroll(&collector, "wrong").status);
        }
        enroll(&collector, &code)
    });
    assert_eq!(answer.status, 200);
}

#[test]
fn hosts_are_invited_while_others_report() {
    let collector = Program::new(TOML);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for boot in ["a", "b"] {
            let (done, address) = (&done, collector.address);
            scope.spawn(move || {
                for seq in 0.. {
                    let fields = json!({"client_id": 7, "boot": boot, "seq": seq});
                    let answer = post(address, "/api/client/service/report/", "", &report(fields));
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for _ in 0..5 {
            assert_eq!(enroll(&collector, &collector.code("pump")).status, 200);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn only_hosts_of_the_settings_are_invited() {
    let collector = Program::new(TOML);
    let output = collector.invite(&["nobody"]);
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("mote: there is no host \"nobody\" in the settings"),
        "{told}"
    );
    for seconds in ["0", "2592001", "x"] {
        let output = collector.invite(&["web", "--valid-for-s", seconds]);
        assert_eq!(output.status.code(), Some(64), "{seconds}");
    }
}
