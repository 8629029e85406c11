//! The services document on its way from the server to the board.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use super::bench::{Wire, board, of_board, site_of, wait_for_field};
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Site, server_settings};

const ASK: &str = r#"{"client_id":7,"get":"services","uptime":5}"#;

fn is_of_board(request: &Request) -> bool {
    request.path == "/api/client/config/7"
}

/// Orders nothing of the agent, and `document` of the board.
fn serve(server: &Server, document: &str) {
    let document = document.to_owned();
    server.script(move |request| match is_of_board(request) {
        true => Answer::ok(document.clone()),
        false => good("{}", request),
    });
}

#[test]
fn a_board_gets_what_the_server_orders_and_later_what_it_changes() {
    let server = Server::new("{}");
    serve(
        &server,
        r#" {"services": {"Load": ["get_mcu_load", 5.0, 1]}, "more": 1} "#,
    );
    let (site, wire) = site_of(&server);
    wire.say(ASK);
    let documents = wire.wait_for_documents(1);
    assert_eq!(
        documents,
        [json!({"services": {"Load": ["get_mcu_load", 5]}})]
    );
    let status = of_board(&site.status(), 7);
    assert!(status["services_came"].is_number(), "{status}");

    serve(&server, r#"{"services": {}}"#);
    wire.say(ASK);
    assert_eq!(wire.wait_for_documents(2)[1], json!({"services": {}}));
}

#[test]
fn while_the_server_is_away_a_board_gets_the_last_good_document() {
    let server = Server::new("{}");
    let good_document = json!({"services": {"Load": ["get_mcu_load", 5]}});
    serve(&server, &good_document.to_string());
    let (site, wire) = site_of(&server);
    wire.say(ASK);
    wire.wait_for_documents(1);
    let large: serde_json::Map<_, _> = (0..40)
        .map(|n| {
            (
                format!("a service whose name is long {n}"),
                json!(["get_mcu_load", 5]),
            )
        })
        .collect();
    let large = json!({ "services": large }).to_string();
    let length = large.len() + 10;
    for (count, document, sentence) in [
        (2, None, "the services of board 7: ".to_owned()),
        (
            3,
            Some("nonsense".to_owned()),
            "the services document of board 7 is not passed on: not a services document in JSON"
                .to_owned(),
        ),
        (
            4,
            Some(large),
            format!(
                "the services document of board 7 takes a line of {length} bytes, more than the 1024 that a board reads"
            ),
        ),
    ] {
        match document {
            Some(document) => serve(&server, &document),
            None => server.script(|request| match is_of_board(request) {
                true => Answer::status(500, ""),
                false => good("{}", request),
            }),
        }
        wire.say(ASK);
        let documents = wire.wait_for_documents(count);
        assert_eq!(documents.last(), Some(&good_document));
        site.wait_for_status(&sentence, |status| {
            let error = of_board(status, 7)["services_error"].clone();
            error
                .as_str()
                .is_some_and(|error| error.starts_with(&sentence))
                .then_some(())
        });
    }
    site.wait_for_log("more than the 1024 that a board reads");

    // It is asked again without being asked to.
    serve(&server, r#"{"services": {"New": ["get_mcu_ram", 60]}}"#);
    let new = json!({"services": {"New": ["get_mcu_ram", 60]}});
    let seen = wire.wait_for_documents(5);
    assert_eq!(seen.last(), Some(&new), "{seen:?}");
    wait_for_field(&site, 7, "services_error", serde_json::Value::Null);
}

#[test]
fn a_board_that_asks_all_the_time_has_the_server_asked_once_a_second() {
    let server = Server::new("{}");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    server.script(move |request| {
        if is_of_board(request) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        good("{}", request)
    });
    let began = Instant::now();
    let (_site, wire) = site_of(&server);
    while asked.load(Ordering::SeqCst) < 4 {
        for _ in 0..100 {
            wire.say(ASK);
        }
        wire.heard();
        // First the count: whatever comes later has its time too.
        let count = asked.load(Ordering::SeqCst) as f64;
        assert!(count <= began.elapsed().as_secs_f64() + 1.0);
    }
}

#[test]
fn a_server_that_hangs_on_a_board_does_not_hold_up_reports_for_ever() {
    let server = Server::new("{}");
    server.script(|request| match is_of_board(request) {
        true => Answer::Silence,
        false => good(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#, request),
    });
    let site = Site::new("");
    let wire = Wire::new(&site, "pico");
    let settings = server_settings(&server.url(), "request_timeout_s = 0.5");
    site.write_settings(&format!("{settings}\n{}", board(&wire, 7)));
    site.start();
    wire.say(ASK);
    server.wait_for_more("Cpu", 20);
    let error = of_board(&site.status(), 7)["services_error"].clone();
    assert!(
        error.as_str().unwrap().ends_with("did not answer in time"),
        "{error}"
    );
}

#[test]
fn without_a_server_the_status_says_why_there_are_no_services() {
    let site = Site::new("services = {}");
    let wire = Wire::new(&site, "pico");
    site.write_settings(&format!("services = {{}}\n{}", board(&wire, 7)));
    site.start();
    wire.say(ASK);
    let sentence = "board 7 asks for its services, and the settings name no server";
    wait_for_field(&site, 7, "services_error", sentence);

    // Once there is one, the board gets them.
    let server = Server::new("{}");
    site.write_settings(&format!(
        "{}\n{}",
        server_settings(&server.url(), ""),
        board(&wire, 7)
    ));
    assert_eq!(site.call(&["reload"]).code, 0);
    wire.wait_for_documents(1);
}
