//! What a refusal says: one sentence of its own, and nothing is changed by what browsers send for other sites.

use std::net::SocketAddr;

use mote_test_support::collector::{Program, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::users::user;

const TOML: &str =
    "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n[groups.g]\n";

fn post(address: SocketAddr, path: &str, lines: &str, body: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.answer().unwrap()
}

#[test]
fn what_changes_something_needs_a_type_that_no_form_can_send() {
    let collector = Program::new(TOML);
    let silence = "{\"client_id\": 1, \"for_s\": 60, \"reason\": \"r\"}";
    let all = [
        (
            "/api/login",
            "{\"user\": \"ada\", \"password\": \"x\"}",
            403,
        ),
        ("/api/enter", "{\"code\": \"x\"}", 403),
        ("/api/enroll", "{\"code\": \"x\"}", 403),
        ("/api/invitations", "{\"group\": \"g\"}", 200),
        ("/api/silences", silence, 200),
    ];
    for (path, body, status) in all {
        for lines in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: multipart/form-data; boundary=application/json\r\n",
            "Content-Type: text/plain\r\nContent-Type: application/json\r\n",
        ] {
            let answer = post(collector.address, path, lines, body);
            assert_eq!(answer.status, 415, "{path} {lines}: {}", answer.body);
        }
        let lines = "Content-Type: Application/JSON; charset=utf-8\r\n";
        let answer = post(collector.address, path, lines, body);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    // Reports may be of any type, as clients of the family have it; a browser says whose page it is.
    let report = "{\"client_id\": 1, \"service_name\": \"a\", \"data\": {}}";
    for path in ["/api/client/service/report", "/api/client/service/reports"] {
        for (lines, status) in [
            ("Content-Type: text/plain\r\n", 200),
            (
                "Content-Type: text/plain\r\nOrigin: http://evil.example\r\n",
                403,
            ),
            (
                "Content-Type: text/plain\r\nSec-Fetch-Site: cross-site\r\n",
                403,
            ),
        ] {
            let answer = post(collector.address, path, lines, report);
            assert_eq!(answer.status, status, "{path} {lines}: {}", answer.body);
        }
    }
}

#[test]
fn a_401_names_only_what_would_let_one_in() {
    let users = user("ada", "admin", "correct horse battery");
    let told = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("reader"), "token-of-whoever-reads");
        std::fs::write(
            folder.path().join("server.toml"),
            format!("{more}{TOML}{users}"),
        )
        .unwrap();
        let collector = Program::start(folder);
        let answer = collector.get("/api/hosts", "Bearer wrong-token");
        assert_eq!(answer.status, 401);
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        told(""),
        "log in; the settings name no read_token_file with a token for programs"
    );
    assert_eq!(
        told("read_token_file = \"reader\"\n"),
        "log in, or send the token of read_token_file as a bearer token"
    );
}

#[test]
fn a_refusal_is_one_sentence_that_says_what_to_do() {
    let collector = Program::new(TOML);
    let json = "Content-Type: application/json\r\n";
    let ask = |method: &str, path: &str, body: &str| {
        let address = collector.address;
        let mut client = Client::connect(address);
        client.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{json}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 400, "{method} {path}: {}", answer.body);
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    let such_as = "the body is not such as {\"client_id\": 1, \"for_s\": 7200, \"reason\": \"…\"} in JSON; send that";
    for body in [
        "",
        "[]",
        "{",
        "{\"client_id\": 1}",
        "{\"client_id\": 1, \"for_s\": \"long\", \"reason\": \"r\"}",
    ] {
        assert_eq!(ask("POST", "/api/silences", body), such_as, "{body}");
    }
    assert_eq!(
        ask("DELETE", "/api/silences/x", ""),
        "\"x\" is not the number of a silence; `GET /api/alarms` lists them"
    );
    let no_text = "the address has bytes that are no text in UTF-8";
    for (method, path) in [
        ("DELETE", "/api/silences/%ff"),
        ("GET", "/api/client/config/%ff"),
        ("GET", "/page/%ff"),
    ] {
        assert_eq!(ask(method, path, ""), no_text, "{path}");
    }
    assert_eq!(
        ask("GET", "/api/hosts?host=web", ""),
        "there is no parameter \"host\" here; there are client_id"
    );
    assert_eq!(
        ask("GET", "/api/events?from=1&from=2", ""),
        "a parameter stands in the address more than once; name each once"
    );
    let report = "/api/client/service/report";
    let told = ask(
        "POST",
        report,
        "{\"client_id\": 1, \"service_name\": \"a\"}",
    );
    assert!(
        told.starts_with("data is not a JSON object; send such as {"),
        "{told}"
    );
    let told = ask("POST", report, "client_id=1");
    assert!(!told.contains("missing field"), "{told}");
}
