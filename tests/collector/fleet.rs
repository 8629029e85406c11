//! Hosts that no file of the settings names: they enrol into a group with one code.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rcgen::{CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::access::ask;
use super::running::report;
use mote_test_support::collector::{Program, write_secret};
use mote_test_support::http::Answer;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, mote, wait_for};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    require_tokens = true
    enroll_into = "servers"
    [hosts.web]
    id = 1
    [groups.servers]
    templates = ["linux"]
    [groups.idle]
    [templates.linux.services]
    CPU = ["get_linux_cpu", 15]
"#;

fn enroll(collector: &Program, code: &str, id: Value) -> Answer {
    collector.post("/api/enroll", "", &json!({"code": code, "client_id": id}))
}

fn code(collector: &Program, arguments: &[&str]) -> String {
    let output = collector.invite(arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn hosts(collector: &Program) -> Vec<Value> {
    let hosts = collector.get("/api/hosts", "").json()["hosts"].clone();
    hosts.as_array().unwrap().clone()
}

#[test]
fn a_fleet_enrols_with_one_code() {
    let collector = Program::new(TOML);
    let fleet = code(&collector, &["--times", "3"]);
    let mut tokens = Vec::new();
    for (id, expected) in [
        (json!("db-1"), 200),
        // In the path of an address they are one.
        (json!("7"), 200),
        (json!(7), 409),
        (json!("db-1"), 409),
        // The settings have it: it needs a code of its own.
        (json!(1), 409),
        (json!(null), 400),
        (json!(""), 400),
        (json!("a\nb"), 400),
        (json!("db-2"), 200),
        (json!("db-3"), 403),
    ] {
        let answer = enroll(&collector, &fleet, id.clone());
        assert_eq!(answer.status, expected, "{id}: {}", answer.body);
        if expected == 200 {
            let answer = answer.json();
            let id = answer["client_id"].to_string().replace('"', "");
            let token = answer["token"].as_str().unwrap().to_owned();
            // At once.
            let services = collector.services(&id, &token);
            assert_eq!(
                services.json()["services"],
                json!({"CPU": ["get_linux_cpu", 15]})
            );
            tokens.push((id, token));
        }
    }
    // Each has its own token, and its own only.
    assert_eq!(collector.services("db-1", &tokens[2].1).status, 403);
    let names: Vec<Value> = hosts(&collector)
        .iter()
        .map(|it| it["label"].clone())
        .collect();
    assert_eq!(names, ["web", "7", "db-1", "db-2"].map(Value::from));
    let groups: Vec<Value> = hosts(&collector)
        .iter()
        .map(|it| it["groups"].clone())
        .collect();
    assert_eq!(
        groups[1..],
        [json!(["servers"]), json!(["servers"]), json!(["servers"])]
    );

    // After a kill, and after other settings.
    let collector = Program::start(collector.kill());
    let sent = report(json!({"client_id": "db-1", "service_name": "CPU"}));
    assert_eq!(collector.report(&tokens[0].1, &sent).status, 200);
    let file = collector.folder.path().join("server.toml");
    let faster = TOML.replace("15]", "5]");
    fs::write(&file, &faster).unwrap();
    wait_for("the new interval", DEADLINE, || {
        let services = collector.services("db-1", &tokens[0].1).json();
        (services["services"]["CPU"][1] == 5).then_some(())
    });
    // A file goes first.
    fs::write(&file, format!("{faster}[hosts.database]\nid = \"db-1\"\n")).unwrap();
    wait_for("its table", DEADLINE, || {
        let found = hosts(&collector).iter().any(|it| it["label"] == "database");
        found.then_some(())
    });
    assert_eq!(hosts(&collector).len(), 4);
    assert_eq!(
        collector.services("db-1", &tokens[0].1).json()["services"],
        json!({})
    );
}

#[test]
fn a_host_of_a_fleet_is_invited_again_and_revoked() {
    let collector = Program::new(TOML);
    let token_of = |answer: Answer| answer.json()["token"].as_str().unwrap().to_owned();
    let first = token_of(enroll(
        &collector,
        &code(&collector, &["--group", "servers"]),
        json!("db"),
    ));
    let again = token_of(enroll(
        &collector,
        &code(&collector, &["db"]),
        json!("other"),
    ));
    assert_eq!(collector.services("db", &first).status, 200);
    assert_eq!(collector.services("db", &again).status, 200);
    let output = collector.invite(&["db", "--revoke"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, "db: removed enrolled tokens: 2, open codes: 0\n");
    wait_for("its end", DEADLINE, || {
        (collector.services("db", &first).status == 401).then_some(())
    });
    let fresh = enroll(
        &collector,
        &code(&collector, &["--times", "1"]),
        json!("db"),
    );
    assert_eq!(collector.services("db", &token_of(fresh)).status, 200);
}

#[test]
fn a_group_that_is_not_there_is_said() {
    let collector = Program::new(TOML);
    let said = |arguments: &[&str]| {
        let output = collector.invite(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["--group", "nobody"]).contains("no group \"nobody\" in the settings"));
    for nobody in [said(&[]), said(&["--valid-for-s", "60"])] {
        assert!(
            nobody.contains("`mote invite HOST`") && nobody.contains("--group GROUP"),
            "{nobody}"
        );
    }
    assert!(said(&["--revoke"]).contains("`mote invite HOST --revoke`"));
    said(&["web", "--group", "servers"]);
    said(&["--times", "0"]);
    said(&["--times", "10001"]);
    let fleet = code(&collector, &["--group", "idle", "--times", "10000"]);
    let file = collector.folder.path().join("server.toml");
    let without = TOML.replace("[groups.idle]", "");
    let mut number = 0;
    let mut next = || {
        number += 1;
        enroll(&collector, &fleet, json!(format!("x{number}")))
    };
    assert_eq!(next().status, 200);
    fs::write(&file, &without).unwrap();
    let answer = wait_for("its end", DEADLINE, || {
        let answer = next();
        (answer.status == 403).then_some(answer)
    });
    let told = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(told.contains("the group \"idle\""), "{told}");
    fs::write(&file, TOML).unwrap();
    wait_for("its return", DEADLINE, || {
        (next().status == 200).then_some(())
    });
    fs::write(&file, without.replace("enroll_into = \"servers\"", "")).unwrap();
    assert!(said(&["--times", "2"]).contains("enroll_into"));
    fs::write(
        &file,
        without.replace("enroll_into = \"servers\"", "enroll_into = \"none\""),
    )
    .unwrap();
    let output = collector.invite(&["web"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("`enroll_into` names the group `none`"),
        "{told}"
    );
}

#[test]
fn only_an_admin_invites_on_the_page() {
    let password = "correct horse battery";
    let users = user("ada", "admin", password) + &user("bob", "viewer", password);
    let collector = Program::new(&format!("{TOML}{users}"));
    let own = format!("Host: {}\r\n", collector.address);
    let cookie = |name: &str| {
        let body = json!({"user": name, "password": password}).to_string();
        let answer = ask(collector.address, "POST", "/api/login", &own, &body);
        let pair = answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        format!("{own}Cookie: {pair}\r\n")
    };
    let (ada, bob) = (cookie("ada"), cookie("bob"));
    let call = |method: &str, lines: &str, body: &str| {
        ask(collector.address, method, "/api/invitations", lines, body)
    };
    for (lines, status) in [(&own, 401), (&bob, 403)] {
        assert_eq!(call("GET", lines, "").status, status);
        assert_eq!(call("POST", lines, "{}").status, status);
    }
    let groups = call("GET", &ada, "").json();
    assert_eq!(
        groups,
        json!({"groups": ["idle", "servers"], "enroll_into": "servers"})
    );
    for (body, status) in [
        ("{\"group\": \"nobody\"}", 404),
        ("{\"times\": 0}", 400),
        ("{\"times\": 10001}", 400),
        ("{\"valid_for_s\": 0}", 400),
        ("{\"what\": 0}", 400),
        ("", 400),
    ] {
        assert_eq!(call("POST", &ada, body).status, status, "{body}");
    }
    let answer = call("POST", &ada, "{\"times\": 2}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.json();
    assert_eq!(
        (&told["group"], &told["times"]),
        (&json!("servers"), &json!(2))
    );
    let code = told["code"].as_str().unwrap();
    assert_eq!(enroll(&collector, code, json!("new")).status, 200);
}

#[test]
fn a_machine_enrols_by_its_own_name() {
    let collector = Program::new(TOML);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.toml");
    let enroll = |arguments: &[&str]| {
        let output = mote()
            .args(["enroll", &format!("http://{}", collector.address), "--code"])
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let fleet = code(&collector, &["--times", "3"]);
    assert_eq!(enroll(&[&fleet]), (Some(0), String::new()));
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let settings = fs::read_to_string(&config).unwrap();
    assert!(
        settings.contains(&format!("client_id = {:?}\n", machine.trim())),
        "{settings}"
    );
    // Another one of the same name is told so.
    fs::remove_file(&config).unwrap();
    fs::remove_file(folder.path().join("token")).unwrap();
    let (status, told) = enroll(&[&fleet]);
    assert_eq!(status, Some(69));
    assert!(told.contains("choose another client_id"), "{told}");
    assert_eq!(
        enroll(&[&fleet, "--client-id", "second"]),
        (Some(0), String::new())
    );
    assert!(
        fs::read_to_string(&config)
            .unwrap()
            .contains("client_id = \"second\"\n")
    );
    assert_eq!(hosts(&collector).len(), 3);
}

/// Its alarms too, without the settings being read again.
#[test]
fn a_host_of_a_fleet_is_looked_after_at_once() {
    let toml = TOML.replace(
        "CPU = [\"get_linux_cpu\", 15]",
        "CPU = [\"get_linux_cpu\", 0.5]",
    );
    let collector = Program::new(&format!("alarm_grace = \"0s\"\n{toml}"));
    let answer = enroll(
        &collector,
        &code(&collector, &["--times", "1"]),
        json!("db-1"),
    );
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let sent = report(json!({"client_id": "db-1", "service_name": "CPU"}));
    assert_eq!(collector.report(&token, &sent).status, 200);
    let alarm = wait_for("its alarm", DEADLINE, || {
        let answer = collector.get("/api/alarms", "").json();
        answer["active"].get(0).cloned()
    });
    assert_eq!(
        (&alarm["client_id"], &alarm["name"]),
        (&"db-1".into(), &"late".into())
    );
    let said = collector.output();
    assert!(!said.contains("read again"), "{said}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_comes_with_the_code() {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    parameters.is_ca = IsCa::ExplicitNoCa;
    let certificate = parameters.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("server.pem"), certificate.pem()).unwrap();
    write_secret(&path("server.key"), &key.serialize_pem());
    let files = "tls_cert_file = \"server.pem\"\ntls_key_file = \"server.key\"\n";
    fs::write(path("server.toml"), format!("{files}{TOML}")).unwrap();
    let socket = path("reports.db.sock");
    let collector = Program::start(folder);

    // As the machine's own root, over the socket beside the database.
    let mut connection = UnixStream::connect(socket).unwrap();
    let head = "POST /api/invitations HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let invited: Value = serde_json::from_str(body).unwrap();

    // What the page makes of it.
    let host = tempfile::tempdir().unwrap();
    let config = host.path().join("agent.toml");
    let enrolled = mote()
        .args(["enroll", &format!("https://{}", collector.address)])
        .args(["--code", invited["code"].as_str().unwrap()])
        .args(["--certificate", invited["certificate"].as_str().unwrap()])
        .args(["--client-id", "new", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    let check = mote().arg("check").arg("--config").arg(&config).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");
}
