//! An agent that was killed, and one that does not move.

use std::fs;

use nix::sys::signal::Signal;

use super::LOCAL;
use mote_test_support::free_port;
use mote_test_support::processes::{is_alive, send, stat, wait_for_end};
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn status_tells_running_dead_stopped_and_unknown_apart() {
    let site = Site::new(LOCAL);
    let is = |code: i32, out: &str| {
        let said = site.call(&["status"]);
        assert_eq!((said.code, &*said.out), (code, out), "{said:?}");
        let json = site.call(&["status", "--json"]);
        assert_eq!((json.code, &*json.out), (code, "{\"running\":false}\n"));
    };
    is(3, "mote does not run\n");

    let pid = site.start();
    let said = site.call(&["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    let first = said.out.lines().next().unwrap();
    assert!(
        first.ends_with(&format!(" as client 1, pid {pid}")),
        "{first}"
    );
    let row = said.out.lines().last().unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..3], ["Cpu", "get_linux_cpu", "0.1"], "{row}");

    send(pid, Signal::SIGKILL);
    wait_for_end(pid);
    is(1, "mote does not run: it died without stopping\n");

    let next = site.start();
    assert_ne!(next, pid);
    assert_eq!(site.status()["pid"], next);
    site.call(&["stop"]);
    is(3, "mote does not run\n");

    site.write_settings("services = 3");
    let unknown = site.call(&["status"]);
    assert_eq!((unknown.code, &*unknown.out), (4, ""), "{unknown:?}");
    assert!(unknown.err.contains("agent.toml:4"), "{unknown:?}");
}

#[test]
fn a_killed_agent_starts_again_without_its_server() {
    let port = free_port();
    let server = Server::on(port, r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    let site = Site::of(&server);
    let pid = site.start();
    server.wait_for_more("Cpu", 2);
    let kept = fs::read_to_string(site.path("state/services.json")).unwrap();
    assert_eq!(kept, r#"{"services": {"Cpu": ["get_linux_cpu", 0.1]}}"#);

    send(pid, Signal::SIGKILL);
    wait_for_end(pid);
    drop(server);
    // Its lock is there until the last of its threads has ended.
    wait_for("another agent", DEADLINE, || {
        let said = site.call(&["start"]);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.contains("mote runs, pid ").then_some(())
    });
    let status = site.wait_for_status("samples and no server", |status| {
        let sampled = status["reports"]["sampled"].as_u64() > Some(2);
        (sampled && status["server"]["error"].is_string()).then(|| status.clone())
    });
    assert_eq!(status["services"][0]["plugin"], "get_linux_cpu");
    let error = status["server"]["error"].as_str().unwrap();
    assert!(
        error.contains(&format!("http://127.0.0.1:{port}/")),
        "{error}"
    );

    // What was sampled meanwhile arrives once it is back, from the first one on.
    let server = Server::on(port, r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    wait_for("the first report of this run", DEADLINE, || {
        let reports = server.acknowledged("Cpu");
        let first = |report: &&serde_json::Value| report["seq"] == 0;
        reports.iter().find(first).map(|report| {
            assert_eq!(report["boot"], status["boot"]);
        })
    });
}

#[test]
fn an_agent_that_does_not_move_is_told_from_one_that_is_gone_and_can_be_killed() {
    let site = Site::new(LOCAL);
    let pid = site.start();
    send(pid, Signal::SIGSTOP);
    wait_for("it to be stopped", DEADLINE, || {
        (stat(pid)?.state == 'T').then_some(())
    });

    let status = site.call(&["status"]);
    assert_eq!((status.code, &*status.out), (4, ""), "{status:?}");
    let socket = site.path("state/agent.sock");
    let expected = format!(
        "mote: the agent runs but does not answer: {}: no answer within 10 s\n",
        socket.display()
    );
    assert_eq!(status.err, expected);
    // It has the lock, so another one must not start.
    let start = site.call(&["start"]);
    assert_eq!(start.out, format!("mote runs already, pid {pid}\n"));

    let stop = site.call(&["stop", "--timeout", "1"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    assert_eq!(
        stop.out,
        format!("mote did not stop within 1 s and was killed, pid {pid}\n")
    );
    assert!(!is_alive(pid));
    // It was told to end, so it did not die.
    assert_eq!(site.call(&["status"]).code, 3);
    assert_ne!(site.start(), pid);
}

#[test]
fn an_agent_that_never_reached_its_server_says_so() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let site = Site::new(&server_settings(&url, ""));
    site.start();
    let error = site.wait_for_status("the error", |status| {
        assert_eq!(status["server"]["healthy"], false);
        status["server"]["services_error"]
            .as_str()
            .map(str::to_owned)
    });
    let expected = format!("{url}/api/client/config/1: ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    let text = site.call(&["status"]).out;
    let expected = format!("server: {url} - has not answered yet\nservices: {error}\n");
    assert!(text.contains(&expected), "{text}");
    assert!(text.ends_with("no services\n"), "{text}");
    site.wait_for_log(&format!(" mote: {error}\n"));
    assert_eq!(site.call(&["stop"]).code, 0);
}
