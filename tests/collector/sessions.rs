//! Logging in and out.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::access::ask;
use mote_test_support::collector::Program;
use mote_test_support::http::Answer;
use mote_test_support::pty::Pty;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, mote, wait_for};

const PASSWORD: &str = "correct horse battery";

fn settings(users: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\ntrusted_proxies = [\"127.0.0.2\"]\n{users}"
    )
}

fn with_ada() -> Program {
    Program::new(&settings(&user("ada", "admin", PASSWORD)))
}

fn post(collector: &Program, path: &str, lines: &str, body: &str) -> Answer {
    let lines = format!("Host: {}\r\n{lines}", collector.address);
    ask(collector.address, "POST", path, &lines, body)
}

fn log_in(collector: &Program, name: &str, password: &str) -> Answer {
    let body = json!({"user": name, "password": password}).to_string();
    post(collector, "/api/login", "", &body)
}

/// The line that a browser sends from then on.
fn cookie(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cookie = answer.header("set-cookie");
    let (pair, _) = cookie.split_once(';').unwrap();
    format!("Cookie: theme=dark; {pair}\r\n")
}

fn status(collector: &Program, cookie: &str) -> u16 {
    let lines = format!("Host: {}\r\n{cookie}", collector.address);
    ask(collector.address, "GET", "/api/hosts", &lines, "").status
}

#[test]
fn a_password_opens_a_session_until_it_is_closed() {
    let collector = with_ada();
    assert_eq!(status(&collector, ""), 401);
    let answer = log_in(&collector, "ada", PASSWORD);
    let ada = json!({"user": "ada", "role": "admin", "by": "session"});
    assert_eq!(answer.json()["me"], ada);
    assert_eq!(answer.header("cache-control"), "no-store");
    let attributes: Vec<&str> = answer.header("set-cookie").split("; ").skip(1).collect();
    assert_eq!(
        attributes,
        ["Max-Age=2592000", "Path=/", "HttpOnly", "SameSite=Strict"]
    );
    let first = cookie(&answer);
    let second = cookie(&log_in(&collector, "ada", PASSWORD));
    assert_ne!(first, second);
    assert_eq!(status(&collector, &first), 200);
    assert_eq!(
        status(&collector, &first.replace("session=", "session=0")),
        401
    );

    // They survive a kill, and one ends without the other.
    let collector = Program::start(collector.kill());
    assert_eq!(status(&collector, &first), 200);
    let answer = post(&collector, "/api/logout", &first, "");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("set-cookie")
            .starts_with("mote_session=; Max-Age=0; ")
    );
    assert_eq!(
        (status(&collector, &first), status(&collector, &second)),
        (401, 200)
    );
    let collector = Program::start(collector.kill());
    assert_eq!(
        (status(&collector, &first), status(&collector, &second)),
        (401, 200)
    );

    // The token is nowhere but in the browser.
    let token = second.trim_end().rsplit('=').next().unwrap().as_bytes();
    for entry in fs::read_dir(collector.folder.path()).unwrap().flatten() {
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        assert!(
            !bytes.windows(token.len()).any(|it| it == token),
            "{entry:?}"
        );
    }
}

/// Also when the user comes back as before, before or after a restart.
#[test]
fn a_session_ends_with_its_user_and_with_the_password() {
    let mut collector = with_ada();
    let file = collector.folder.path().join("server.toml");
    let before = fs::read_to_string(&file).unwrap();
    let gone = settings(&user("bob", "admin", PASSWORD));
    let changed = settings(&user("ada", "admin", "another password"));
    let mut over = Vec::new();
    for (other, is_stopped) in [(&gone, false), (&changed, false), (&gone, true)] {
        let session = cookie(&log_in(&collector, "ada", PASSWORD));
        if is_stopped {
            let folder = collector.kill();
            fs::write(&file, other).unwrap();
            collector = Program::start(folder);
            assert_eq!(status(&collector, &session), 401);
        } else {
            fs::write(&file, other).unwrap();
            wait_for("its end", DEADLINE, || {
                (status(&collector, &session) == 401).then_some(())
            });
        }
        over.push(session);
        fs::write(&file, &before).unwrap();
        let fresh = wait_for("the user's return", DEADLINE, || {
            let answer = log_in(&collector, "ada", PASSWORD);
            (answer.status == 200).then(|| cookie(&answer))
        });
        for is_restarted in [false, true] {
            if is_restarted {
                collector = Program::start(collector.kill());
            }
            let seen: Vec<u16> = over.iter().map(|it| status(&collector, it)).collect();
            assert!(seen.iter().all(|it| *it == 401), "{seen:?} {is_restarted}");
            assert_eq!(status(&collector, &fresh), 200);
        }
    }
}

#[test]
fn who_is_wrong_learns_nothing_and_waits() {
    let collector = with_ada();
    let session = cookie(&log_in(&collector, "ada", PASSWORD));
    let wrong = log_in(&collector, "ada", "correct horse");
    let nobody = log_in(&collector, "eve", PASSWORD);
    assert_eq!((wrong.status, nobody.status), (401, 401));
    assert_eq!(wrong.body, nobody.body);
    for body in [
        "",
        "[]",
        "{}",
        "{\"user\": \"ada\"}",
        "{\"user\": 1, \"password\": \"x\"}",
    ] {
        let answer = post(&collector, "/api/login", "", body);
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(
        post(&collector, "/api/login", "", &"x".repeat(5000)).status,
        413
    );
    // The sixth wrong one in a row has to wait, and the right one with it.
    for _ in 0..3 {
        assert_eq!(log_in(&collector, "ada", "").status, 401);
    }
    let refused = log_in(&collector, "ada", PASSWORD);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    // Not others, as a trusted proxy names them, nor those who have logged in.
    let other = json!({"user": "ada", "password": PASSWORD}).to_string();
    assert_eq!(status(&collector, &session), 200);
    let lines = "X-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(
        post(&collector, "/api/login", lines, &other).status,
        429,
        "who is no proxy names nobody"
    );
    wait_for("the end of the wait", DEADLINE, || {
        (log_in(&collector, "ada", PASSWORD).status == 200).then_some(())
    });
    let output = collector.output();
    assert!(
        output.contains("401 the name or the password is wrong"),
        "{output}"
    );
    assert!(!output.contains("horse"), "{output}");
}

#[test]
fn behind_a_trusted_proxy_each_waits_alone_and_cookies_are_for_https() {
    let toml = settings(&user("ada", "admin", PASSWORD)).replace("127.0.0.2", "127.0.0.1");
    let collector = Program::new(&toml);
    let body = json!({"user": "ada", "password": PASSWORD}).to_string();
    let wrong = json!({"user": "ada", "password": "wrong"}).to_string();
    let from = |address: &str, body: &str| {
        let lines =
            format!("X-Forwarded-For: 198.51.100.1, {address}\r\nX-Forwarded-Proto: https\r\n");
        post(&collector, "/api/login", &lines, body)
    };
    for _ in 0..5 {
        assert_eq!(from("203.0.113.1", &wrong).status, 401);
    }
    assert_eq!(from("203.0.113.1", &wrong).status, 429);
    let answer = from("203.0.113.2", &body);
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("set-cookie")
            .ends_with("; SameSite=Strict; Secure")
    );
}

#[test]
fn other_sites_log_nobody_in() {
    let collector = with_ada();
    let body = json!({"user": "ada", "password": PASSWORD}).to_string();
    for path in ["/api/login", "/api/logout", "/api/enter"] {
        let answer = post(&collector, path, "Origin: http://evil.example\r\n", &body);
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.header("set-cookie"), "", "{path}");
    }
}

#[test]
fn many_passwords_at_once_hold_up_no_report() {
    let collector = with_ada();
    let busy = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| log_in(&collector, "ada", "wrong password").status))
            .collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            assert_eq!(status(&collector, ""), 401);
        }
        logins
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect::<Vec<_>>()
    });
    // Five are compared, and one each time that a wait of 1, 2, 4, … s is over.
    let compared = busy.iter().filter(|it| **it == 401).count();
    assert!((5..=12).contains(&compared), "{busy:?}");
    assert!(busy.iter().all(|it| [401, 429].contains(it)), "{busy:?}");
}

#[test]
fn passwd_takes_a_password_that_nobody_sees() {
    let table = user("ada lovelace", "viewer", &format!("{PASSWORD}\nmore\n"));
    assert!(table.starts_with(
        "[users.\"ada lovelace\"]\nrole = \"viewer\"\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$"
    ));
    let collector = Program::new(&settings(&table));
    assert_eq!(log_in(&collector, "ada lovelace", PASSWORD).status, 200);
    for (name, password) in [("ada", "short"), ("", PASSWORD), ("ada", "")] {
        let mut process = mote()
            .args(["passwd", name])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may end before it reads.
        let _ = process.stdin.take().unwrap().write_all(password.as_bytes());
        assert_eq!(
            process.wait().unwrap().code(),
            Some(64),
            "{name:?} {password:?}"
        );
    }
}

#[test]
fn passwd_asks_twice_on_a_terminal_and_shows_nothing() {
    for (again, code) in [(PASSWORD, 0), ("another one", 64)] {
        let mut pty = Pty::open();
        let process = mote()
            .args(["passwd", "ada"])
            .stdin(pty.slave.try_clone().unwrap())
            .stderr(pty.slave.try_clone().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = String::new();
        let mut bytes = [0; 4096];
        for (question, answer) in [("Password: ", PASSWORD), ("Again: ", again)] {
            while !seen.contains(question) {
                let count = pty.master.read(&mut bytes).unwrap();
                seen += std::str::from_utf8(&bytes[..count]).unwrap();
            }
            pty.master
                .write_all(format!("{answer}\n").as_bytes())
                .unwrap();
        }
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{seen}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.contains("$argon2id$"), code == 0);
        drop(pty.slave);
        while let Ok(count @ 1..) = pty.master.read(&mut bytes) {
            seen += &String::from_utf8_lossy(&bytes[..count]);
        }
        assert!(
            !seen.contains("horse") && !seen.contains("another one"),
            "{seen}"
        );
    }
}
