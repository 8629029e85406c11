//! A server that is away, and a kept document that is damaged.

use std::fs;

use super::{GOOD, Scene};
use mote_test_support::free_port;
use mote_test_support::scripted_server::{Answer, Server};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn an_agent_waits_for_its_server() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let site = Site::new(&server_settings(&url, ""));
    let mut agent = site.run();
    let reason = wait_for_services_error(&site);
    assert_eq!(
        reason,
        format!("{url}/api/client/config/1: Connection refused (os error 111)")
    );
    let status = site.status();
    assert_eq!(status["services"], serde_json::json!([]));
    assert_eq!(status["reports"]["sampled"], 0);
    let server = Server::on(port, GOOD);
    server.wait_for_more("Good", 2);
    assert_eq!(server.acknowledged("Good")[0]["seq"], 0);
    assert_eq!(agent.terminate().code(), Some(0));
    let log = agent.output();
    assert_eq!(log.matches(&reason).count(), 1, "{log}");
    assert_eq!(log.matches("is followed again").count(), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_kept_document_that_is_corrupt_is_named_and_replaced() {
    for kept in [
        &b"{\"services\": {\"Go"[..],
        b"",
        b"\xff\xfe\x00",
        b"{\"services\": {\"A\": [\"x\", -5]}}",
        &[b'['; 60_000],
        &[b' '; 70_000],
    ] {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let site = Site::new(&server_settings(&url, ""));
        let path = site.path("state/services.json");
        fs::create_dir(site.path("state")).unwrap();
        fs::write(&path, kept).unwrap();
        let mut agent = site.run();
        wait_for_services_error(&site);
        assert_eq!(site.status()["services"], serde_json::json!([]));
        let log = agent.wait_for_output(" is not used: ");
        let named: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(path.to_str().unwrap()))
            .collect();
        assert_eq!(named.len(), 1, "{log}");
        assert!(named[0].contains(" is not used: "), "{log}");
        let server = Server::on(port, GOOD);
        server.wait_for_more("Good", 1);
        let replaced = fs::read_to_string(&path).unwrap();
        assert_eq!(replaced, format!("{{\"services\": {GOOD}}}"));
        assert_eq!(agent.terminate().code(), Some(0));
        assert!(!agent.output().contains("panicked"));
    }
}

#[test]
fn reports_of_an_outage_arrive_after_it() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let site = Site::new(&server_settings(&url, "request_timeout_s = 0.5"));
    let server = Server::on(port, GOOD);
    let agent = site.run();
    server.wait_for_more("Good", 2);
    let before = server.acknowledged("Good");
    drop(server);
    let error = site.wait_for_status("the outage", |status| {
        let queued = status["reports"]["queued"].as_u64() > Some(10);
        status["server"]["error"]
            .as_str()
            .filter(|_| queued)
            .map(str::to_owned)
    });
    assert!(error.contains("/api/client/service/report/"), "{error}");

    let server = Server::on(port, GOOD);
    let mut scene = Scene {
        server,
        site,
        agent,
    };
    let next = before.last().unwrap()["seq"].as_u64().unwrap() + 1;
    let sampled = scene.site.status()["reports"]["sampled"].as_u64().unwrap();
    wait_for("what was queued", DEADLINE, || {
        let have = super::seqs(&scene.server.acknowledged("Good"));
        // One may have been noted by the server that went away before its answer was out.
        let all = (next..sampled).all(|seq| have.contains(&seq));
        all.then_some(())
    });
    scene.wait_for_health();
    scene.assert_alive();
}

#[test]
fn an_agent_ends_although_its_server_is_silent() {
    let mut scene = Scene::new();
    scene.server.script(|_| Answer::Silence);
    scene.wait_for_reason("error", "did not answer in time");
    assert_eq!(scene.agent.terminate().code(), Some(0));
    let log = scene.agent.output();
    assert!(
        log.lines().last().unwrap().starts_with("mote: stops: "),
        "{log}"
    );
}

#[test]
fn what_waits_is_delivered_before_the_end() {
    let mut scene = Scene::new();
    scene.answer_reports(|_| Answer::status(503, ""));
    scene.site.wait_for_status("a queue", |status| {
        (status["reports"]["queued"].as_u64() > Some(5)).then_some(())
    });
    scene.server.be_good(GOOD);
    let sampled = scene.site.status()["reports"]["sampled"].as_u64().unwrap();
    assert_eq!(scene.agent.terminate().code(), Some(0));
    let log = scene.agent.output();
    let last = log.lines().last().unwrap();
    assert!(sampled > 5 && last.contains("acknowledged"), "{last}");
    // A report that just failed is not tried again for 2 s at least, so it may be left.
    let words: Vec<&str> = last.split_whitespace().collect();
    let left: u64 = words[words.iter().position(|it| *it == "queued").unwrap() - 1]
        .parse()
        .unwrap();
    assert!(left <= 3, "{last}");
}

fn wait_for_services_error(site: &Site) -> String {
    wait_for("the agent", DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
    site.wait_for_status("the reason", |status| {
        status["server"]["services_error"]
            .as_str()
            .map(str::to_owned)
    })
}
