//! Services documents that the server names with an `ETag`.

use std::sync::{Arc, Mutex};

use super::{GOOD, Scene};
use mote_test_support::scripted_server::{Answer, Request};
use mote_test_support::{DEADLINE, wait_for};

const OTHER: &str = r#"{"Good": ["get_linux_cpu", 0.1], "More": ["get_linux_load", 0.1]}"#;

/// What each ask for orders named in `If-None-Match`.
type Named = Arc<Mutex<Vec<Option<String>>>>;

/// From now on orders are these, with this tag, and 304 to who names it. As RFC 9110 allows, that says nothing of its length.
fn tag(scene: &Scene, services: &'static str, tag: &str) -> Named {
    let named = Named::default();
    let noted = Arc::clone(&named);
    let tag = tag.to_owned();
    scene.server.script(move |request: &Request| {
        if !request.asks_for_orders() {
            return Answer::ok("{}");
        }
        let values = request.values("if-none-match");
        assert!(values.len() < 2, "{values:?}");
        let value = values.first().map(|it| (*it).to_owned());
        let is_same = !tag.is_empty() && value.as_ref() == Some(&tag);
        noted.lock().expect("a list").push(value);
        let answer = Answer::ok(format!("{{\"services\": {services}}}"));
        match (is_same, tag.is_empty()) {
            (true, _) => Answer::Pieces(vec![
                format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").into_bytes(),
            ]),
            (_, true) => answer,
            _ => answer.with_header("ETag", tag.clone()),
        }
    });
    named
}

fn asked(named: &Named, count: usize) -> Vec<Option<String>> {
    wait_for("more asks for orders", DEADLINE, || {
        let named = named.lock().expect("a list");
        (named.len() >= count).then(|| named.clone())
    })
}

#[test]
fn a_document_that_has_a_tag_is_asked_for_by_it() {
    let mut scene = Scene::new();
    let untagged = tag(&scene, GOOD, "");
    assert_eq!(asked(&untagged, 3), [const { None }; 3]);

    let first = tag(&scene, GOOD, "\"a\"");
    let told = asked(&first, 5);
    assert_eq!(told[0], None);
    assert!(
        told[1..].iter().all(|it| it.as_deref() == Some("\"a\"")),
        "{told:?}"
    );
    let connections = scene.server.connections();
    scene.server.wait_for_more("Good", 3);
    asked(&first, told.len() + 3);
    assert_eq!(
        scene.server.connections(),
        connections,
        "304 keeps the connection"
    );
    scene.wait_for_health();

    // Another document, by a weak name; then the first one again.
    let second = tag(&scene, OTHER, "W/\"b\"");
    scene.server.wait_for_more("More", 1);
    let told = asked(&second, 4);
    assert_eq!(told[0].as_deref(), Some("\"a\""));
    assert!(
        told[1..].iter().all(|it| it.as_deref() == Some("W/\"b\"")),
        "{told:?}"
    );
    tag(&scene, GOOD, "\"a\"");
    scene.site.wait_for_status("one service", |status| {
        (status["services"].as_array()?.len() == 1).then_some(())
    });

    // One that cannot be sent back, and none at all.
    for odd in [format!("\"{}\"", "x".repeat(255)), "\"\u{e9}\"".to_owned()] {
        let named = tag(&scene, GOOD, &odd);
        assert_eq!(asked(&named, 3)[1..], [None, None], "{odd}");
    }
    let untagged = tag(&scene, GOOD, "");
    assert_eq!(asked(&untagged, 3), [const { None }; 3]);
    scene.assert_alive();
}

#[test]
fn orders_that_are_not_followed_are_not_for_being_the_same() {
    let mut scene = Scene::new();
    tag(&scene, r#"{"Good": ["get_linux_cpu", 0]}"#, "\"bad\"");
    for _ in 0..2 {
        scene.wait_for_reason("services_error", "the interval must be a number");
        scene.server.wait_for_more_asked(2);
    }
    scene.server.wait_for_more("Good", 3);
    let good = tag(&scene, GOOD, "\"good\"");
    asked(&good, 2);
    scene.wait_for_health();
    scene.assert_alive();
}

#[test]
fn nobody_is_told_that_nothing_changed_who_did_not_ask() {
    let mut scene = Scene::new();
    scene.answer_orders(Answer::status(304, ""));
    scene.wait_for_reason("services_error", "304");
    scene.server.wait_for_more("Good", 3);
    scene.assert_alive();
}
