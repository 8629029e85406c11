//! Messages on their way: on disk before they are sent, until they arrive; mail; and who hears that the collector lives.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use super::alarms::{SLOW, alarms, collector, report, site, wait_for_reports, webhook};
use mote_test_support::collector::{Program, write_secret};
use mote_test_support::exim::Exim;
use mote_test_support::receiver::Receiver;
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn a_message_waits_on_disk_for_its_receiver_and_survives_the_collector() {
    let receiver = Receiver::default();
    receiver.answer(503);
    let collector = collector(&webhook(&receiver));
    let site = site(&collector);
    let mut agent = site.run();
    wait_for_reports(&collector);
    assert!(agent.terminate().success());
    let active = wait_for("a try", DEADLINE, || {
        let active = alarms(&collector)["active"][0].clone();
        (active["sent"][0]["tries"].as_u64() >= Some(1)).then_some(active)
    });
    assert_eq!(active["sent"][0]["state"], "waiting");
    assert_eq!(
        active["sent"][0]["error"],
        "it answers with the status 503, and says \"ok\""
    );
    let folder = collector.kill();
    receiver.answer(200);
    let collector = Program::start(folder);
    let message = receiver.wait_for(1).remove(0);
    assert_eq!(
        (&message["kind"], &message["alarms"][0]["id"]),
        (&"fired".into(), &active["id"])
    );
    // The alarm is the same one, and nothing is said twice.
    let again = wait_for("the message to be noted", DEADLINE, || {
        let active = alarms(&collector)["active"][0].clone();
        (active["sent"][0]["state"] == "arrived").then_some(active)
    });
    assert_eq!(
        (&again["id"], &again["since"]),
        (&active["id"], &active["since"])
    );
    assert_eq!(again["sent"].as_array().unwrap().len(), 1);
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn a_message_is_on_disk_before_anybody_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let collector = Program::new(&format!("{SLOW}[notify.ops]\nwebhook = \"{url}\"\n"));
    let path = collector.folder.path().join("reports.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    // It takes a while.
    let slow = "CREATE TRIGGER slow AFTER INSERT ON outbox BEGIN
        INSERT INTO state SELECT 'x', max(n) FROM (WITH RECURSIVE c(n) AS
            (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT n FROM c) WHERE true
        ON CONFLICT DO NOTHING; END";
    database.execute_batch(slow).unwrap();
    report(&collector, 1, 0, json!({"x": 9.5}));
    let (stream, _) = listener.accept().unwrap();
    let kept: i64 = database
        .query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 1);
    drop(stream);
}

#[test]
fn somebody_hears_that_the_collector_lives() {
    let receiver = Receiver::default();
    let url = receiver.url();
    let collector = Program::new(&format!("heartbeat_url = \"{url}\"\n{SLOW}"));
    let beat = wait_for("a heartbeat", DEADLINE, || {
        receiver.taken().into_iter().next()
    });
    assert_eq!(
        (beat.line.as_str(), beat.body.as_str()),
        ("GET /hook HTTP/1.1", "")
    );
    // It says nothing of where it comes from.
    assert_eq!(beat.header("mote-address"), "");
    drop(collector);
}

#[test]
fn a_mail_arrives_at_a_real_server() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let test = "a_mail_arrives_at_a_real_server";
    let Some(exim) = Exim::start(test, &certificate.pem(), &key.serialize_pem()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("smtp.password"), "secret\n");
    std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
    let mail = |ca_file: &str| {
        format!(
            "mail = {{ server = \"localhost\", port = {}, from = \"Möte <mote@example.org>\", to = [\"ops@example.org\", \"b@example.org\"], \
             user = \"mote\", password_file = \"smtp.password\"{ca_file} }}\n",
            exim.port
        )
    };
    // The second one trusts the system's authorities, which know nothing of this server.
    let toml = format!(
        "{SLOW}[notify.ops]\n{}[notify.careful]\n{}",
        mail(", ca_file = \"ca.pem\""),
        mail("")
    );
    std::fs::write(
        folder.path().join("server.toml"),
        toml.replace("{host}", "ü {host}"),
    )
    .unwrap();
    let collector = Program::start(folder);
    report(&collector, 1, 0, json!({"x": 9}));
    let sent = wait_for("a mail, and one that is not sent", DEADLINE, || {
        let sent = alarms(&collector)["active"][0]["sent"].clone();
        let is = |name: &str, state: &str| {
            let mut all = sent.as_array()?.iter();
            all.find(|it| it["to"] == name && it["state"] == state && it["tries"] == 1)
                .cloned()
        };
        Some([is("ops", "arrived")?, is("careful", "waiting")?])
    });
    assert!(
        sent[1]["error"].as_str().unwrap().contains("certificate"),
        "{}",
        sent[1]
    );
    let mails = wait_for("the mail", DEADLINE, || {
        Some(exim.mails()).filter(|it| !it.is_empty())
    });
    // One copy for each receiver is up to the server.
    for part in [
        "Subject: [warning] web: high",
        "ops@example.org",
        "b@example.org",
    ] {
        assert!(mails[0].contains(part), "{part}: {}", mails[0]);
    }
    // By another hand.
    let python = "import email, email.policy, sys; m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default); \
                  sys.stdout.buffer.write((m.get_content() + str(m['from'])).encode())";
    let mut child = Command::new("python3")
        .args(["-c", python])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), mails[0].as_bytes()).unwrap();
    let read = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        read.contains("ü web has 9") && read.contains("Möte"),
        "{read:?}"
    );
}
