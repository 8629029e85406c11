//! The collector as its clients see it: HTTP over loopback, and what is left after a restart.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mote_agent::collector::{Collector, Handle, MAX_BODY_BYTES, ServeError, ServerSettings};
use mote_test_support::http::{Answer, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

const SERVER_TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"

    [hosts.web]
    id = 1
    groups = ["servers"]
    templates = ["slow"]

    [hosts.board-7]
    templates = ["slow"]

    [hosts.bare]
    id = 3

    [groups.servers]
    templates = ["fast"]

    [templates.slow.services]
    LinuxCPU = ["get_linux_cpu", 60]
    LinuxLoad = ["get_linux_load", 0.5]

    [templates.fast.services]
    LinuxCPU = ["get_linux_cpu", 15]
"#;

#[test]
fn a_host_gets_its_services_by_number_and_by_name() {
    let collector = Running::new();
    let web = json!({"services": {"LinuxCPU": ["get_linux_cpu", 15], "LinuxLoad": ["get_linux_load", 0.5]}});
    let board = json!({"services": {"LinuxCPU": ["get_linux_cpu", 60], "LinuxLoad": ["get_linux_load", 0.5]}});
    let bare = json!({"services": {}});
    for (id, services) in [("1", web), ("board-7", board), ("3", bare)] {
        for slash in ["", "/"] {
            let answer = collector.get(&format!("/api/client/config/{id}{slash}"));
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.json(), services, "{id}{slash}");
        }
    }
    // Boards read whole numbers only.
    let text = collector.get("/api/client/config/1").body;
    assert!(text.contains(r#"["get_linux_cpu",15]"#), "{text}");
}

#[test]
fn every_id_and_name_of_an_agent_is_served() {
    let name = format!("{}ü/ \"%2f&+", "n".repeat(190));
    assert_eq!(name.len(), 200);
    let long = format!("x{}y", "ü".repeat(31));
    for (id, segment) in [
        ("web 1", "web%201".to_owned()),
        ("a/b", "a%2Fb".to_owned()),
        ("100%2F", "100%252F".to_owned()),
        ("a?b#c", "a%3Fb%23c".to_owned()),
        ("..", "..".to_owned()),
        ("{id}", "%7Bid%7D".to_owned()),
        (&long, format!("x{}y", "%C3%BC".repeat(31))),
    ] {
        let folder = new_folder();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.a]\nid = {id:?}\ntemplates = [\"t\"]\n\
             [templates.t.services]\n{name:?} = [\"p\", 1]\n"
        );
        std::fs::write(folder.path().join("server.toml"), toml).unwrap();
        let collector = Running::at(folder);
        for slash in ["", "/"] {
            let answer = collector.get(&format!("/api/client/config/{segment}{slash}"));
            assert_eq!(answer.status, 200, "{id}");
            assert_eq!(answer.json(), json!({"services": {&name: ["p", 1]}}));
        }
        let sent = report(json!({"client_id": id, "service_name": name}));
        assert_eq!(collector.post_json(&sent).status, 200, "{id}");
        let kept = collector.reports(&format!("client_id={segment}"));
        assert_eq!(kept.len(), 1, "{id}");
        assert_eq!(kept[0]["client_id"], id);
        assert_eq!(kept[0]["service_name"], name);
    }
}

#[test]
fn a_collector_without_hosts_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(
        &path,
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n",
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mote"))
        .args(["serve", "--config"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("mote: no hosts: "), "{line}");
}

#[test]
fn who_is_unknown_is_told_so_in_json() {
    let collector = Running::new();
    for id in ["2", "01", "web", "%ff", "%2e%2e", "1%00", "4294967297"] {
        let answer = collector.get(&format!("/api/client/config/{id}"));
        let expected = if id == "%ff" { 400 } else { 404 };
        assert_eq!(answer.status, expected, "{id}");
        assert!(answer.json()["error"].is_string(), "{id}");
    }
    let answer = collector.post_json(&report(json!({"client_id": 2})));
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json(),
        json!({"error": "no host of the collector's settings has the id \"2\"; add a table such as [hosts.NAME] with that id"})
    );
    for path in ["/nothing", "/api/client/config/", "/api/client/config/1/2"] {
        let answer = collector.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    let answer = collector.get("/api/client/service/report/");
    assert_eq!(answer.status, 405);
    assert!(answer.json()["error"].is_string());
    assert_eq!(collector.reports("").len(), 0);
}

#[test]
fn both_encodings_and_both_paths_are_kept_as_sent() {
    let collector = Running::new();
    let data = r#"{"status": 0, "user": 1.50, "idle": 98.5}"#;
    let body = format!(
        r#"{{"client_id": 1, "service_name": "LinuxCPU", "data": {data}, "time": 1795339484.886, "boot": "b", "seq": 1}}"#
    );
    let path = "/api/client/service/report/";
    let answer = collector.post(path, "application/json", &body);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"status": "ok"}))
    );
    let form = "client_id=1&service_name=LinuxCPU&boot=b&seq=2&time=1795339485.5&data=\
                %7B%22status%22%3A%200%2C%20%22user%22%3A%201.50%2C%20%22idle%22%3A%2098.5%7D";
    let kind = "application/x-www-form-urlencoded; charset=UTF-8";
    let answer = collector.post("/api/client/service/report", kind, form);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"status": "ok"}))
    );

    let text = collector.get("/api/reports").body;
    assert_eq!(text.matches(data).count(), 2, "{text}");
    let reports = collector.reports("");
    for (report, (seq, time)) in reports.iter().zip([(1, 1795339484.886), (2, 1795339485.5)]) {
        assert_eq!(report["client_id"], 1);
        assert_eq!(report["service_name"], "LinuxCPU");
        assert_eq!(report["data"]["user"], 1.5);
        assert_eq!(report["time"], time);
        assert_eq!(report["boot"], "b");
        assert_eq!(report["seq"], seq);
        assert!(report["received"].as_f64().unwrap() > 1.7e9);
    }
    assert_eq!(reports.len(), 2);
}

#[test]
fn an_ordinary_http_client_keeps_its_connection() {
    let collector = Running::new();
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("http://{}/api/client/service/report/", collector.address);
    for seq in 0..3 {
        let body = report(json!({"boot": "b", "seq": seq})).to_string();
        let mut answer = agent
            .post(&url)
            .header("Content-Type", "application/json")
            .send(&body)
            .unwrap();
        assert_eq!(
            answer.body_mut().read_to_string().unwrap(),
            r#"{"status":"ok"}"#
        );
        let fields = [
            ("client_id", "1"),
            ("service_name", "a b"),
            ("data", "{\"é\": \"+&=\"}"),
        ];
        assert_eq!(agent.post(&url).send_form(fields).unwrap().status(), 200);
    }
    let reports = collector.reports("service=a%20b");
    assert_eq!(reports.len(), 3);
    assert_eq!(reports[0]["data"], json!({"é": "+&="}));

    let mut client = collector.connect();
    for _ in 0..20 {
        client.send("GET /api/client/config/1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 200);
    }
}

#[test]
fn a_redelivery_is_acknowledged_and_not_stored_twice() {
    let collector = Running::new();
    for (extra, count) in [
        (json!({"boot": "a", "seq": 1}), 1),
        (json!({"boot": "a", "seq": 1}), 1),
        (json!({"boot": "a", "seq": 2}), 2),
        (json!({"boot": "b", "seq": 1}), 3),
        (json!({"boot": "a", "seq": 1, "client_id": "board-7"}), 4),
        // Nothing proves that these are the same report.
        (json!({"seq": 1}), 5),
        (json!({"seq": 1}), 6),
        (json!({}), 7),
        (json!({}), 8),
    ] {
        let answer = collector.post_json(&report(extra.clone()));
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"status": "ok"}))
        );
        assert_eq!(collector.reports("").len(), count, "{extra}");
    }
    let board = report(json!({"client_id": "board-7", "uptime": 3600}));
    assert_eq!(collector.post_json(&board).status, 200);
    let reports = collector.reports("client_id=board-7");
    assert_eq!(reports[1]["uptime"], 3600.0);
    assert_eq!(reports[1].get("time"), None);
}

#[test]
fn what_is_no_report_is_refused_with_a_reason() {
    let collector = Running::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        String::new(),
        "not json".to_owned(),
        "[]".to_owned(),
        report(json!({})).to_string().replace('}', ""),
        report(json!({"data": [1]})).to_string(),
        report(json!({"data": "{}"})).to_string(),
        report(json!({"data": null})).to_string(),
        report(json!({"service_name": 5})).to_string(),
        report(json!({"seq": -1})).to_string(),
        report(json!({"data": "X"}))
            .to_string()
            .replace("\"X\"", "{\"a\":NaN}"),
        report(json!({"data": "X"}))
            .to_string()
            .replace("\"X\"", "{\"a\":-1e999}"),
        report(json!({"data": "X"}))
            .to_string()
            .replace("\"X\"", &format!("{{\"a\":{deep}}}")),
        report(json!({"data": "X"}))
            .to_string()
            .replace("\"X\"", &deep),
        deep,
    ] {
        let answer = collector.post("/api/client/service/report/", "application/json", &body);
        assert_eq!(answer.status, 400, "{body:.200}");
        let answer = answer.json();
        let reason = answer["error"].as_str().unwrap();
        assert!(!reason.contains('\n'), "{reason}");
    }
    for body in [
        "",
        "client_id=1",
        "client_id=1&service_name=a&data=[]",
        "%%%=&&\u{1}",
    ] {
        let kind = "application/x-www-form-urlencoded";
        let answer = collector.post("/api/client/service/report/", kind, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(collector.reports("").len(), 0);
}

/// Clients of the family post JSON text as it comes out of their library: as a form, as text, or as nothing.
#[test]
fn json_is_json_whatever_its_type_says() {
    let collector = Running::new();
    let body = report(json!({})).to_string();
    let kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/cbor",
        "\u{e9}",
        "",
    ];
    for kind in kinds {
        let answer = collector.post("/api/client/service/report/", kind, &format!("\n {body}"));
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
    }
    let mut client = collector.connect();
    client.send(&format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.answer().unwrap().status, 200);
    let form = "client_id=1&service_name=LinuxCPU&data=%7B%22user%22%3A1.5%7D";
    for kind in ["application/json", "text/plain"] {
        let answer = collector.post("/api/client/service/report/", kind, form);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
    }
    assert_eq!(collector.reports("").len(), kinds.len() + 3);
}

#[test]
fn a_body_may_be_256_kib_and_not_one_byte_more() {
    let collector = Running::new();
    let empty = report(json!({"data": {"text": ""}})).to_string().len();
    let of_size = |bytes: usize| {
        let text = "x".repeat(bytes - empty);
        report(json!({"data": {"text": text}})).to_string()
    };
    let path = "/api/client/service/report/";
    let fits = of_size(MAX_BODY_BYTES);
    assert_eq!(fits.len(), 262_144);
    assert_eq!(collector.post(path, "application/json", &fits).status, 200);
    // The client has sent all of it before it reads; it must get the answer nevertheless.
    for bytes in [MAX_BODY_BYTES + 1, 3_000_000] {
        let answer = collector.post(path, "application/json", &of_size(bytes));
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"].is_string());
    }

    let mut client = collector.connect();
    client.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    ));
    for _ in 0..5 {
        client.send(&format!("10000\r\n{}\r\n", " ".repeat(0x10000)));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 413);
    assert_eq!(collector.reports("").len(), 1);
}

#[test]
fn no_request_hides_in_another() {
    let collector = Running::new();
    let status = |head: &str| {
        let mut client = collector.connect();
        client.send(&format!("{head}\r\n\r\n"));
        client.answer().unwrap().status
    };
    let ask = "GET /api/client/config/1";
    assert_eq!(status(&format!("{ask} HTTP/1.1\r\nHost: localhost")), 200);
    assert_eq!(status(&format!("{ask} HTTP/1.0")), 200);
    assert_eq!(status(&format!("{ask} HTTP/1.1")), 400);
    for version in ["1.0", "1.1"] {
        let two = format!("{ask} HTTP/{version}\r\nHost: localhost\r\nHost: 127.0.0.1");
        assert_eq!(status(&two), 400);
    }

    // Two lengths: nothing that follows is taken for a request.
    let body = report(json!({})).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let [length, encoding] = ["Content-Length: 4", "Transfer-Encoding: chunked"];
    for [first, second] in [[length, encoding], [encoding, length], [length, length]] {
        let mut client = collector.connect();
        client.send(&format!(
            "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\n{first}\r\n{second}\r\n\r\n{chunked}\
             {ask} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (400, "close"));
        assert!(client.answer().is_none(), "{first}, {second}");
    }
    assert_eq!(collector.reports("").len(), 0);
    // One length is as good as the other, and a connection that was kept is looked at too.
    let mut client = collector.connect();
    client.send(&format!(
        "{}{body}",
        post_head("application/json", body.len())
    ));
    assert_eq!(client.answer().unwrap().status, 200);
    let head = "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked";
    client.send(&format!("{head}\r\nContent-Length: 4\r\n\r\n{chunked}"));
    assert_eq!(client.answer().unwrap().status, 400);
    // Who came before, in one go, has an answer.
    let mut client = collector.connect();
    client.send(&format!(
        "{ask} HTTP/1.1\r\nHost: localhost\r\n\r\n{ask} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{length}\r\n\r\n1234"
    ));
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 400);
    assert!(client.answer().is_none());
    let mut client = collector.connect();
    client.send(&format!("{head}\r\n\r\n{chunked}"));
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(collector.reports("").len(), 2);
}

#[test]
fn half_a_body_is_not_a_report() {
    let collector = Running::new();
    let body = report(json!({})).to_string();
    let mut client = collector.connect();
    client.send(&post_head("application/json", body.len() + 1));
    client.send(&body);
    client.stream.shutdown(Shutdown::Write).unwrap();
    // Whether it still gets an answer depends on when the end is seen; a yes it must not be.
    assert_ne!(client.answer().map(|answer| answer.status), Some(200));
    assert_eq!(collector.reports("").len(), 0);
}

#[test]
fn garbage_on_the_line_hurts_nobody() {
    let collector = Running::new();
    for garbage in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = collector.connect();
        client.send(garbage);
        let _ = client.stream.shutdown(Shutdown::Write);
        assert_ne!(client.answer().map(|answer| answer.status), Some(200));
    }
    assert_eq!(collector.get("/").status, 200);
}

#[test]
fn slow_clients_do_not_hold_up_the_others_nor_the_end() {
    let collector = Running::new();
    let mut slow = Vec::new();
    for half in [
        "",
        "POST /api/client/service/rep",
        "GET / HTTP/1.1\r\nHost: localhost\r\n",
        &post_head("application/json", 1000),
    ] {
        for _ in 0..20 {
            let mut client = collector.connect();
            client.send(half);
            slow.push(client);
        }
    }
    assert_eq!(collector.post_json(&report(json!({}))).status, 200);

    // One that goes on after a while is served like any other.
    let mut late = collector.connect();
    let body = report(json!({"boot": "late", "seq": 1})).to_string();
    let (first, rest) = body.split_at(20);
    late.send(&post_head("application/json", body.len()));
    late.send(first);
    assert_eq!(collector.reports("").len(), 1);
    late.send(rest);
    assert_eq!(late.answer().unwrap().status, 200);

    let folder = collector.stop();
    assert_eq!(Running::at(folder).reports("").len(), 2);
}

#[test]
fn a_restart_keeps_the_reports() {
    let collector = Running::new();
    for seq in 0..5 {
        let answer = collector.post_json(&report(json!({"boot": "b", "seq": seq})));
        assert_eq!(answer.status, 200);
    }
    let before = collector.get("/api/reports").json();
    let collector = Running::at(collector.stop());
    assert_eq!(collector.get("/api/reports").json(), before);
    let again = collector.post_json(&report(json!({"boot": "b", "seq": 4})));
    assert_eq!(again.status, 200);
    assert_eq!(collector.get("/api/reports").json(), before);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    const FOLDER: &str = "MOTE_TEST_COLLECTOR_TO_KILL";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // This is the child: a collector until it is killed.
        let folder = Path::new(&folder);
        let collector = Collector::bind(settings(folder)).unwrap();
        let address = collector.local_addr().to_string();
        std::fs::write(folder.join("address.new"), address).unwrap();
        std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
        collector.run(std::future::pending());
        return;
    }
    let folder = new_folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "api::what_was_acknowledged_survives_a_kill"])
        .env(FOLDER, folder.path())
        .spawn()
        .unwrap();
    let address: SocketAddr = loop {
        match std::fs::read_to_string(folder.path().join("address")) {
            Ok(address) => break address.parse().unwrap(),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        assert!(child.try_wait().unwrap().is_none(), "the child has ended");
    };
    // The kill comes from another thread, in the middle of the stream of reports.
    let (told, acknowledgements) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || {
        let mut count = 0;
        while acknowledgements.recv().is_ok() {
            count += 1;
            if count == 50 {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    });
    let mut client = Client::connect(address);
    let mut acknowledged = 0;
    loop {
        let body = report(json!({"boot": "b", "seq": acknowledged})).to_string();
        let head = post_head("application/json", body.len());
        if client.stream.write_all((head + &body).as_bytes()).is_err() {
            break;
        }
        match client.answer() {
            Some(answer) => assert_eq!(answer.status, 200),
            None => break,
        }
        acknowledged += 1;
        told.send(()).unwrap();
    }
    drop(told);
    killer.join().unwrap();

    let collector = Running::at(folder);
    let seqs: Vec<u64> = collector
        .reports("")
        .iter()
        .map(|report| report["seq"].as_u64().unwrap())
        .collect();
    assert!(acknowledged >= 50);
    let acknowledged_seqs: Vec<u64> = (0..acknowledged).collect();
    // The one that was under way may be there too.
    assert!(
        seqs.starts_with(&acknowledged_seqs),
        "{acknowledged}: {seqs:?}"
    );
    assert!(seqs.len() as u64 <= acknowledged + 1);
}

#[test]
fn reports_are_read_back_by_client_service_time_and_page() {
    let collector = Running::new();
    for seq in 0..12 {
        let client = if seq % 2 == 0 {
            json!(1)
        } else {
            json!("board-7")
        };
        let service = if seq % 3 == 0 {
            "LinuxLoad"
        } else {
            "LinuxCPU"
        };
        let extra = json!({"client_id": client, "service_name": service, "boot": "b", "seq": seq});
        assert_eq!(collector.post_json(&report(extra)).status, 200);
        // So that no two are received at the same time.
        std::thread::sleep(Duration::from_millis(3));
    }
    let seqs = |query: &str| -> Vec<u64> {
        let reports = collector.reports(query);
        let seqs = reports.iter().map(|report| report["seq"].as_u64().unwrap());
        seqs.collect()
    };
    assert_eq!(seqs(""), (0..12).collect::<Vec<_>>());
    assert_eq!(seqs("client_id=&service=&since=&limit=&after=").len(), 12);
    assert_eq!(seqs("client_id=1"), [0, 2, 4, 6, 8, 10]);
    assert_eq!(seqs("service=LinuxLoad"), [0, 3, 6, 9]);
    assert_eq!(seqs("client_id=board-7&service=LinuxLoad"), [3, 9]);
    assert_eq!(seqs("client_id=board-7&service=LinuxLoad&limit=1"), [3]);
    assert_eq!(seqs("client_id=nobody"), [0u64; 0]);
    assert_eq!(seqs("service=%27%20OR%201%3D1"), [0u64; 0]);

    let all = collector.reports("");
    for (index, report) in all.iter().enumerate() {
        let since = format!("since={}", report["received"]);
        assert_eq!(seqs(&since).len(), 11 - index, "exclusive: {since}");
    }
    assert_eq!(seqs("since=-1e300").len(), 12);
    assert_eq!(seqs("since=1e300").len(), 0);

    let mut after = 0;
    let mut pages = Vec::new();
    loop {
        let path = format!("/api/reports?client_id=1&limit=4&after={after}");
        let page = collector.get(&path).json();
        after = page["next"].as_i64().unwrap();
        match page["reports"].as_array().unwrap().len() {
            0 => break,
            count => pages.push(count),
        }
    }
    assert_eq!(pages, [4, 2]);

    for query in [
        "limit=0",
        "limit=10001",
        "limit=-1",
        "limit=x",
        "since=x",
        "since=NaN",
        "since=inf",
        "after=1.5",
        "clientid=1",
        "limit=1&limit=2",
    ] {
        let answer = collector.get(&format!("/api/reports?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].is_string(), "{query}");
    }
}

#[test]
fn while_the_database_is_locked_agents_are_told_to_come_back() {
    let collector = Running::new();
    let path = collector.folder.path().join("reports.db");
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let answer = collector.post_json(&report(json!({"boot": "b", "seq": 1})));
        assert_eq!(answer.status, 503);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(collector.reports("").len(), 0, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    let answer = collector.post_json(&report(json!({"boot": "b", "seq": 1})));
    assert_eq!(answer.status, 200);
    assert_eq!(collector.reports("").len(), 1);
}

#[test]
fn what_is_acknowledged_is_never_in_a_deleted_file() {
    for gone in [
        &["reports.db"][..],
        &["reports.db", "reports.db-wal", "reports.db-shm"],
    ] {
        let collector = Running::new();
        assert_eq!(collector.post_json(&numbered(1)).status, 200);
        for file in gone {
            std::fs::remove_file(collector.folder.path().join(file)).unwrap();
        }
        assert_eq!(collector.post_json(&numbered(2)).status, 503, "{gone:?}");
        collector.deliver(&numbered(2));
        assert_eq!(collector.seqs(), [2]);
        let collector = Running::at(collector.stop());
        assert_eq!(collector.seqs(), [2], "{gone:?}");
    }
}

#[test]
fn a_database_that_is_put_aside_keeps_its_reports_and_gets_no_more() {
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    let path = collector.folder.path().join("reports.db");
    let aside = new_folder();
    std::fs::rename(&path, aside.path().join("reports.db")).unwrap();
    collector.deliver(&numbered(2));
    assert_eq!(Running::at(aside).seqs(), [1]);
    assert_eq!(Running::at(collector.stop()).seqs(), [2]);
}

#[test]
fn a_deleted_log_takes_no_report_with_it() {
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    std::fs::remove_file(collector.folder.path().join("reports.db-wal")).unwrap();
    assert_eq!(collector.post_json(&numbered(2)).status, 503);
    collector.deliver(&numbered(3));
    assert_eq!(collector.post_json(&numbered(2)).status, 200);
    let mut seqs = collector.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn a_database_that_takes_the_place_is_gone_on_with() {
    let backup = Running::new();
    assert_eq!(backup.post_json(&numbered(7)).status, 200);
    let backup = backup.stop();
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    let path = collector.folder.path().join("reports.db");
    std::fs::copy(backup.path().join("reports.db"), path.with_extension("new")).unwrap();
    std::fs::rename(path.with_extension("new"), &path).unwrap();
    assert_eq!(collector.get("/api/reports").status, 503);
    collector.deliver(&numbered(8));
    assert_eq!(collector.seqs(), [7, 8]);
    assert_eq!(Running::at(collector.stop()).seqs(), [7, 8]);
}

#[test]
fn while_no_database_can_be_opened_agents_are_told_to_come_back() {
    let collector = Running::new();
    let path = collector.folder.path().join("reports.db");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        assert_eq!(collector.post_json(&numbered(1)).status, 503);
        assert_eq!(collector.get("/").status, 503);
    }
    std::fs::remove_dir(&path).unwrap();
    collector.deliver(&numbered(1));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody else's").unwrap();
    assert_eq!(collector.post_json(&numbered(2)).status, 503);
    let folder = collector.stop();
    let kept = std::fs::read_to_string(folder.path().join("reports.db")).unwrap();
    assert_eq!(kept, "somebody else's");
}

#[test]
fn the_overview_shows_every_service() {
    let collector = Running::new();
    let time = json!({"time": 1795339484.886, "data": {"user": 1.25}});
    assert_eq!(collector.post_json(&report(time)).status, 200);
    let answer = collector.get("/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("refresh"), "2");
    let text = answer.body;
    for part in [
        "web (client 1)\n",
        "board-7 (client board-7)\n",
        "  LinuxCPU: 09:24:44, ",
        "s ago: {\"user\":1.25}\n",
        "  LinuxLoad: nothing yet\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_before_it_starts() {
    let collector = Running::new();
    let mut taken = settings(new_folder().path());
    taken.listen = collector.address;
    let error = Collector::bind(taken).err().unwrap();
    assert!(matches!(error, ServeError::Listen { .. }));
    let address = collector.address.to_string();
    assert!(error.to_string().contains(&address), "{error}");

    let folder = new_folder();
    std::fs::create_dir(folder.path().join("reports.db")).unwrap();
    let error = Collector::bind(settings(folder.path())).err().unwrap();
    assert!(matches!(error, ServeError::Store(_)));
    assert!(error.to_string().contains("reports.db"), "{error}");
}

#[test]
fn the_demo_orders_everything_from_host_1() {
    let folder = new_folder();
    let demo = ServerSettings::demo(folder.path(), "127.0.0.1:0".parse().unwrap());
    let collector = Running::with(demo, folder);
    let services = collector.get("/api/client/config/1").json()["services"].clone();
    assert_eq!(
        services,
        json!({
            "LinuxCPU": ["get_linux_cpu", 1],
            "LinuxMemory": ["get_memory_info", 2],
            "LinuxNetwork": ["GetNetworkStatus", 2],
            "LinuxLoad": ["get_linux_load", 5],
            "DiskIO": ["get_disk_io", 2],
            "HostAlive": ["host_alive_check", 10],
            "Filesystem": ["get_filesystem", 10],
            "SysInfo": ["LinuxSysInfo", 60],
        })
    );
}

/// A valid report, with these fields instead of or besides its own.
pub(crate) fn report(fields: Value) -> Value {
    let mut report = json!({"client_id": 1, "service_name": "LinuxCPU", "data": {"status": 0}});
    for (name, value) in fields.as_object().unwrap() {
        report[name] = value.clone();
    }
    report
}

fn numbered(seq: u64) -> Value {
    report(json!({"boot": "b", "seq": seq}))
}

fn new_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.toml"), SERVER_TOML).unwrap();
    folder
}

fn settings(folder: &Path) -> ServerSettings {
    ServerSettings::read(&folder.join("server.toml")).unwrap()
}

pub(crate) fn post_head(kind: &str, bytes: usize) -> String {
    format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
         Content-Length: {bytes}\r\n\r\n"
    )
}

/// A collector at work in a folder of its own.
struct Running {
    handle: Handle,
    address: SocketAddr,
    folder: TempDir,
}

impl Running {
    fn new() -> Self {
        Running::at(new_folder())
    }

    fn at(folder: TempDir) -> Self {
        Running::with(settings(folder.path()), folder)
    }

    fn with(settings: ServerSettings, folder: TempDir) -> Self {
        let collector = Collector::bind(settings).unwrap();
        let address = collector.local_addr();
        let handle = collector.spawn().unwrap();
        assert_eq!(handle.local_addr(), address);
        Running {
            handle,
            address,
            folder,
        }
    }

    fn stop(self) -> TempDir {
        self.handle.stop();
        assert!(TcpStream::connect(self.address).is_err(), "still listening");
        self.folder
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.answer().unwrap()
    }

    fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        let mut client = self.connect();
        let bytes = body.len();
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: {bytes}\r\n\r\n{body}"
        ));
        client.answer().unwrap()
    }

    fn post_json(&self, report: &Value) -> Answer {
        let path = "/api/client/service/report/";
        self.post(path, "application/json", &report.to_string())
    }

    /// Sends it again, as agents do, until it is acknowledged.
    fn deliver(&self, report: &Value) {
        loop {
            match self.post_json(report).status {
                200 => return,
                status => assert_eq!(status, 503),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn seqs(&self) -> Vec<u64> {
        let reports = self.reports("");
        let seqs = reports.iter().map(|report| report["seq"].as_u64().unwrap());
        seqs.collect()
    }

    fn reports(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/reports?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        answer.json()["reports"].as_array().unwrap().clone()
    }
}
