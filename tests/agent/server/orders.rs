//! Answers to a request for orders that bring no document.

use std::time::Duration;

use super::{Scene, each};
use mote_test_support::scripted_server::{Answer, Request, Server};

#[test]
fn without_an_answer_the_last_good_orders_stay() {
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let head = |rest: &str| raw(&format!("HTTP/1.1 200 OK\r\n{rest}"));
    let pause = Duration::from_millis(100);
    let cut = "closed the connection before its answer was complete";
    let late = "did not answer in time";
    let cases = [
        (
            "garbage",
            Answer::Raw(b"\x00\xff\xfe\r\n\r\n".to_vec()),
            "does not answer in valid HTTP",
        ),
        (
            "another protocol",
            raw("SSH-2.0-OpenSSH_9.2\r\n"),
            "does not answer in valid HTTP",
        ),
        ("nothing and the end", raw(""), cut),
        ("half a head", head("Content-Le"), cut),
        (
            "half a body",
            head("Content-Length: 100\r\n\r\n{\"services\": {"),
            cut,
        ),
        (
            "half a body in chunks",
            head("Transfer-Encoding: chunked\r\n\r\n5\r\n{\"ser"),
            cut,
        ),
        (
            "chunks of no length",
            head("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
            "does not answer in valid HTTP",
        ),
        (
            "two lengths",
            head("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
            "does not answer in valid HTTP",
        ),
        (
            "1000 headers",
            head(&format!("{}\r\n", "X: y\r\n".repeat(1000))),
            "does not answer in valid HTTP",
        ),
        (
            "129 headers",
            head(&format!(
                "Content-Length: 2\r\n{}\r\n{{}}",
                "X: y\r\n".repeat(128)
            )),
            "does not answer in valid HTTP",
        ),
        (
            "a head of 17 KiB",
            head(&format!("X: {}\r\n\r\n", "y".repeat(17 << 10))),
            "answered with a head of more than 16 KiB",
        ),
        ("silence", Answer::Silence, late),
        (
            "a head that never ends",
            Answer::Dribble(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), pause),
            late,
        ),
        (
            "a body that never ends",
            Answer::Dribble(
                b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}".to_vec(),
                pause,
            ),
            late,
        ),
        (
            "100 MB",
            Answer::Flood(100 << 20),
            "answered with more than 64 KiB",
        ),
        (
            "not found",
            Answer::status(404, "no"),
            "answered 404 Not Found",
        ),
        (
            "a failure",
            Answer::status(500, "no"),
            "answered 500 Internal Server Error",
        ),
        (
            "a redirect in circles",
            Answer::status(302, "").with_header("Location", "/api/client/config/1"),
            "redirects more than 5 times",
        ),
        (
            "a redirect to nowhere",
            Answer::status(302, ""),
            "redirects without saying where",
        ),
    ];
    each(&cases, |(name, answer, sentence)| {
        assert_the_last_good_orders_stay(name, answer, sentence);
    });
}

/// Also for other tests: the reason is said once, the service goes on, and so does all once the server is well.
pub fn assert_the_last_good_orders_stay(name: &str, answer: &Answer, sentence: &str) {
    let mut scene = Scene::new();
    scene.answer_orders(answer.clone());
    let status = scene.wait_for_reason("services_error", sentence);
    assert_eq!(status["server"]["healthy"], false, "{name}");
    // Other attempts end like the first.
    scene.server.wait_for_more_asked(2);
    scene.server.wait_for_more("Good", 3);
    let status = scene.wait_for_reason("services_error", sentence);
    assert_eq!(status["services"].as_array().unwrap().len(), 1, "{name}");
    assert_eq!(status["services"][0]["plugin"], "get_linux_cpu", "{name}");
    scene.agent.assert_said(sentence, 1);
    let log = scene.agent.output();
    assert!(!log.contains("takes reports again"), "{name}: {log}");
    scene.assert_alive();

    scene.server.be_good(super::GOOD);
    scene.wait_for_health();
    scene.agent.assert_said("is followed again", 1);
    scene.server.wait_for_more("Good", 1);
    let status = scene.site.status();
    let dropped = status["reports"]["dropped"].as_object().unwrap();
    assert!(dropped.values().all(|count| count == 0), "{name}: {status}");
    assert_eq!(scene.agent.terminate().code(), Some(0), "{name}");
}

#[test]
fn a_redirect_to_another_server_is_never_followed() {
    // It would give other orders, and take the reports.
    let other = Server::new(r#"{"Foreign": ["get_linux_cpu", 0.1]}"#);
    let port = other.port();
    let mut cases = Vec::new();
    for status in [301, 302, 307, 308] {
        cases.push((
            status,
            format!("http://127.0.0.1:{port}/api/client/config/1"),
        ));
    }
    for location in [
        format!("//127.0.0.1:{port}/api/client/config/1"),
        format!("http://localhost:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://1@127.0.0.1:{port}/"),
    ] {
        cases.push((302, location));
    }
    each(&cases, |(status, location)| {
        let mut scene = Scene::new();
        let elsewhere = Answer::status(*status, "").with_header("Location", location);
        scene.server.script(move |_: &Request| elsewhere.clone());
        let sentence = format!("redirects to {location}, which is another server and not followed");
        scene.wait_for_reason("services_error", &sentence);
        scene.wait_for_reason("error", &sentence);
        scene.server.wait_for_more_asked(1);
        scene.assert_alive();
        // One line for the orders, one for the reports.
        scene.agent.assert_said(&sentence, 2);

        scene.server.be_good(super::GOOD);
        scene.wait_for_health();
        super::wait_for_all(&scene, &["Good"]);
    });
    assert_eq!(other.connections(), 0);
}
