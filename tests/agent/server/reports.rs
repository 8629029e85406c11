//! Answers to reports.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Scene, each, seqs, wait_for_all};
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn reports_that_are_not_taken_wait() {
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let cases = [
        (
            "garbage",
            raw("\x00\r\n\r\n"),
            "does not answer in valid HTTP",
        ),
        (
            "nothing and the end",
            raw(""),
            "closed the connection before its answer was complete",
        ),
        (
            "half a head",
            raw("HTTP/1.1 20"),
            "closed the connection before its answer was complete",
        ),
        ("silence", Answer::Silence, "did not answer in time"),
        (
            "a head that never ends",
            Answer::Dribble(
                b"HTTP/1.1 200 OK\r\nX: ".to_vec(),
                Duration::from_millis(100),
            ),
            "did not answer in time",
        ),
        (
            "a failure",
            Answer::status(500, "no"),
            "answered 500 Internal Server Error",
        ),
        (
            "a failure with a long reason",
            Answer::status(502, vec![b'x'; 1 << 20]),
            "answered 502 Bad Gateway",
        ),
        (
            "too many requests",
            Answer::status(429, ""),
            "answered 429 Too Many Requests",
        ),
        (
            "a redirect in circles",
            Answer::status(307, "").with_header("Location", "/api/client/service/report/"),
            "redirects more than 5 times",
        ),
    ];
    each(&cases, |(name, answer, sentence)| {
        let mut scene = Scene::new();
        let refusal = answer.clone();
        scene.answer_reports(move |_| refusal.clone());
        let status = scene.wait_for_reason("error", sentence);
        assert_eq!(status["server"]["healthy"], false, "{name}");
        // Sampling goes on, and so do the orders.
        let queued = |status: &Value| status["reports"]["queued"].as_u64().unwrap();
        let before = queued(&status);
        scene.site.wait_for_status("more in the queue", |status| {
            (queued(status) > before + 5).then_some(())
        });
        scene.server.wait_for_more_asked(1);
        assert_eq!(status["server"]["services_error"], Value::Null, "{name}");
        scene.agent.assert_said(sentence, 1);
        scene.assert_alive();

        scene.server.be_good(super::GOOD);
        wait_for_all(&scene, &["Good"]);
        scene.wait_for_health();
        scene.agent.assert_said("the server takes reports again", 1);
        let status = scene.site.status();
        let dropped = status["reports"]["dropped"].as_object().unwrap();
        assert!(dropped.values().all(|count| count == 0), "{name}: {status}");
    });
}

#[test]
fn a_login_page_behind_a_redirect_acknowledges_nothing() {
    each(&[301, 302, 303], |status| {
        let status = *status;
        let server = Server::new(super::GOOD);
        // From the first report on.
        server.script(move |request: &Request| match request.path.as_str() {
            _ if request.asks_for_orders() => good(super::GOOD, request),
            "/login/" => Answer::ok("<html><title>Log in</title></html>"),
            _ => Answer::status(status, "").with_header("Location", "/login/"),
        });
        let site = Site::new(&server_settings(&server.url(), ""));
        let agent = site.run_until_up();
        let mut scene = Scene {
            server,
            site,
            agent,
        };
        let said = scene.wait_for_reason("error", "leads to /login/, so it took nothing");
        assert_eq!(said["server"]["healthy"], false, "{status}");
        wait_for("a third try", DEADLINE, || {
            (scene.server.brought("Good").len() > 2).then_some(())
        });
        let said = scene.site.status();
        assert_eq!(said["reports"]["acknowledged"], 0, "{status}: {said}");
        scene.server.be_good(super::GOOD);
        wait_for_all(&scene, &["Good"]);
        scene.wait_for_health();
        scene.assert_alive();
    });
}

#[test]
fn an_answer_that_is_cut_or_too_long_still_acknowledges() {
    for answer in [
        Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nta".to_vec()),
        Answer::Flood(100 << 20),
    ] {
        let mut scene = Scene::new();
        scene.answer_reports(move |_| answer.clone());
        let brought = |count: usize| {
            wait_for("reports", DEADLINE, || {
                (scene.server.brought("Good").len() > count).then_some(())
            });
        };
        brought(5);
        scene.site.wait_for_status("an empty queue", |status| {
            let reports = &status["reports"];
            (reports["acknowledged"].as_u64() > Some(5)).then_some(())
        });
        // Each one once.
        let seqs = seqs(&scene.server.brought("Good"));
        let counted: Vec<u64> = (0..).take(seqs.len()).collect();
        assert_eq!(seqs, counted);
        // Nor is it kept anywhere.
        let status = fs::read_to_string(format!("/proc/{}/status", scene.agent.id())).unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 50 << 10, "{peak}");
        scene.assert_alive();
    }
}

#[test]
fn a_report_that_the_server_refuses_is_dropped_and_delays_nobody() {
    let cases = [(413, "413 Payload Too Large"), (400, "400 Bad Request")];
    each(&cases, |(code, reason)| {
        let mut scene = two_services();
        let code = *code;
        scene.server.script(move |request| match request {
            it if it.asks_for_orders() => orders(),
            it if it.is_report_of("Bad") => Answer::status(code, "no"),
            _ => Answer::ok("{}"),
        });
        let taken = scene.server.acknowledged("Bad").len();
        let sentence = format!(
            "a report of \"Bad\" is given up: {}/api/client/service/report/ answered {reason}",
            scene.server.url()
        );
        scene.wait_for_reason("given_up", &sentence);
        // It may be the way's fault until another report is taken.
        scene.wait_for_health();
        scene.site.wait_for_status("refused ones", |status| {
            (status["reports"]["dropped"]["refused"].as_u64() > Some(5)).then_some(())
        });
        scene.server.wait_for_more("Good", 3);
        scene.agent.assert_said(&sentence, 1);
        // Each is brought twice at most.
        let mut tries = BTreeMap::new();
        for seq in seqs(&scene.server.brought("Bad")).split_off(taken) {
            *tries.entry(seq).or_insert(0) += 1;
        }
        assert!(tries.values().all(|count| *count <= 2), "{tries:?}");
        assert_no_gap_in_good(&scene);
        scene.assert_alive();
    });
}

/// A wrong address, a gate on the way, a server that was set up wrongly: any of them may say so to every report.
#[test]
fn a_server_that_refuses_all_loses_nothing() {
    let cases = [
        (400, "400 Bad Request"),
        (407, "407 Proxy Authentication Required"),
        (410, "410 Gone"),
        (422, "422 Unprocessable Entity"),
        (451, "451 Unavailable For Legal Reasons"),
        (499, "499"),
    ];
    each(&cases, |(code, reason)| {
        let mut scene = two_services();
        let code = *code;
        scene.server.script(move |request| match request {
            it if it.asks_for_orders() => orders(),
            _ => Answer::status(code, "no"),
        });
        let brought = |name: &str| scene.server.brought(name).len();
        let before = [brought("Good"), brought("Bad")];
        wait_for("tries of both", DEADLINE, || {
            let is_tried = brought("Good") > before[0] + 2 && brought("Bad") > before[1] + 2;
            is_tried.then_some(())
        });
        let status = scene.wait_for_reason("error", &format!("answered {reason}"));
        assert_eq!(status["server"]["healthy"], false, "{code}");
        assert_eq!(status["reports"]["dropped"]["refused"], 0, "{code}");

        scene.server.be_good(BOTH);
        wait_for_all(&scene, &["Good", "Bad"]);
        scene.wait_for_health();
        let status = scene.site.status();
        let dropped = status["reports"]["dropped"].as_object().unwrap();
        assert!(dropped.values().all(|count| count == 0), "{code}: {status}");
        scene.assert_alive();
    });
}

/// Five tries of the first report take half a minute: 2, 4, 8 and 16 s lie between them.
#[test]
fn a_service_that_the_server_fails_on_is_given_up_and_delays_nobody() {
    let began = Instant::now();
    let mut scene = two_services();
    scene.server.script(|request| match request {
        it if it.asks_for_orders() => orders(),
        it if it.is_report_of("Bad") => Answer::status(500, "no"),
        _ => Answer::ok("{}"),
    });
    let failed_on = scene.server.acknowledged("Bad").len();
    let sentence = format!(
        "a report of \"Bad\" is given up: {}/api/client/service/report/ answered 500 Internal Server Error",
        scene.server.url()
    );
    // Meanwhile no other waits.
    let status = wait_for("the first one to be given up", DEADLINE, || {
        scene.server.wait_for_more("Good", 1);
        let status = scene.site.status();
        let given_up = status["server"]["given_up"].as_str()?;
        assert!(given_up.contains(&sentence), "{given_up}");
        Some(status)
    });
    assert!(status["reports"]["dropped"]["gave_up"].as_u64() >= Some(1));
    assert_no_gap_in_good(&scene);
    // What has waited behind it goes as well, and nothing gathers.
    scene.site.wait_for_status("an empty queue", |status| {
        (status["reports"]["queued"].as_u64() <= Some(3)).then_some(())
    });
    // What comes and goes is said once a minute.
    let log = scene.agent.wait_for_output(&sentence);
    let said = log.matches(&sentence).count() as u64;
    assert!(said <= 1 + began.elapsed().as_secs() / 60, "{log}");
    let mut tries = BTreeMap::new();
    for seq in seqs(&scene.server.brought("Bad")).split_off(failed_on) {
        *tries.entry(seq).or_insert(0) += 1;
    }
    assert_eq!(tries.values().max(), Some(&5), "{tries:?}");
    scene.assert_alive();

    // Cured, it is taken again.
    scene.server.be_good(BOTH);
    scene.server.wait_for_more("Bad", 2);
    scene.wait_for_health();
    scene.assert_alive();
}

/// A worker that dies of one kind of report answers nothing at all.
#[test]
fn a_service_that_gets_no_answer_lets_others_pass() {
    let cases = [Answer::Raw(Vec::new()), Answer::Silence];
    each(&cases, |answer| {
        let mut scene = two_services();
        let answer = answer.clone();
        scene.server.script(move |request| match request {
            it if it.asks_for_orders() => orders(),
            it if it.is_report_of("Bad") => answer.clone(),
            _ => Answer::ok("{}"),
        });
        let brought = scene.server.brought("Bad").len();
        wait_for("three attempts", DEADLINE, || {
            scene.server.wait_for_more("Good", 1);
            (scene.server.brought("Bad").len() > brought + 3).then_some(())
        });
        assert_no_gap_in_good(&scene);
        scene.assert_alive();
        scene.server.be_good(BOTH);
        // Reports that were tried five times are kept for a person to look at; the service is taken again.
        scene.server.wait_for_more("Bad", 3);
        scene.server.wait_for_more("Good", 3);
        let reports = scene.site.status()["reports"].clone();
        let dead = reports["dead_letters"].as_u64().unwrap();
        assert_eq!(reports["dropped"]["gave_up"], dead, "{reports}");
    });
}

#[test]
fn retry_after_is_kept() {
    let mut scene = Scene::new();
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&asked);
    scene.answer_reports(move |_: &Request| {
        let mut asked = noted.lock().unwrap();
        asked.push(Instant::now());
        match asked.len() {
            1 => Answer::status(503, "").with_header("Retry-After", "3"),
            _ => Answer::ok("{}"),
        }
    });
    scene.wait_for_reason("error", "answered 503 Service Unavailable");
    wait_for_all(&scene, &["Good"]);
    let asked = asked.lock().unwrap().clone();
    assert!(asked[1] - asked[0] >= Duration::from_secs(3), "{asked:?}");
    scene
        .agent
        .assert_said("answered 503 Service Unavailable", 1);
    scene.assert_alive();
}

#[test]
fn forms_have_the_fields_that_the_server_wants() {
    let server = Server::new("{}");
    let keys = "service_report.encoding = \"form\"\n[server.service_report.fields]\nclient_id = \"client_ip\"\n\
                service_name = \"a & b\"\ndata = \"values\"\nseq = \"number\"\n";
    let site = Site::new(&server_settings(&server.url(), keys));
    let forms = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&forms);
    server.script(move |request| {
        if !request.asks_for_orders() {
            let pairs = form_urlencoded::parse(&request.body).into_owned();
            let form: Vec<(String, String)> = pairs.collect();
            seen.lock()
                .unwrap()
                .push((request.values("content-type").join(" "), form));
        }
        good(r#"{"Up": ["host_alive_check", 0.1]}"#, request)
    });
    let mut agent = site.run();
    let sent = wait_for("two reports", DEADLINE, || {
        agent.assert_running();
        Some(forms.lock().unwrap().clone()).filter(|it| it.len() >= 2)
    });
    for (kind, form) in &sent {
        assert_eq!(kind, "application/x-www-form-urlencoded");
        let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["client_ip", "a & b", "values", "time", "boot", "number"];
        assert_eq!(names, expected);
        let value = |at: usize| form[at].1.as_str();
        assert_eq!((value(0), value(1)), ("1", "Up"));
        let data: Value = serde_json::from_str(value(2)).unwrap();
        assert_eq!(data["status"], 0, "{form:?}");
        assert!(value(5).parse::<u64>().is_ok(), "{form:?}");
    }
    assert!(agent.terminate().success());
}

const BOTH: &str = r#"{"Good": ["get_linux_cpu", 0.2], "Bad": ["get_memory_info", 0.2]}"#;

fn orders() -> Answer {
    Answer::ok(format!("{{\"services\": {BOTH}}}"))
}

fn two_services() -> Scene {
    Scene::with(BOTH)
}

/// Every report of the good service that was sampled until now is acknowledged, each once.
fn assert_no_gap_in_good(scene: &Scene) {
    let status = scene.site.status();
    let sampled = status["reports"]["sampled"].as_u64().unwrap();
    let missed = status["services"][0]["missed"].as_u64().unwrap();
    // Both are sampled at the same instants, so every second number is theirs; a few are always on their way.
    wait_for("the reports of the good service", DEADLINE, || {
        let good = scene.server.acknowledged("Good").len() as u64;
        (2 * good + missed + 20 >= sampled).then_some(())
    });
    let good = seqs(&scene.server.acknowledged("Good"));
    let brought = seqs(&scene.server.brought("Good"));
    assert!(brought.starts_with(&good), "{brought:?}");
    let mut once = good.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), good.len(), "{good:?}");
}
