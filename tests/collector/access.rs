//! Who may look: from where, by which name, through which proxy.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::json;

use super::running::report;
use mote_test_support::collector::{Program, REPORT, bearer, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::{DEADLINE, Running, mote, wait_for};
use nix::sys::signal::Signal;

const READING: [&str; 4] = ["/", "/api/hosts", "/api/reports", "/api/accounting"];

const TOML: &str = r#"
    database = "reports.db"
    [hosts.web]
    id = 1
    [users.ada]
    role = "admin"
    [users.bob]
"#;

pub fn ask(address: SocketAddr, method: &str, path: &str, lines: &str, body: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(&format!(
        "{method} {path} HTTP/1.1\r\n{lines}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.answer().unwrap()
}

fn get(collector: &Program, path: &str, lines: &str) -> Answer {
    let lines = format!("Host: {}\r\n{lines}", collector.address);
    ask(collector.address, "GET", path, &lines, "")
}

/// The same over an address of this machine that is not loopback. `None` if it has none.
fn elsewhere(collector: &Program) -> Option<SocketAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing.
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback()).then(|| SocketAddr::new(own, collector.address.port()))
}

fn in_short(answer: &Answer) -> (u16, String) {
    let told = answer.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, told)
}

#[test]
fn without_users_only_this_machine_looks() {
    let collector = Program::new(
        "listen = \"0.0.0.0:0\"\nallow_anonymous = true\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n",
    );
    let local = SocketAddr::from(([127, 0, 0, 1], collector.address.port()));
    let status = |address, path, lines: &str| {
        let lines = format!("Host: {address}\r\n{lines}");
        ask(address, "GET", path, &lines, "").status
    };
    for path in READING {
        assert_eq!(status(local, path, ""), 200, "{path}");
        // A proxy on this machine may serve anybody.
        for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"] {
            let line = format!("{name}: 127.0.0.1\r\n");
            assert_eq!(status(local, path, &line), 403, "{path} {name}");
        }
    }
    let remote = elsewhere(&collector).expect("an address that is not loopback");
    for path in READING {
        let (status, told) = in_short(&ask(
            remote,
            "GET",
            path,
            &format!("Host: {remote}\r\n"),
            "",
        ));
        assert_eq!(status, 403, "{path}");
        assert!(told.contains("mote passwd"), "{told}");
    }
    // Hosts report from there all the same.
    assert_eq!(status(remote, "/api/client/config/1", ""), 200);
    // The document of the page is the program's, and shows the sentence.
    let page = ask(
        remote,
        "GET",
        "/",
        &format!("Host: {remote}\r\nAccept: text/html\r\n"),
        "",
    );
    assert_eq!(page.status, 200);
    let me = ask(remote, "GET", "/api/me", &format!("Host: {remote}\r\n"), "").json();
    assert_eq!((&me["me"], &me["log_in"]), (&json!(null), &json!(false)));
    let me = ask(local, "GET", "/api/me", &format!("Host: {local}\r\n"), "").json();
    assert_eq!(me["me"], json!({"role": "admin", "by": "loopback"}));
}

#[test]
fn the_link_of_a_start_lets_one_in_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "listen = \"0.0.0.0:0\"\nrequire_tokens = true\ndatabase = \"reports.db\"\n";
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    let collector = Program::start(folder);
    let output = wait_for("the link", DEADLINE, || {
        let output = collector.output();
        output.contains("/#/enter/").then_some(output)
    });
    let (_, code) = output.split_once("/#/enter/").unwrap();
    let code = code.split_whitespace().next().unwrap();
    let remote = elsewhere(&collector).expect("an address that is not loopback");
    let host = format!("Host: {remote}\r\n");
    let enter = |code: &str| {
        let body = json!({"code": code}).to_string();
        ask(remote, "POST", "/api/enter", &host, &body)
    };
    assert_eq!(enter("wrong").status, 403);
    let answer = enter(code);
    assert_eq!(answer.json()["me"], json!({"role": "admin", "by": "link"}));
    let cookie = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let lines = format!("{host}Cookie: {cookie}\r\n");
    assert_eq!(ask(remote, "GET", "/api/hosts", &lines, "").status, 200);
    assert_eq!(enter(code).status, 403, "once");

    // Once there are users, they log in.
    let toml = format!("{toml}[users.ada]\n");
    fs::write(collector.folder.path().join("server.toml"), toml).unwrap();
    wait_for("the users", DEADLINE, || {
        let answer = ask(remote, "GET", "/api/hosts", &lines, "");
        (answer.status == 401).then_some(())
    });
}

#[test]
fn a_trusted_proxy_says_who_it_is_and_nobody_else() {
    let settings = |proxies: &str| {
        format!("listen = \"127.0.0.1:0\"\n{proxies}proxy_user_header = \"Remote-User\"\n{TOML}")
    };
    let trusting = Program::new(&settings("trusted_proxies = [\"127.0.0.1\"]\n"));
    let other = Program::new(&settings("trusted_proxies = [\"192.0.2.1\"]\n"));
    let as_user = |collector: &Program, lines: &str| {
        let me = get(collector, "/api/me", lines).json()["me"].clone();
        let status = get(collector, "/api/hosts", lines).status;
        (status, me)
    };
    let ada = json!({"user": "ada", "role": "admin", "by": "proxy"});
    let bob = json!({"user": "bob", "role": "viewer", "by": "proxy"});
    assert_eq!(as_user(&trusting, "Remote-User: ada\r\n"), (200, ada));
    assert_eq!(as_user(&trusting, "Remote-User: bob\r\n"), (200, bob));
    for (lines, status) in [
        ("Remote-User: eve\r\n", 403),
        ("Remote-User: \r\n", 403),
        ("Remote-User: ada\r\nRemote-User: bob\r\n", 403),
        ("X-Forwarded-For: 127.0.0.1\r\n", 401),
        ("", 401),
    ] {
        assert_eq!(as_user(&trusting, lines), (status, json!(null)), "{lines}");
    }
    for lines in [
        "Remote-User: ada\r\n",
        "Remote-User: ada\r\nX-Forwarded-For: 192.0.2.1\r\n",
    ] {
        assert_eq!(as_user(&other, lines), (401, json!(null)), "{lines}");
    }
    // The log names whom the proxy names.
    let _ = get(&trusting, "/api/hosts", "X-Forwarded-For: 203.0.113.77\r\n");
    wait_for("its address", DEADLINE, || {
        trusting
            .output()
            .contains("of 203.0.113.77: 401")
            .then_some(())
    });
    assert!(!other.output().contains("203.0.113.77"));
}

#[test]
fn programs_read_with_a_token_beside_users() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("listen = \"127.0.0.1:0\"\nread_token_file = \"reader\"\n{TOML}");
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    write_secret(&folder.path().join("reader"), "token-of-whoever-reads");
    let collector = Program::start(folder);
    for path in READING {
        let answer = collector.get(path, &bearer("token-of-whoever-reads"));
        assert_eq!(answer.status, 200, "{path}");
        for wrong in ["", &bearer("token-of-somebody-else")] {
            let answer = collector.get(path, wrong);
            assert_eq!(answer.status, 401, "{path} {wrong}");
            // No browser asks for a password by itself: the page has a form.
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[test]
fn pages_of_other_sites_are_refused_whatever_they_ask() {
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nhost_names = [\"monitor.example\"]\n[hosts.web]\nid = 1\n",
    );
    let own = format!("Host: localhost:{}\r\n", collector.address.port());
    let body = report(json!({"client_id": 1})).to_string();
    let post = |lines: &str| ask(collector.address, "POST", REPORT, lines, &body).status;
    assert_eq!(post(&own), 200);
    for (lines, status) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
    ] {
        assert_eq!(post(&format!("{own}{lines}")), status, "{lines}");
    }
    // A name of theirs that leads to this address.
    let theirs =
        "Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(post(theirs), 403);
    for path in [
        "/",
        "/api/hosts",
        "/api/reports",
        "/api/client/config/1",
        "/api/me",
    ] {
        let status = |host: &str| ask(collector.address, "GET", path, host, "").status;
        assert_eq!(status("Host: evil.example\r\n"), 403, "{path}");
        assert_eq!(status("Host: Monitor.example:80\r\n"), 200, "{path}");
        assert_eq!(status(&own), 200, "{path}");
        let foreign = format!("{own}Origin: http://evil.example\r\n");
        assert_eq!(status(&foreign), 403, "{path}");
    }
    assert_eq!(collector.count("1"), 2);
}

#[test]
fn it_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("server.toml"),
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n",
    )
    .unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "ulimit -c unlimited && exec \"$0\" serve --config server.toml",
        ])
        .arg(mote().get_program())
        .current_dir(folder.path());
    let mut process = Running::start("serve", &mut command, folder.path());
    process.wait_for_output("://");
    process.signal(Signal::SIGABRT);
    let status = process.wait();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn settings_that_let_in_whom_they_should_not_are_refused() {
    for (lines, told) in [
        (
            "proxy_user_header = \"X\"\n",
            "server.toml:1: `proxy_user_header` is of use only with",
        ),
        (
            "trusted_proxies = [\"proxy\"]\n",
            "server.toml:1: `trusted_proxies` must be an address",
        ),
        (
            "[users.ada]\nrole = \"root\"\n",
            "server.toml:2: `users.ada.role` must be",
        ),
        (
            "[users.ada]\npassword = \"secret\"\n",
            "server.toml:2: `users.ada.password` must be a hash",
        ),
        ("[users.\"\"]\n", "server.toml:1: `users.` must have a name"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server.toml"), lines).unwrap();
        let refused = mote_test_support::collector::refusal(folder.path());
        assert!(refused.contains(told), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}
