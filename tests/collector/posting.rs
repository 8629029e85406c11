//! Reports as they are posted: what is taken, what is refused, and what hurts nobody.

use std::net::Shutdown;

use mote_agent::collector::MAX_BODY_BYTES;
use serde_json::json;

use super::running::{Running, post_head, report};

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
