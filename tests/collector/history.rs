//! The history of services, and which hosts report.

use std::net::SocketAddr;

use mote_agent::collector::MAX_SERVICES_OF_CLIENT;
use serde_json::{Value, json};

use super::running::report;
use mote_test_support::collector::Program;
use mote_test_support::http::{Answer, Client};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    groups = ["servers"]
    templates = ["own"]
    reports_for = ["pump"]
    [hosts.pump]
    templates = ["own"]
    [groups.servers]
    templates = ["shared"]
    [templates.own.services]
    Net = ["GetNetworkStatus", 1]
    [templates.shared.services]
    Net = ["GetNetworkStatus", 60]
    Slow = ["get_linux_load", 3600]
"#;

fn now_s() -> f64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis() as f64 / 1000.0
}

/// A report of two interfaces, sampled at `time`.
fn network(seq: u64, time: f64, t_in: f64) -> Value {
    report(json!({
        "service_name": "Net", "boot": "b", "seq": seq, "time": time, "uptime": 100,
        "data": {"status": 0, "data": {"eth0": {"t_in": t_in, "t_out": 1}, "lo": {"t_in": 7}}},
    }))
}

fn deliver(collector: &Program, report: &Value) {
    let answer = collector.report("", report);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn series(collector: &Program, query: &str) -> Value {
    let path = format!("/api/series?client_id=1&service=Net&{query}");
    let answer = collector.get(&path, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn a_series_has_what_was_reported_bin_by_bin_after_a_kill_too() {
    let begin = (now_s() / 60.0).floor() * 60.0 - 600.0;
    let mut collector = Program::new(TOML);
    // One a second for five minutes, but for the third; the last ones come first, as after an outage.
    let mut seqs: Vec<u64> = (0..300).filter(|seq| !(120..180).contains(seq)).collect();
    seqs.rotate_left(150);
    for (count, seq) in seqs.into_iter().enumerate() {
        if count == 200 {
            collector = Program::start(collector.kill());
        }
        deliver(&collector, &network(seq, begin + seq as f64, seq as f64));
    }
    let query = format!(
        "item=eth0&field=t_in&from={begin}&to={}&width=5",
        begin + 300.0
    );
    let answer = series(&collector, &query);
    let bins = |of: fn(f64) -> f64| {
        let bins = [0.0, 60.0, 120.0, 180.0, 240.0];
        json!(bins.map(|it| (it != 120.0).then(|| of(it))))
    };
    let times = [0.0, 60.0, 120.0, 180.0, 240.0].map(|it| begin + it);
    assert_eq!(
        answer,
        json!({
            "client_id": 1, "service": "Net", "from": begin, "to": begin + 300.0, "step": 60.0, "tier": "points",
            "times": times,
            "columns": [{
                "item": "eth0", "field": "t_in",
                "min": bins(|it| it), "max": bins(|it| it + 59.0), "avg": bins(|it| it + 29.5),
            }],
            "columns_left_out": 0,
            "gaps": [
                {"from": begin + 119.0, "to": begin + 180.0, "cause": "missing", "missing": 60},
            ],
        })
    );
    let names = series(&collector, &format!("from={begin}"));
    let names: Vec<(&Value, &Value)> = names["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["item"], &it["field"]))
        .collect();
    let (none, eth0, lo) = (&Value::Null, &json!("eth0"), &json!("lo"));
    let (status, t_in, t_out) = (&json!("status"), &json!("t_in"), &json!("t_out"));
    let expected = [(none, status), (eth0, t_in), (eth0, t_out), (lo, t_in)];
    assert_eq!(names, expected);
    // Nothing was reported in the last minutes.
    let recent = series(&collector, "item=lo");
    let gaps = recent["gaps"].as_array().unwrap();
    let last = gaps.last().unwrap();
    assert_eq!(
        (&last["from"], &last["cause"]),
        (&json!(begin + 299.0), &json!("open"))
    );
}

/// A health report of the same run.
fn health(seq: u64, time: f64, queued: u64) -> Value {
    report(json!({
        "service_name": "Health", "boot": "b", "seq": seq, "time": time, "uptime": 100,
        "data": {"status": 0, "queued": queued},
    }))
}

#[test]
fn a_gap_says_why_nothing_is_there() {
    let toml = TOML.replace(
        "[templates.own.services]",
        "[templates.own.services]\nHealth = [\"get_agent_health\", 60]",
    );
    let mut collector = Program::new(&toml);
    let begin = (now_s() / 60.0).floor() * 60.0 - 3000.0;
    let at = |minute: u64| begin + minute as f64 * 60.0;
    let in_run = |boot: &str, seq: u64, minute: u64| {
        let mut report = network(seq, at(minute), 1.0);
        report["boot"] = json!(boot);
        report
    };
    let gaps = |collector: &Program| {
        let answer = series(collector, &format!("from={begin}&to={}", at(40)));
        let gaps = answer["gaps"].as_array().unwrap().clone();
        gaps.into_iter()
            .map(|it| {
                assert_eq!((it["from"].as_f64().unwrap() - begin) % 60.0, 0.0, "{it}");
                json!([
                    ((it["from"].as_f64().unwrap() - begin) / 60.0) as u64,
                    it["cause"],
                    it["missing"]
                ])
            })
            .collect::<Vec<_>>()
    };
    deliver(&collector, &in_run("a", 0, 5));
    // The agent is started anew, and loses nothing.
    deliver(&collector, &in_run("b", 0, 10));
    // Nothing of this service, while others have the numbers in between.
    deliver(&collector, &health(1, at(12), 0));
    deliver(&collector, &in_run("b", 2, 15));
    // Three never come.
    deliver(&collector, &in_run("b", 6, 20));
    let known = [
        json!([0, "not_yet", null]),
        json!([5, "not_running", null]),
        json!([10, "not_sampled", null]),
    ];
    let with = |rest: &[Value]| [&known, rest].concat();
    let open = json!([20, "open", null]);
    assert_eq!(
        gaps(&collector),
        with(&[json!([15, "missing", 3]), open.clone()])
    );
    deliver(&collector, &health(7, at(21), 3));
    assert_eq!(
        gaps(&collector),
        with(&[json!([15, "waiting", 3]), open.clone()])
    );
    deliver(&collector, &health(8, at(22), 0));
    collector = Program::start(collector.kill());
    assert_eq!(
        gaps(&collector),
        with(&[json!([15, "lost", 3]), open.clone()])
    );
    // One comes after all, of another service.
    let mut late = health(4, at(17), 0);
    late["service_name"] = json!("Slow");
    deliver(&collector, &late);
    assert_eq!(gaps(&collector), with(&[json!([15, "lost", 2]), open]));
    // What lies beside the question decides at its edges: a block has the reports by now.
    for seq in 9..300 {
        deliver(&collector, &in_run("b", seq, 40 + seq));
    }
    let answer = series(&collector, &format!("from={}&to={}", at(21), at(30)));
    let gap = json!({"from": at(21), "to": at(30), "cause": "not_sampled"});
    assert_eq!(answer["gaps"], json!([gap]));
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_a_reason() {
    let collector = Program::new(TOML);
    deliver(&collector, &network(0, now_s(), 1.0));
    for (query, status, sentence) in [
        ("service=Net", 400, "client_id is missing"),
        ("client_id=1", 400, "service is missing"),
        (
            "client_id=1&service=x",
            404,
            "client 1 never reported the service \"x\"",
        ),
        (
            "client_id=9&service=Net",
            404,
            "client 9 never reported the service \"Net\"",
        ),
        (
            "client_id=1&service=Net&from=2&to=2",
            400,
            "from is not before to",
        ),
        (
            "client_id=1&service=Net&width=4001",
            400,
            "width is not within 1 to 4000",
        ),
        (
            "client_id=1&service=Net&from=-1",
            400,
            "from is not a time within 0 to 253402300799 s since 1970-01-01 00:00 UTC",
        ),
        (
            "client_id=1&service=Net&to=x",
            400,
            "to is not a number, or out of range",
        ),
    ] {
        let answer = collector.get(&format!("/api/series?{query}"), "");
        let told = (answer.status, answer.json()["error"].clone());
        assert_eq!(told, (status, json!(sentence)), "{query}");
    }
    // The longest question there is.
    let answer = series(&collector, "from=0&to=253402300799&width=4000");
    assert_eq!(answer["tier"], "partials");
    assert!(answer["times"].as_array().unwrap().len() <= 4000);
}

#[test]
fn a_host_shows_what_it_reports_and_who_ordered_it() {
    let collector = Program::new(TOML);
    let time = now_s();
    deliver(&collector, &network(0, time, 1.5));
    assert_eq!(collector.get("/api/client/config/1", "").status, 200);
    let answer = collector.get("/api/hosts", "").json();
    let hosts = answer["hosts"].as_array().unwrap();
    let [web, pump] = hosts.as_slice() else {
        panic!("{answer}")
    };
    assert!(answer["now"].as_f64().unwrap() >= time);
    assert!(web["orders_fetched"].as_f64().unwrap() >= time - 1.0);
    let [net, slow] = web["services"].as_array().unwrap().as_slice() else {
        panic!("{web}")
    };
    assert_eq!(
        (&web["label"], &web["groups"], &web["state"]),
        (&json!("web"), &json!(["servers"]), &json!("reporting"))
    );
    assert_eq!(web["boot"], "b");
    assert!((web["run_since"].as_f64().unwrap() - (time - 100.0)).abs() < 0.01);
    let net_fields = ["name", "plugin", "interval_s", "template", "group", "state"];
    let orders = |service: &Value| net_fields.map(|it| service[it].clone());
    assert_eq!(
        json!(orders(net)),
        json!(["Net", "GetNetworkStatus", 1.0, "own", null, "reporting"])
    );
    assert_eq!(
        json!(orders(slow)),
        json!([
            "Slow",
            "get_linux_load",
            3600.0,
            "shared",
            "servers",
            "never"
        ])
    );
    assert_eq!(net["data"]["data"]["eth0"]["t_in"], 1.5);
    assert_eq!(net["time"], time);
    assert_eq!(
        json!([pump["state"], pump["carried_by"]]),
        json!(["never", 1])
    );
    let one = collector.get("/api/hosts?client_id=pump", "").json();
    assert_eq!(one["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(one["hosts"][0]["label"], "pump");
    // A second and a half and ten more after it: nothing else is due yet.
    mote_test_support::wait_for("silence", mote_test_support::DEADLINE, || {
        let answer = collector.get("/api/hosts?client_id=1", "").json();
        let host = &answer["hosts"][0];
        let late_s = host["late_s"].as_f64();
        (host["state"] == "silent").then(|| {
            let since = host["last"].as_f64().unwrap();
            let late = answer["now"].as_f64().unwrap() - since - 12.5;
            // It counts from when the report was seen to be stored, by a look each second; who is late is so by a second
            // at least.
            let seen_s = late - late_s.unwrap();
            assert!((-1.01..5.0).contains(&seen_s), "{host}");
        })
    });
}

#[test]
fn a_client_invents_only_so_many_services() {
    let collector = Program::new(TOML);
    let named = |name: &str| {
        let report = report(json!({"service_name": name, "data": {"a": 1}}));
        collector.report("", &report).status
    };
    let lines: Vec<String> = (0..MAX_SERVICES_OF_CLIENT)
        .map(|number| report(json!({"service_name": number.to_string()})).to_string())
        .collect();
    for lines in lines.chunks(1000) {
        let path = "/api/client/service/reports";
        let answer = post_lines(collector.address, path, &lines.join("\n"));
        assert_eq!(answer.json()["exceptions"], json!([]));
    }
    assert_eq!(named("7"), 200);
    assert_eq!(named("one more"), 400);
    // What is ordered is taken.
    assert_eq!(named("Net"), 200);
}

fn post_lines(address: SocketAddr, path: &str, lines: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{lines}",
        lines.len()
    ));
    client.answer().unwrap()
}

#[test]
fn a_run_of_an_agent_began_with_its_first_report() {
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n\
         [templates.t.services]\nCPU = [\"get_linux_cpu\", 15]\n",
    );
    let send = |collector: &Program, boot: &str, seq: u64, time: f64| {
        let body = report(json!({"service_name": "CPU", "boot": boot, "seq": seq, "time": time}));
        assert_eq!(collector.report("", &body).status, 200);
    };
    let since = |collector: &Program| {
        let answer = collector.get("/api/hosts", "").json();
        answer["hosts"][0]["run_since"].as_f64()
    };
    send(&collector, "a", 1, 1_700_000_015.0);
    assert_eq!(since(&collector), None, "when it began, nobody knows");
    // It has waited.
    send(&collector, "a", 0, 1_700_000_000.0);
    send(&collector, "a", 2, 1_700_000_030.0);
    assert_eq!(since(&collector), Some(1_700_000_000.0));
    let collector = Program::start(collector.kill());
    send(&collector, "a", 3, 1_700_000_045.0);
    assert_eq!(since(&collector), Some(1_700_000_000.0));
    send(&collector, "b", 0, 1_700_000_100.0);
    assert_eq!(since(&collector), Some(1_700_000_100.0));
}
