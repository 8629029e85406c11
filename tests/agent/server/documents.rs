//! Answers to a request for orders that are documents: good, bad and odd ones.

use std::fs;

use serde_json::{Value, json};

use super::orders::assert_the_last_good_orders_stay;
use super::{GOOD, Scene, each};
use mote_test_support::scripted_server::Answer;
use mote_test_support::site::service;

const INTERVAL: &str = "the interval must be a number from 0.1 s to 604800 s";
const SHAPE: &str = "must be [plugin name, interval in seconds]";
const NOT_ONE: &str = "not a services document in JSON";

/// A document with these services (the object).
fn services(object: &str) -> Answer {
    Answer::ok(format!("{{\"services\": {object}}}"))
}

#[test]
fn a_bad_document_is_no_order() {
    let too_many: Vec<String> = (0..257)
        .map(|n| format!("\"s{n}\": [\"get_linux_cpu\", 60]"))
        .collect();
    let ten_thousand = too_many.join(", ").replace("\"s", "\"service-").repeat(40);
    let long = "n".repeat(201);
    let mut utf16: Vec<u8> = vec![0xff, 0xfe];
    utf16.extend(
        "{\"services\": {}}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes),
    );
    // {"services": {}} by gzip(1), without its name and time.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV*N-*\xcbLN-V\xb2R\xa8\xae\xad\x05\x00\xeb\xf4\xa0\xf2\x10\x00\x00\x00";
    let cases = [
        (
            "{}",
            Answer::ok("{}"),
            "the document has no `services` object",
        ),
        ("nothing", Answer::ok(""), NOT_ONE),
        (
            "a page",
            Answer::ok(" <html>Welcome</html>"),
            "page for people (HTML)",
        ),
        ("null", services("null"), NOT_ONE),
        ("a list", Answer::ok("[]"), NOT_ONE),
        (
            "a byte order mark",
            Answer::ok("\u{feff}{\"services\": {}}"),
            NOT_ONE,
        ),
        ("UTF-16", Answer::ok(utf16), NOT_ONE),
        (
            "compressed",
            Answer::ok(*gzip).with_header("Content-Encoding", "gzip"),
            "answered in the encoding \"gzip\", which was not asked for",
        ),
        (
            "two documents",
            Answer::ok("{\"services\": {}}{\"services\": {}}"),
            NOT_ONE,
        ),
        (
            "deep",
            Answer::ok(format!("{{\"more\": {}", "[".repeat(30_000))),
            "the document nests deeper than 8",
        ),
        ("deep services", services(&"[".repeat(30_000)), NOT_ONE),
        (
            "text for an array",
            services(r#"{"A": "get_linux_cpu"}"#),
            SHAPE,
        ),
        ("a number for a name", services(r#"{"A": [1, 1]}"#), SHAPE),
        ("an empty array", services(r#"{"A": []}"#), SHAPE),
        (
            "a text for a number",
            services(r#"{"A": ["x", "1"]}"#),
            INTERVAL,
        ),
        ("zero", services(r#"{"A": ["x", 0]}"#), INTERVAL),
        (
            "a negative interval",
            services(r#"{"A": ["x", -1]}"#),
            INTERVAL,
        ),
        (
            "a huge interval",
            services(r#"{"A": ["x", 1e300]}"#),
            INTERVAL,
        ),
        (
            "an interval past f64",
            services(r#"{"A": ["x", 1e999]}"#),
            INTERVAL,
        ),
        (
            "a name twice",
            services(r#"{"A": ["x", 1], "A": ["x", 2]}"#),
            "service \"A\": named twice",
        ),
        (
            "a long name",
            services(&format!("{{\"{long}\": [\"x\", 1]}}")),
            "the service's name must be text of 1 to 200 bytes",
        ),
        (
            "a long plugin",
            services(&format!("{{\"A\": [\"{long}\", 1]}}")),
            "service \"A\": the plugin's name must be text of 1 to 200 bytes",
        ),
        (
            "one service too many",
            services(&format!("{{{}}}", too_many.join(", "))),
            "service \"s256\": one more than the 256 services there is room for",
        ),
        (
            "10 000 services",
            services(&format!("{{{ten_thousand}}}")),
            "answered with more than 64 KiB",
        ),
    ];
    each(&cases, |(name, answer, sentence)| {
        assert_the_last_good_orders_stay(name, answer, sentence);
    });
}

#[test]
fn no_services_are_an_order_too() {
    let mut scene = Scene::new();
    // At first it may be a server whose database fails.
    scene.server.be_good("{}");
    scene.wait_for_reason("services_error", "it may not know this client");
    scene.server.wait_for_more("Good", 3);
    let status = scene.site.status();
    assert_eq!(status["server"]["healthy"], false);
    assert_eq!(status["services"][0]["name"], "Good");
    scene.server.be_good(GOOD);
    scene.wait_for_health();

    // It says so for a minute.
    scene.server.be_good("{}");
    scene.site.wait_for_status("no services", |status| {
        (status["services"] == json!([])).then_some(())
    });
    scene.wait_for_reason(
        "services_error",
        "the server orders no services: it may not",
    );
    super::wait_for_all(&scene, &["Good"]);
    let sampled = scene.site.status()["reports"]["sampled"].clone();
    scene.server.wait_for_more_asked(2);
    assert_eq!(scene.site.status()["reports"]["sampled"], sampled);
    scene.agent.assert_said("monitors 0 services", 1);
    let kept = fs::read_to_string(scene.site.path("state/services.json")).unwrap();
    assert_eq!(kept, r#"{"services": {}}"#);

    scene.server.be_good(GOOD);
    scene.server.wait_for_more("Good", 1);
    scene.wait_for_health();
    scene.assert_alive();
}

#[test]
fn as_many_services_as_there_is_room_for_run() {
    let mut scene = Scene::new();
    let many: Vec<String> = (0..255)
        .map(|n| format!("\"s{n}\": [\"get_linux_load\", 1]"))
        .collect();
    let good = &GOOD[1..GOOD.len() - 1];
    scene
        .server
        .be_good(&format!("{{{good}, {}}}", many.join(", ")));
    for n in [0, 127, 254] {
        scene.server.wait_for_more(&format!("s{n}"), 2);
    }
    scene.agent.assert_said("monitors 256 services", 1);
    assert_eq!(
        scene.site.status()["services"].as_array().unwrap().len(),
        256
    );
    scene.assert_alive();
}

#[test]
fn an_unknown_plugin_is_reported_once_and_again_when_it_changes() {
    let mut scene = Scene::new();
    let order = |rest: &str| {
        let good = &GOOD[1..GOOD.len() - 1];
        scene.server.be_good(&format!("{{{good}, {rest}}}"));
        // Read, and then read again without a change.
        scene.server.wait_for_more_asked(3);
    };
    let refused = |count: usize, plugin: &str| {
        let reports = scene.server.wait_for_more("Odd", 0);
        assert!(reports.is_empty());
        let reports = scene.server.acknowledged("Odd");
        assert_eq!(reports.len(), count, "{reports:?}");
        let error = format!(
            "{plugin:?} is neither a probe of this agent nor listed in its setting `plugins`"
        );
        assert_eq!(
            reports[count - 1]["data"],
            json!({"status": 1, "error": error})
        );
        let line = format!("mote: service \"Odd\" failed with status 1: {error}");
        scene.agent.assert_said(&line, 1);
        let status = scene.site.status();
        let odd = service(&status, "Odd");
        assert_eq!(
            (&odd["status"], &odd["next_in_s"]),
            (&json!(1), &Value::Null)
        );
    };
    order(r#""Odd": ["nothing", 0.1]"#);
    refused(1, "nothing");
    // A change of another service does not affect this one.
    order(r#""Odd": ["nothing", 0.1], "Memory": ["get_memory_info", 0.1]"#);
    refused(1, "nothing");
    order(r#""Odd": ["../../bin/sh", 0.1]"#);
    refused(2, "../../bin/sh");
    scene.server.wait_for_more("Good", 2);
    order(r#""Odd": ["get_memory_info", 0.1]"#);
    let cured = scene.server.wait_for_more("Odd", 1);
    assert_eq!(cured[0]["data"]["status"], 0);
    scene.wait_for_health();
    scene.assert_alive();
}
