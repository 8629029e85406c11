//! Answers that are in order up to a point: in two pieces, without an end, with too much behind it, put off for ever.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{GOOD, Scene, each, seqs};
use mote_test_support::namespace::run_in_namespace;
use mote_test_support::scripted_server::{Answer, Server, good};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, need, run, wait_for};

#[test]
fn a_head_that_says_yes_acknowledges_whatever_becomes_of_the_body() {
    let cases = [
        ("no length, and no end", "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "less than was promised",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        ),
        (
            "chunks without the last",
            "HTTP/1.1 201 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        ),
    ];
    each(&cases, |(what, bytes)| {
        let mut scene = Scene::new();
        scene.answer_reports(|_| Answer::Pieces(vec![bytes.as_bytes().to_vec()]));
        // With one that waits for the end, each of these would take all of `request_timeout_s` and then be another's.
        let reports = scene.server.wait_for_more("Good", 8);
        let distinct: BTreeSet<u64> = seqs(&reports).into_iter().collect();
        assert_eq!(
            distinct.len(),
            reports.len(),
            "{what}: each was brought once"
        );
        let status = scene.site.status();
        assert_eq!(status["server"]["healthy"], true, "{what}: {status}");
        scene.assert_alive();
    });
}

/// ureq takes none of these for an answer, and the connection ends.
#[test]
fn a_first_line_that_says_yes_acknowledges_whatever_the_rest_of_the_head_is() {
    let many: String = (0..200).map(|nth| format!("X-{nth}: x\r\n")).collect();
    let heads = [
        "Content-Length: two\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 2\r\nContent-Length: 3\r\n".to_owned(),
        "Content-Length: 99999999999999999999\r\n".to_owned(),
        "no colon here\r\n".to_owned(),
        "Na me: x\r\n".to_owned(),
        "X: \0\r\n".to_owned(),
        format!("X: {}\r\n", "x".repeat(17 << 10)),
        many,
    ];
    each(&heads, |head| {
        let mut scene = Scene::new();
        let shown: String = head.chars().take(40).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nok").into_bytes();
        scene.answer_reports(move |_| Answer::Pieces(vec![answer.clone()]));
        let reports = scene.server.wait_for_more("Good", 8);
        let distinct: BTreeSet<u64> = seqs(&reports).into_iter().collect();
        assert_eq!(
            distinct.len(),
            reports.len(),
            "{shown:?}: each was brought once"
        );
        let connections = scene.server.connections();
        assert!(connections >= 8, "{shown:?}: {connections} connections");
        let status = scene.site.status();
        assert_eq!(status["server"]["healthy"], true, "{shown:?}: {status}");
        let said = scene.site.call(&["check", "--send"]);
        assert!(said.out.contains("  Good  taken: 200 OK\n"), "{said:?}");
        scene.assert_alive();
    });
    // Such a head is no answer if it says no, or if it only announces one.
    for line in [
        "HTTP/1.1 503 no",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 2000 OK",
        "ICY 200 OK",
    ] {
        let scene = Scene::new();
        let answer = format!("{line}\r\nContent-Length: two\r\n\r\n").into_bytes();
        scene.answer_reports(move |_| Answer::Raw(answer.clone()));
        scene.wait_for_reason("error", "does not answer in valid HTTP");
        let acknowledged = || scene.site.status()["reports"]["acknowledged"].as_u64();
        let before = acknowledged();
        let brought = scene.server.brought("Good").len();
        wait_for("another try", DEADLINE, || {
            (scene.server.brought("Good").len() > brought).then_some(())
        });
        assert_eq!(acknowledged(), before, "{line}");
    }
}

#[test]
fn what_stands_behind_an_answer_is_no_answer_to_the_next_request() {
    let scene = Scene::new();
    // To each second report the server says no, but it has said yes twice to the one before.
    let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(2);
    scene.answer_reports(move |request| match request.report()["seq"].as_u64() {
        Some(seq) if seq % 2 == 0 => Answer::Pieces(vec![twice.clone()]),
        _ => Answer::status(503, "later"),
    });
    scene.server.wait_for_more("Good", 4);
    // Read before: the number of acknowledged reports only grows.
    let acknowledged = scene.site.status()["reports"]["acknowledged"].as_u64();
    let taken: BTreeSet<u64> = seqs(&scene.server.acknowledged("Good"))
        .into_iter()
        .collect();
    assert!(
        acknowledged <= Some(taken.len() as u64),
        "{acknowledged:?} acknowledged, {} taken",
        taken.len()
    );
}

#[test]
fn an_answer_in_two_pieces_is_acknowledged_in_between() {
    let test = "server::answers::an_answer_in_two_pieces_is_acknowledged_in_between";
    let Some(_) = need(test, run(Command::new("strace").arg("-V"))) else {
        return;
    };
    let server = Server::new(GOOD);
    server.script(|request| match good(GOOD, request) {
        Answer::Http { body, .. } => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            Answer::Pieces(vec![head.into_bytes(), body])
        }
        other => other,
    });
    let site = Site::of(&server);
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-e", "trace=setsockopt", "-o"]);
    tracer
        .arg(site.path("calls"))
        .arg(site.command(&[]).get_program());
    tracer.args(site.command(&["run"]).get_args());
    let _agent = Running::start("agent", &mut tracer, site.folder());
    server.wait_for_more("Good", 3);
    wait_for("an acknowledgement", DEADLINE, || {
        let calls = fs::read_to_string(site.path("calls")).unwrap();
        calls.contains("TCP_QUICKACK").then_some(())
    });
    assert_eq!(server.connections(), 1, "one connection carried them all");
}

#[test]
fn a_server_that_only_announces_its_answer_is_left() {
    let mut scene = Scene::new();
    let announced = b"HTTP/1.1 102 Processing\r\n\r\n".to_vec();
    scene.answer_reports(move |_| Answer::Repeated(announced.clone()));
    scene.wait_for_reason(
        "error",
        "announced an answer (1xx) more than 16 times and gave none",
    );
    scene.assert_alive();
    scene.server.be_good(GOOD);
    scene.wait_for_health();
}

#[test]
fn a_few_announcements_are_no_harm() {
    let scene = Scene::new();
    scene.answer_reports(|_| {
        let announced = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(3);
        let answer = format!("{announced}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Answer::Pieces(vec![answer.into_bytes()])
    });
    wait_for("reports", DEADLINE, || {
        let status = scene.site.status();
        (status["reports"]["acknowledged"].as_u64() > Some(5)).then_some(())
    });
}

#[test]
fn the_servers_own_words_stand_in_log_and_status() {
    let cases = [
        (
            400,
            r#"{"error": "data is no \u001b[31mobject"}"#,
            r#"it says "data is no [31mobject""#,
        ),
        (
            500,
            "<html><title>KeyError at /api/</title>",
            r#"it says "KeyError at /api/""#,
        ),
        (
            503,
            "\n  overloaded, come back\n later",
            r#"it says "overloaded, come back""#,
        ),
    ];
    each(&cases, |(code, body, words)| {
        let scene = Scene::new();
        let (code, body) = (*code, (*body).to_owned());
        scene.answer_reports(move |_| Answer::status(code, body.clone()));
        wait_for(words, DEADLINE, || {
            scene.agent.output().contains(words).then_some(())
        });
        let said = scene.site.call(&["status"]).out;
        assert!(said.contains(words), "{said}");
    });
}

#[test]
fn a_name_service_that_is_silent_costs_a_call_no_more_than_its_time() {
    let test = "server::answers::a_name_service_that_is_silent_costs_a_call_no_more_than_its_time";
    run_in_namespace(test, || {
        // Bound and never read, so requests get no answer.
        let silent = std::net::UdpSocket::bind("127.0.0.53:53").unwrap();
        let site = Site::new(&server_settings(
            "http://srv.example:9",
            "request_timeout_s = 0.3",
        ));
        let resolv = site.path("resolv.conf");
        fs::write(
            &resolv,
            "nameserver 127.0.0.53\noptions timeout:30 attempts:5\n",
        )
        .unwrap();
        let bind = [resolv.to_str().unwrap(), "/etc/resolv.conf"];
        let mounted = run(Command::new("mount").arg("--bind").args(bind));
        mounted.expect("a bind mount");
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        assert!(said.err.contains("did not answer in time"), "{said:?}");
        drop(silent);
    });
}
