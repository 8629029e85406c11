//! Alarms of real agents: stopped, started again; who hears of it, and what the database remembers.

use super::access::ask;
use mote_test_support::collector::{Program, write_secret};
use mote_test_support::forwarder::Forwarder;
use mote_test_support::receiver::Receiver;
use mote_test_support::site::{Said, Site, said, server_settings};
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, mote, wait_for};
use serde_json::{Value, json};

/// A collector with one host, whose service comes twice a second, and with what else its settings say.
pub fn collector(notify: &str) -> Program {
    let toml = format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nalarm_grace = \"0s\"\n{notify}\n\
         [hosts.web]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\nAlive = [\"host_alive_check\", 0.5]\n"
    );
    Program::new(&toml)
}

/// An agent of this collector.
pub fn site(collector: &Program) -> Site {
    Site::new(&server_settings(
        &format!("http://{}", collector.address),
        "",
    ))
}

pub fn webhook(receiver: &Receiver) -> String {
    format!("[notify.ops]\nwebhook = \"{}\"", receiver.url())
}

pub fn alarms(collector: &Program) -> Value {
    let answer = collector.get("/api/alarms", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

pub fn wait_for_reports(collector: &Program) {
    let before = collector.count("1");
    wait_for("a report", DEADLINE, || {
        (collector.count("1") > before).then_some(())
    });
}

#[test]
fn an_agent_that_stops_is_told_once_and_its_return_too() {
    let receiver = Receiver::default();
    let collector = collector(&webhook(&receiver));
    let site = site(&collector);
    let mut agent = site.run();
    wait_for_reports(&collector);
    assert_eq!(alarms(&collector)["active"].as_array().unwrap().len(), 0);
    assert!(agent.terminate().success());
    let fired = receiver.wait_for(1).remove(0);
    assert_eq!(
        (&fired["kind"], &fired["severity"]),
        (&"fired".into(), &"critical".into())
    );
    assert_eq!(fired["title"], "[critical] web: late");
    let alarm = &fired["alarms"][0];
    assert_eq!(
        (&alarm["name"], &alarm["client_id"], &alarm["host"]),
        (&"late".into(), &1.into(), &"web".into())
    );
    let active = wait_for("the message to be noted", DEADLINE, || {
        let active = alarms(&collector)["active"][0].clone();
        (active["sent"][0]["state"] == "arrived").then_some(active)
    });
    assert_eq!(
        (&active["state"], &active["host"]),
        (&"firing".into(), &"web".into())
    );
    assert_eq!(
        (&active["sent"][0]["to"], &active["sent"][0]["tries"]),
        (&"ops".into(), &1.into())
    );
    let hosts = collector.get("/api/hosts", "").json();
    assert_eq!(hosts["hosts"][0]["state"], "silent");

    let _agent = site.run();
    let cleared = receiver.wait_for(2).remove(1);
    assert_eq!(
        (&cleared["kind"], &cleared["title"]),
        (&"cleared".into(), &"[cleared] web: late".into())
    );
    let all = alarms(&collector);
    assert_eq!(all["active"].as_array().unwrap().len(), 0);
    assert_eq!(all["history"][0]["id"], active["id"]);
    assert!(all["history"][0]["ended"].as_f64().unwrap() > active["since"].as_f64().unwrap());
    // The alarm ends by a look that comes once a second, so it may end before or after what the reports say is noted.
    let mut kinds = wait_for("all events", DEADLINE, || {
        let events = collector.get("/api/events?client_id=1", "").json();
        let kinds: Vec<String> = events["events"]
            .as_array()?
            .iter()
            .map(|it| it["kind"].as_str().unwrap().to_owned())
            .collect();
        (kinds.len() == 5).then_some(kinds)
    });
    assert_eq!(kinds[3..], ["alarm", "collector"]);
    kinds.sort();
    assert_eq!(kinds, ["alarm", "cleared", "collector", "gap", "run"]);
    assert_eq!(receiver.messages().len(), 2);
}

#[test]
fn one_that_is_cut_off_again_and_again_flaps_and_loses_nothing() {
    let receiver = Receiver::default();
    let collector = collector(&webhook(&receiver));
    let way = Forwarder::to(collector.address);
    let site = Site::new(&server_settings(&format!("http://{}", way.address()), ""));
    let _agent = site.run();
    wait_for_reports(&collector);
    let state = |wanted: &str| {
        wait_for(wanted, DEADLINE, || {
            let hosts = collector.get("/api/hosts", "").json();
            (hosts["hosts"][0]["state"] == wanted).then_some(())
        });
    };
    for _ in 0..4 {
        way.cut();
        state("silent");
        wait_for("the alarm", DEADLINE, || {
            (alarms(&collector)["active"].as_array().unwrap().len() == 1).then_some(())
        });
        way.mend();
        wait_for_reports(&collector);
        state("reporting");
    }
    let kinds = wait_for("the word that it flaps", DEADLINE, || {
        let messages = receiver.messages();
        let kinds: Vec<String> = messages
            .iter()
            .map(|it| it["kind"].as_str().unwrap().to_owned())
            .collect();
        kinds.contains(&"flapping".to_owned()).then_some(kinds)
    });
    assert_eq!(
        kinds,
        [
            "fired", "cleared", "fired", "cleared", "fired", "cleared", "flapping"
        ]
    );
    assert_eq!(alarms(&collector)["active"][0]["state"], "flapping");
    // All that waited at the agent comes behind, at a pace of its own that is not much above that of the samples.
    let gaps = || {
        let account = collector.get("/api/accounting?client_id=1", "").json();
        account["clients"][0]["gaps"].as_u64().unwrap()
    };
    let mut left = gaps();
    while left > 0 {
        left = wait_for("more of the backlog", DEADLINE, || {
            Some(gaps()).filter(|now| *now < left)
        });
    }
}

pub fn report(collector: &Program, id: u32, seq: u64, data: Value) {
    let body = json!({"client_id": id, "service_name": "A", "boot": "b", "seq": seq, "data": data});
    let answer = collector.report("", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A collector whose hosts report once an hour, so that none is late.
pub const SLOW: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n\
                    [templates.t.services]\nA = [\"p\", 3600]\n[templates.t.alarms.high]\nservice = \"A\"\nfield = \"x\"\n\
                    above = 5\nclear = 4\ntext = \"{host} has {value}\"\n";

pub fn mote_of(collector: &Program, arguments: &[&str]) -> Said {
    let settings = collector.folder.path().join("server.toml");
    said(mote().arg("--config").arg(settings).args(arguments))
}

#[test]
fn a_limit_is_told_in_each_format_unless_its_host_is_silenced() {
    let receivers = [
        Receiver::default(),
        Receiver::default(),
        Receiver::default(),
    ];
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("ntfy.token"), "tk_0123456789abcdef\n");
    let notify = ["json", "ntfy", "slack"]
        .iter()
        .zip(&receivers)
        .map(|(format, receiver)| {
            let token = if *format == "ntfy" {
                "token_file = \"ntfy.token\"\n"
            } else {
                ""
            };
            format!(
                "[notify.{format}]\nwebhook = \"{}\"\nformat = \"{format}\"\n{token}",
                receiver.url()
            )
        });
    let toml = format!("{SLOW}{}", notify.collect::<String>());
    std::fs::write(folder.path().join("server.toml"), toml).unwrap();
    let collector = Program::start(folder);
    report(&collector, 1, 0, json!({"x": 5}));
    report(&collector, 1, 1, json!({"x": 9.5}));
    let message = receivers[0].wait_for(1).remove(0);
    assert_eq!(
        (&message["title"], &message["text"]),
        (&"[warning] web: high".into(), &"web has 9.5".into())
    );
    let taken = |receiver: &Receiver, count: usize| {
        wait_for("a message", DEADLINE, || {
            Some(receiver.taken()).filter(|it| it.len() >= count)
        })
    };
    let ntfy = taken(&receivers[1], 1).remove(0);
    assert_eq!(
        (
            ntfy.header("title"),
            ntfy.header("priority"),
            ntfy.body.as_str()
        ),
        ("[warning] web: high", "4", "web has 9.5")
    );
    assert_eq!(ntfy.header("authorization"), "Bearer tk_0123456789abcdef");
    let slack = taken(&receivers[2], 1).remove(0);
    assert_eq!(slack.json()["text"], "*[warning] web: high*\nweb has 9.5");

    let said = mote_of(
        &collector,
        &["silence", "web", "being mended", "--for", "2h"],
    );
    assert_eq!(
        (
            said.code,
            said.out
                .starts_with("silence 1: no messages about web until")
        ),
        (0, true),
        "{said:?}"
    );
    report(&collector, 1, 2, json!({"x": 1}));
    wait_for("its end", DEADLINE, || {
        (alarms(&collector)["history"].as_array().unwrap().len() == 1).then_some(())
    });
    let said = mote_of(&collector, &["alarms", "--history"]);
    assert_eq!(said.code, 0, "{said:?}");
    for words in [
        "no alarm is active",
        "silence 1: all alarms of web, by a command on the collector's machine, until ",
        "being mended",
        "cleared",
        "web has 9.5",
        "arrived",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    // A report of before the others, which has waited, says nothing.
    report(&collector, 1, 1, json!({"x": 99}));
    assert_eq!(receivers[0].messages().len(), 1);
    let said = mote_of(&collector, &["silence", "--end", "1"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "silence 1 of web is over\n"),
        "{said:?}"
    );
    // What was held back is told now.
    assert_eq!(receivers[0].wait_for(2)[1]["kind"], "cleared");
    for wrong in [
        vec!["silence", "--end", "1"],
        vec!["silence", "nobody", "x", "--for", "1h"],
        vec!["events", "nobody"],
        vec!["events", "nobody", "--json"],
    ] {
        assert_eq!(mote_of(&collector, &wrong).code, 64, "{wrong:?}");
    }
    let one = |alarm| ["silence", "web", "x", "--for", "1h", "--alarm", alarm];
    let said = mote_of(&collector, &one("nosuch"));
    assert_eq!(said.code, 64, "{said:?}");
    let sentence = "web has no alarm \"nosuch\"; it has late, lost, high";
    assert!(said.err.contains(sentence), "{said:?}");
    for alarm in ["late", "high"] {
        assert_eq!(mote_of(&collector, &one(alarm)).code, 0, "{alarm}");
    }
    let said = mote_of(&collector, &["events", "web"]);
    for words in [
        "high: web has 9.5",
        "all alarms silenced by a command on the collector's machine: being mended",
        "the collector began to run",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let json: Value =
        serde_json::from_str(&mote_of(&collector, &["alarms", "--json"]).out).unwrap();
    assert_eq!(json["history"][0]["sent"].as_array().unwrap().len(), 6);
}

#[test]
fn who_may_only_look_silences_nobody() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("reader.token"), "reader-0123456789");
    std::fs::write(
        folder.path().join("server.toml"),
        format!("read_token_file = \"reader.token\"\n{SLOW}"),
    )
    .unwrap();
    let collector = Program::start(folder);
    let wish = json!({"client_id": 1, "for_s": 60, "reason": "r"});
    assert_eq!(
        collector
            .get("/api/alarms", "Bearer reader-0123456789")
            .status,
        200
    );
    assert_eq!(collector.get("/api/alarms", "").status, 401);
    assert_eq!(collector.get("/api/events", "").status, 401);
    for (token, status) in [("", 401), ("reader-0123456789", 403)] {
        assert_eq!(collector.post("/api/silences", token, &wish).status, status);
    }
    let collector = Program::new(SLOW);
    for (wish, status) in [
        (json!({"client_id": 1, "for_s": 60, "reason": "r"}), 200),
        (json!({"client_id": 9, "for_s": 60, "reason": "r"}), 404),
        (json!({"client_id": 1, "for_s": 0, "reason": "r"}), 400),
        (json!({"client_id": 1, "for_s": 60, "reason": ""}), 400),
        (
            json!({"client_id": 1, "for_s": 60, "reason": "r".repeat(501)}),
            400,
        ),
        (json!({"client_id": 1}), 400),
    ] {
        assert_eq!(
            collector.post("/api/silences", "", &wish).status,
            status,
            "{wish}"
        );
    }
    for path in [
        "/api/alarms?limit=1001",
        "/api/events?limit=0",
        "/api/events?from=x",
        "/api/alarms?more=1",
    ] {
        assert_eq!(collector.get(path, "").status, 400, "{path}");
    }
}

#[test]
fn many_hosts_that_go_at_once_are_one_message() {
    let receiver = Receiver::default();
    let hosts = (1..=4).map(|n| format!("[hosts.h{n}]\nid = {n}\ntemplates = [\"t\"]\n"));
    let toml = format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nalarm_grace = \"0s\"\n{}\n{}[templates.t.services]\nA = [\"p\", 0.5]\n",
        webhook(&receiver),
        hosts.collect::<String>()
    );
    let collector = Program::new(&toml);
    for id in 1..=4 {
        report(&collector, id, 0, json!({}));
    }
    let storm = receiver.wait_for(1).remove(0);
    assert_eq!(storm["kind"], "storm", "{storm}");
    let count = storm["alarms"].as_array().unwrap().len();
    assert!((3..=4).contains(&count), "{storm}");
    wait_for("all four", DEADLINE, || {
        (alarms(&collector)["active"].as_array().unwrap().len() == 4).then_some(())
    });
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn who_wanted_a_silence_stands_with_it() {
    let password = "correct horse battery";
    let collector = Program::new(&format!("{SLOW}{}", user("ada", "admin", password)));
    let host = format!("Host: {}\r\n", collector.address);
    let body = json!({"user": "ada", "password": password}).to_string();
    let answer = ask(collector.address, "POST", "/api/login", &host, &body);
    let (pair, _) = answer.header("set-cookie").split_once(';').unwrap();
    let lines = format!("{host}Cookie: {pair}\r\n");
    let call = |method: &str, path: &str, body: &str| {
        ask(collector.address, method, path, &lines, body).json()
    };
    let wish = json!({"client_id": 1, "for_s": 600, "reason": "being mended"}).to_string();
    assert_eq!(call("POST", "/api/silences", &wish)["by"], "ada");
    // The database remembers.
    let collector = Program::start(collector.kill());
    let lines = format!("Host: {}\r\nCookie: {pair}\r\n", collector.address);
    let all = ask(collector.address, "GET", "/api/alarms", &lines, "").json();
    assert_eq!(all["silences"][0]["by"], "ada");
    let command = "a command on the collector's machine";
    assert_eq!(mote_of(&collector, &["silence", "--end", "1"]).code, 0);
    let said = mote_of(&collector, &["events", "web"]);
    let ended = format!("the silence that ada wanted was ended by {command}");
    assert!(
        said.out
            .contains("all alarms silenced by ada: being mended"),
        "{said:?}"
    );
    assert!(said.out.contains(&ended), "{said:?}");
}
