//! `mote enroll`: a code becomes a token, once.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::{Authority, Shown};
use super::{GOOD, put};
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Said, Site, said, server_settings};
use mote_test_support::{free_port, mote};

pub const CODE: &str = "K7Q2-9XWM";
const TOKEN: &str = "enrolled-token_0123456789";

pub type Codes = Arc<Mutex<Vec<Value>>>;

/// From now on takes codes, and lets in whoever has the token. Returns the requests.
pub fn enrol_at(server: &Server, answer: Answer) -> Codes {
    let codes = Codes::default();
    let seen = Arc::clone(&codes);
    server.script(move |request: &Request| {
        let bearer = format!("Bearer {TOKEN}");
        if request.path.ends_with("/api/enroll") {
            assert_eq!(request.method, "POST");
            assert_eq!(request.values("content-type"), ["application/json"]);
            let body = serde_json::from_slice(&request.body).unwrap();
            seen.lock().unwrap().push(body);
            return answer.clone();
        }
        match request.values("authorization") == [bearer] {
            true => good(GOOD, request),
            false => Answer::status(401, ""),
        }
    });
    codes
}

pub fn yes(id: &str) -> Answer {
    Answer::ok(format!("{{\"client_id\": {id}, \"token\": \"{TOKEN}\"}}"))
}

pub fn enroll(arguments: &[&str]) -> Said {
    let said = said(mote().arg("enroll").args(arguments));
    for text in [&said.out, &said.err] {
        assert!(!text.contains(TOKEN) && !text.contains(CODE), "{said:?}");
    }
    said
}

/// What is sent of a host without settings: the code and, in case that is for a group, the name of the machine.
fn asked() -> Value {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    json!({"client_id": name.trim(), "code": CODE})
}

#[test]
fn a_new_host_is_enrolled_with_one_command() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let codes = enrol_at(&server, yes("\"web 1\""));
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    let (config, ca) = (path("etc/agent.toml"), path("ca.pem"));
    let said = enroll(&[&url, "--code", CODE, "--ca-file", &ca, "--config", &config]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(
        said.out,
        format!(
            "{url}: this is client web 1, and its token is in {}\n{config}: the settings are made\n",
            path("etc/token")
        )
    );
    assert_eq!(*codes.lock().unwrap(), [asked()]);
    let token = path("etc/token");
    assert_eq!(fs::read_to_string(&token).unwrap(), format!("{TOKEN}\n"));
    assert_eq!(fs::metadata(&token).unwrap().mode() & 0o7777, 0o600);
    // With the authority: the agent may not be able to read the one that was named.
    assert_eq!(fs::read_dir(path("etc")).unwrap().count(), 3);
    assert_eq!(
        fs::read_to_string(path("etc/ca.pem")).unwrap(),
        authority.pem()
    );
    fs::rename(path("ca.pem"), path("gone.pem")).unwrap();
    let said = mote_test_support::site::said(mote().args(["--config", &config, "check"]));
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert!(
        said.out.contains("client web 1 monitors 1 services"),
        "{said:?}"
    );
    fs::rename(path("gone.pem"), path("ca.pem")).unwrap();

    // A second enrolment would replace the token.
    let said = enroll(&[&url, "--code", CODE, "--ca-file", &ca, "--config", &config]);
    let there = format!("mote: {token} is there already; with --force it is replaced\n");
    assert_eq!((said.code, said.err), (1, there));
    assert_eq!(codes.lock().unwrap().len(), 1);
    fs::write(&token, "damaged").unwrap();
    let said = enroll(&[
        &url,
        "--code",
        CODE,
        "--force",
        "--ca-file",
        &ca,
        "--config",
        &config,
    ]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(fs::read_to_string(&token).unwrap(), format!("{TOKEN}\n"));
}

#[test]
fn a_code_from_standard_input_is_in_no_list_of_processes() {
    let server = Server::new(GOOD);
    let codes = enrol_at(&server, yes("5"));
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("agent.toml");
    let mut child = mote()
        .args(["enroll", &server.url(), "--code", "-", "--config"])
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{CODE}\n").as_bytes()).unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(*codes.lock().unwrap(), [asked()]);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("client_id = 5\n"), "{text}");
}

#[test]
fn a_refusal_is_the_server_s_sentence_and_leaves_nothing() {
    let server = Server::new(GOOD);
    let url = server.url();
    let refused = |status, body: &str| Answer::status(status, body);
    let cases = [
        (
            refused(403, r#"{"error": "the code is unknown, used or expired"}"#),
            "answered 403 Forbidden: it says \"the code is unknown, used or expired\"",
        ),
        (
            refused(429, r#"{"error": "too many tries"}"#).with_header("Retry-After", "60"),
            "answered 429 Too Many Requests: it says \"too many tries\"",
        ),
        (
            refused(403, &format!(r#"{{"error": "no {CODE}"}}"#)),
            "answered 403 Forbidden",
        ),
        (refused(404, "<html>"), "answered 404 Not Found"),
        (
            refused(200, "{}"),
            "answered without a valid client id and token",
        ),
        (
            refused(200, r#"{"client_id": 1, "token": "short"}"#),
            "answered without a valid client id and token",
        ),
        (
            refused(200, &format!(r#"{{"client_id": -1, "token": "{TOKEN}"}}"#)),
            "answered without a valid client id and token",
        ),
        (
            refused(
                200,
                &format!(r#"{{"client_id": "a\u001b", "token": "{TOKEN}"}}"#),
            ),
            "answered without a valid client id and token",
        ),
    ];
    for (answer, sentence) in cases {
        enrol_at(&server, answer);
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("agent.toml").display().to_string();
        let said = enroll(&[&url, "--code", CODE, "--config", &config]);
        let expected = format!("mote: {url}/api/enroll {sentence}\n");
        assert_eq!((said.code, said.err), (69, expected));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{sentence}"
        );
    }
    let url = format!("http://127.0.0.1:{}", free_port());
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("agent.toml").display().to_string();
    let said = enroll(&[&url, "--code", CODE, "--config", &config]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains("Connection refused"), "{said:?}");
}

#[test]
fn a_token_that_comes_meanwhile_is_not_overwritten() {
    let server = Server::new(GOOD);
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    let other = token.clone();
    server.script(move |_| {
        fs::write(&other, "another").unwrap();
        yes("5")
    });
    let config = folder.path().join("agent.toml").display().to_string();
    let said = enroll(&[&server.url(), "--code", CODE, "--config", &config]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("token is there already"), "{said:?}");
    assert_eq!(fs::read_to_string(&token).unwrap(), "another");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn settings_that_are_there_stay_and_what_to_change_is_said() {
    let server = Server::new(GOOD);
    let codes = enrol_at(&server, yes("5"));
    let url = server.url();
    let site = Site::new(&server_settings(&url, ""));
    let config = site.path("agent.toml").display().to_string();
    let before = fs::read_to_string(&config).unwrap();
    let arguments = [&*url, "--code", CODE, "--config", &config];
    let said = enroll(&arguments);
    assert_eq!(said.code, 78, "{said:?}");
    assert_eq!(
        said.err,
        format!(
            "mote: {config}: set `client_id = 5` and `token_file = \"token\"` in [server] before the agent starts\n"
        )
    );
    assert!(site.path("token").exists());
    assert_eq!(fs::read_to_string(&config).unwrap(), before);

    // The file that the settings name is the one that is written.
    site.write_settings(&server_settings(&url, "token_file = \"secrets\""));
    let agreed = fs::read_to_string(&config).unwrap();
    fs::write(&config, agreed.replace("client_id = 1", "client_id = 5")).unwrap();
    let said = enroll(&arguments);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert!(site.path("secrets").exists());

    // No code is spent for another server.
    fs::remove_file(site.path("secrets")).unwrap();
    let spent = codes.lock().unwrap().len();
    site.write_settings(&server_settings("http://127.0.0.1:1", ""));
    let said = enroll(&arguments);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(
        said.err
            .contains("`server.url` is http://127.0.0.1:1; change it to"),
        "{said:?}"
    );
    put(&site, "agent.toml", "client_id = 1\nservices = {}\n");
    let said = enroll(&arguments);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(
        said.err.contains("there is no [server]; add one"),
        "{said:?}"
    );
    assert_eq!(codes.lock().unwrap().len(), spent);
}

#[test]
fn wrong_usage_costs_no_code() {
    for arguments in [
        &["http://monitor.example", "--code", CODE][..],
        &["monitor", "--code", CODE],
        &["https://monitor.example", "--code", ""],
        &["https://monitor.example"],
        &[
            "https://monitor.example",
            "--code",
            CODE,
            "--ca-file",
            "/does/not/exist",
        ],
    ] {
        let said = enroll(arguments);
        assert_eq!(said.code, 64, "{said:?}");
    }
}
