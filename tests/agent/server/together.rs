//! Several reports in one request, for servers that offer to take them so.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Scene, each, wait_for_all};
use mote_test_support::scripted_server::{Answer, Request};
use mote_test_support::{DEADLINE, wait_for};

const SERVICES: &str = r#"{"Good": ["get_linux_cpu", 0.1], "Load": ["get_linux_load", 0.1], "Memory": ["get_memory_info", 0.1]}"#;

const NAMES: [&str; 3] = ["Good", "Load", "Memory"];

/// How many reports each request brought; more than one only together.
type Counts = Arc<Mutex<Vec<usize>>>;

/// From now on the server offers it, and answers such requests like this.
fn offer(scene: &Scene, answer: impl Fn(&[Value]) -> Answer + Send + Sync + 'static) -> Counts {
    serve(scene, true, answer)
}

fn serve(
    scene: &Scene,
    offers: bool,
    answer: impl Fn(&[Value]) -> Answer + Send + Sync + 'static,
) -> Counts {
    let counts = Counts::default();
    let noted = Arc::clone(&counts);
    scene.server.script(move |request: &Request| {
        if request.asks_for_orders() {
            let document = Answer::ok(format!("{{\"services\": {SERVICES}}}"));
            return match offers {
                true => document.with_header("Mote-Batch", "1"),
                false => document,
            };
        }
        let reports = request.reports();
        noted.lock().expect("a list").push(reports.len());
        match request.is_of_many() {
            true => {
                assert_eq!(request.values("content-type"), ["application/x-ndjson"]);
                answer(&reports)
            }
            false => Answer::ok("{}"),
        }
    });
    counts
}

fn taken(reports: &[Value], exceptions: Value) -> Answer {
    Answer::ok(
        json!({"status": "ok", "reports": reports.len(), "exceptions": exceptions}).to_string(),
    )
}

fn of_many(counts: &Counts) -> usize {
    let counts = counts.lock().expect("a list");
    counts.iter().filter(|it| **it > 1).count()
}

fn wait_for_many(counts: &Counts, more: usize) {
    let before = of_many(counts);
    wait_for("requests with several", DEADLINE, || {
        (of_many(counts) >= before + more).then_some(())
    });
}

fn wait_for_singles(counts: &Counts) {
    let before = counts.lock().expect("a list").len();
    wait_for("single ones", DEADLINE, || {
        let counts = counts.lock().expect("a list");
        let (_, new) = counts.split_at(before);
        (new.len() > 10 && new[5..].iter().all(|it| *it == 1)).then_some(())
    });
}

/// Each report up to now was acknowledged, once.
fn assert_once(scene: &Scene) {
    wait_for_all(scene, &NAMES);
    for name in NAMES {
        let mut seqs = super::seqs(&scene.server.acknowledged(name));
        let count = seqs.len();
        seqs.sort_unstable();
        seqs.dedup();
        assert_eq!(seqs.len(), count, "{name}");
    }
}

#[test]
fn the_reports_of_a_tick_go_together_as_long_as_it_is_offered() {
    let mut scene = Scene::with(SERVICES);
    let counts = offer(&scene, |reports| taken(reports, json!([])));
    wait_for_many(&counts, 5);
    assert_once(&scene);
    scene.wait_for_health();
    let counts = serve(&scene, false, |reports| taken(reports, json!([])));
    scene.server.wait_for_more_asked(2);
    let before = of_many(&counts);
    wait_for_singles(&counts);
    assert_eq!(of_many(&counts), before);
    scene.server.wait_for_more("Good", 5);
    assert_once(&scene);
    scene.assert_alive();
}

#[test]
fn an_answer_that_means_nothing_ends_it() {
    let cases: Vec<(&str, Answer)> = vec![
        ("404", Answer::status(404, "")),
        ("405", Answer::status(405, "")),
        ("413", Answer::status(413, "")),
        ("415", Answer::status(415, "")),
        ("400", Answer::status(400, r#"{"error": "no line"}"#)),
        ("501", Answer::status(501, "")),
        ("204", Answer::status(204, "")),
        ("nothing", Answer::ok("")),
        ("like a single one", Answer::ok(r#"{"status": "ok"}"#)),
        ("too few", Answer::ok(r#"{"reports": 1, "exceptions": []}"#)),
        (
            "line 0",
            Answer::ok(
                r#"{"reports": 3, "exceptions": [{"line": 0, "status": 400, "error": ""}]}"#,
            ),
        ),
        ("a page", Answer::ok("<html>")),
    ];
    each(&cases, |(what, answer)| {
        let mut scene = Scene::with(SERVICES);
        let answer = answer.clone();
        let counts = offer(&scene, move |_| answer.clone());
        wait_for_many(&counts, 1);
        wait_for_singles(&counts);
        assert_eq!(of_many(&counts), 1, "{what}");
        wait_for_all(&scene, &NAMES);
        scene.wait_for_health();
        let said = scene.agent.output();
        assert_eq!(
            said.matches("it gets single ones").count(),
            1,
            "{what}: {said}"
        );
        let status = scene.site.status();
        assert_eq!(status["reports"]["dropped"]["refused"], 0, "{what}");
        scene.assert_alive();
    });
}

#[test]
fn each_report_has_its_own_end() {
    let mut scene = Scene::with(SERVICES);
    let refused = |status: u16, of: &'static str| {
        move |reports: &[Value]| {
            let of = |it: &(usize, &Value)| it.1["service_name"] == of;
            let lines = reports.iter().enumerate().filter(of);
            let exceptions: Vec<Value> = lines
                .map(|(index, _)| json!({"line": index + 1, "status": status, "error": "no such field"}))
                .collect();
            taken(reports, json!(exceptions))
        }
    };
    let counts = offer(&scene, refused(400, "Load"));
    wait_for_many(&counts, 3);
    scene.wait_for_reason("given_up", "it says \"no such field\"");
    scene.wait_for_health();
    let dropped = scene.site.status()["reports"]["dropped"]["refused"].as_u64();
    assert!(dropped > Some(0), "{dropped:?}");

    // What may be the server's fault shows when it goes alone, where this server takes it.
    for status in [404, 403, 500, 503, 999] {
        let counts = offer(&scene, refused(status, "Memory"));
        wait_for_many(&counts, 3);
        scene.server.wait_for_more("Memory", 3);
        let reports = scene.site.status()["reports"].clone();
        let before = reports["dropped"]["refused"].clone();
        scene.server.wait_for_more("Memory", 3);
        let reports = scene.site.status()["reports"].clone();
        assert_eq!(reports["dropped"]["refused"], before, "{status}: {reports}");
        assert_eq!(reports["dropped"]["gave_up"], 0, "{status}: {reports}");
    }
    scene.assert_alive();
}

#[test]
fn a_server_that_fails_on_all_together_gets_them_alone() {
    let cases: Vec<(&str, Answer)> = vec![
        ("503", Answer::status(503, "")),
        ("500", Answer::status(500, "")),
        ("401", Answer::status(401, "")),
        ("429", Answer::status(429, "")),
        ("closed", Answer::Raw(Vec::new())),
        ("silence", Answer::Silence),
    ];
    each(&cases, |(what, answer)| {
        let mut scene = Scene::with(SERVICES);
        let answer = answer.clone();
        let counts = offer(&scene, move |_| answer.clone());
        wait_for_many(&counts, 1);
        wait_for_all(&scene, &NAMES);
        let status = scene.site.status();
        let dropped = status["reports"]["dropped"]
            .as_object()
            .expect("an object")
            .clone();
        assert!(dropped.values().all(|it| *it == 0), "{what}: {status}");
        assert!(
            !scene.agent.output().contains("it gets single ones"),
            "{what}"
        );
        offer(&scene, |reports| taken(reports, json!([])));
        scene.server.wait_for_more("Good", 3);
        scene.wait_for_health();
        scene.assert_alive();
    });
}
