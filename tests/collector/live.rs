//! `GET /api/live`: what changes is told, as it changes, to who may look.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::access::ask;
use super::running::report;
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, wait_for};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    templates = ["t"]
    [hosts.db]
    id = 2
    templates = ["t"]
    [templates.t.services]
    CPU = ["get_linux_cpu", 3600]
"#;

/// Somebody who listens.
pub struct Ear {
    lines: BufReader<TcpStream>,
    head: String,
}

pub struct Event {
    id: String,
    pub data: Value,
}

impl Ear {
    pub fn open(collector: &Program, lines: &str) -> Ear {
        let mut stream = TcpStream::connect(collector.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let ask = format!(
            "GET /api/live HTTP/1.0\r\nHost: {}\r\n{lines}\r\n",
            collector.address
        );
        stream.write_all(ask.as_bytes()).unwrap();
        let mut ear = Ear {
            lines: BufReader::new(stream),
            head: String::new(),
        };
        loop {
            let line = ear.line();
            if line.is_empty() {
                return ear;
            }
            ear.head += &line.to_lowercase();
            ear.head.push('\n');
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// As a browser reads it: lines of data are one text.
    pub fn event(&mut self) -> Event {
        let (mut id, mut data, mut name) = (String::new(), String::new(), String::new());
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", it)) => id = it.to_owned(),
                Some(("event", it)) => name = it.to_owned(),
                Some(("data", it)) => data = data + it + "\n",
                Some(("retry", _)) => {}
                _ if line.is_empty() && !data.is_empty() => break,
                other => panic!("{other:?} {line}"),
            }
        }
        assert_eq!(name, "hosts");
        let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
        Event { id, data }
    }

    /// The next one with a host in it.
    fn news(&mut self) -> Event {
        // Quiet ones come every five seconds.
        for _ in 0..40 {
            let event = self.event();
            if !event.data["hosts"].as_array().unwrap().is_empty() {
                return event;
            }
        }
        panic!("no news");
    }
}

fn ids(event: &Event) -> Vec<u64> {
    let hosts = event.data["hosts"].as_array().unwrap().iter();
    hosts.map(|it| it["client_id"].as_u64().unwrap()).collect()
}

fn send(collector: &Program, id: u64, seq: u64) {
    let body = report(json!({
        "client_id": id, "service_name": "CPU", "boot": "b", "seq": seq, "data": {"status": 0, "n": seq},
    }));
    assert_eq!(collector.report("", &body).status, 200);
}

#[test]
fn what_changes_is_told_and_nothing_else() {
    let collector = Program::new(TOML);
    send(&collector, 1, 0);
    let mut ear = Ear::open(&collector, "");
    assert!(
        ear.head.contains("content-type: text/event-stream\n"),
        "{}",
        ear.head
    );
    assert!(ear.head.contains("x-accel-buffering: no\n"), "{}", ear.head);
    assert!(
        ear.head.contains("cache-control: no-store\n"),
        "{}",
        ear.head
    );
    let whole = ear.event();
    assert_eq!(
        (&whole.data["whole"], ids(&whole)),
        (&json!(true), vec![1, 2])
    );
    // The same as api/hosts.
    let hosts = collector.get("/api/hosts", "").json();
    let without_lateness = |hosts: &Value| {
        let mut hosts = hosts["hosts"].clone();
        for host in hosts.as_array_mut().unwrap() {
            host.as_object_mut().unwrap().remove("late_s");
        }
        hosts
    };
    assert_eq!(without_lateness(&whole.data), without_lateness(&hosts));

    send(&collector, 2, 0);
    let news = ear.news();
    assert_eq!((&news.data["whole"], ids(&news)), (&json!(false), vec![2]));
    assert_eq!(news.data["hosts"][0]["state"], "reporting");
    assert_eq!(news.data["hosts"][0]["services"][0]["data"]["n"], 0);
    // Without news there is a word now and then, with the time.
    let quiet = ear.event();
    assert_eq!(quiet.data["hosts"], json!([]));
    assert!(quiet.data["now"].as_f64() > news.data["now"].as_f64());

    // Who comes back is told what was missed.
    send(&collector, 1, 1);
    let next = ear.news();
    drop(ear);
    send(&collector, 2, 1);
    let mut again = Ear::open(&collector, &format!("Last-Event-ID: {}\r\n", next.id));
    let missed = again.news();
    assert_eq!(
        (&missed.data["whole"], ids(&missed)),
        (&json!(false), vec![2])
    );
    for id in ["", "0-0", "x", "99999999999999999999-1", "-"] {
        let mut other = Ear::open(&collector, &format!("Last-Event-ID: {id}\r\n"));
        assert_eq!(other.event().data["whole"], true, "{id:?}");
    }
}

/// Of the alarms only their number is told.
#[test]
fn the_number_of_alarms_is_told_when_it_changes() {
    let alarms = "[templates.t.alarms.busy]\nservice = \"CPU\"\nfield = \"n\"\nabove = 90\n";
    let collector = Program::new(&format!("{TOML}{alarms}"));
    let mut ear = Ear::open(&collector, "");
    let none = ear.event();
    assert_eq!(none.data["alarms"], 0);
    let mut before = none.data["alarmed"].as_u64();
    for (seq, busy, number) in [(0, 91, 1), (1, 20, 0)] {
        let body = report(json!({
            "client_id": 1, "service_name": "CPU", "boot": "b", "seq": seq, "data": {"status": 0, "n": busy},
        }));
        assert_eq!(collector.report("", &body).status, 200);
        let told = (0..40)
            .map(|_| ear.event())
            .find(|it| it.data["alarms"] == number);
        let alarmed = told.expect("the number").data["alarmed"].as_u64();
        assert_ne!(alarmed, before);
        before = alarmed;
        let all = collector.get("/api/alarms", "").json();
        assert_eq!(all["active"].as_array().unwrap().len(), number);
    }
}

#[test]
fn other_settings_are_told_whole() {
    let collector = Program::new(TOML);
    let mut ear = Ear::open(&collector, "");
    assert_eq!(ids(&ear.event()), [1, 2]);
    let more = format!("{TOML}[hosts.new]\nid = 3\n");
    std::fs::write(collector.folder.path().join("server.toml"), more).unwrap();
    let news = ear.news();
    assert_eq!(
        (&news.data["whole"], ids(&news)),
        (&json!(true), vec![1, 2, 3])
    );
}

#[test]
fn data_in_several_lines_stays_one_event() {
    let collector = Program::new(TOML);
    let body = "{\"client_id\": 1, \"service_name\": \"CPU\", \"data\": {\n\"a\": 1,\r\n\r\n\"b\": \"x\"}}";
    let lines = format!("Host: {}\r\n", collector.address);
    let path = "/api/client/service/report/";
    assert_eq!(
        ask(collector.address, "POST", path, &lines, body).status,
        200
    );
    let whole = Ear::open(&collector, "").event();
    let data = &whole.data["hosts"][0]["services"][0]["data"];
    assert_eq!(*data, json!({"a": 1, "b": "x"}));
}

#[test]
fn who_logs_out_hears_no_more() {
    let users = user("ada", "viewer", "correct horse battery");
    let collector = Program::new(&format!("{TOML}{users}"));
    assert!(Ear::open(&collector, "").head.starts_with("http/1.0 401"));
    let body = json!({"user": "ada", "password": "correct horse battery"}).to_string();
    let own = format!("Host: {}\r\n", collector.address);
    let answer = ask(collector.address, "POST", "/api/login", &own, &body);
    let cookie = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let cookie = format!("Cookie: {cookie}\r\n");
    let mut ear = Ear::open(&collector, &cookie);
    assert_eq!(ids(&ear.event()), [1, 2]);
    ask(
        collector.address,
        "POST",
        "/api/logout",
        &format!("{own}{cookie}"),
        "",
    );
    let began = Instant::now();
    while ear.lines.read_line(&mut String::new()).unwrap() > 0 {
        assert!(began.elapsed() < DEADLINE, "it goes on");
    }
}

#[test]
fn so_many_listen_and_those_who_do_not_read_hold_up_nobody() {
    let collector = Program::new(TOML);
    // They never read.
    let mut deaf: Vec<TcpStream> = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(collector.address).unwrap();
        let ask = format!(
            "GET /api/live HTTP/1.1\r\nHost: {}\r\n\r\n",
            collector.address
        );
        stream.write_all(ask.as_bytes()).unwrap();
        deaf.push(stream);
    }
    let refused = wait_for("a refusal", DEADLINE, || {
        let ear = Ear::open(&collector, "");
        ear.head.starts_with("http/1.0 503").then_some(ear.head)
    });
    assert!(refused.contains("retry-after: 60\n"), "{refused}");
    send(&collector, 1, 0);
    assert_eq!(collector.get("/api/hosts", "").status, 200);
    // One who leaves makes room.
    deaf.pop();
    let mut ear = wait_for("a place", DEADLINE, || {
        let ear = Ear::open(&collector, "");
        ear.head.starts_with("http/1.0 200").then_some(ear)
    });
    ear.event();
    send(&collector, 2, 0);
    while !ids(&ear.news()).contains(&2) {}
}

#[test]
fn the_end_of_the_collector_ends_the_stream_in_order() {
    let collector = Program::new(TOML);
    let mut stream = TcpStream::connect(collector.address).unwrap();
    let ask = format!(
        "GET /api/live HTTP/1.1\r\nHost: {}\r\n\r\n",
        collector.address
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut text = String::new();
    let mut lines = BufReader::new(stream);
    while !text.contains("data: ]}") {
        lines.read_line(&mut text).unwrap();
    }
    collector.terminate();
    lines.read_to_string(&mut text).unwrap();
    // The last of the chunks: it was not cut off.
    assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
}
