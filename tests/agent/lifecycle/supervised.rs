//! `run`, as a service manager does it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::signal::Signal;

use super::LOCAL;
use mote_test_support::site::Site;
use mote_test_support::{DEADLINE, Running, wait_for};

#[test]
fn term_and_int_end_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let site = Site::new(LOCAL);
        let mut agent = site.run();
        site_runs(&site);
        agent.signal(signal);
        assert_eq!(agent.wait().code(), Some(0));
        let log = agent.output();
        assert!(log.contains("mote: stops: "), "{log}");
        // What it prints has no time: the service manager adds it.
        assert!(log.lines().all(|line| line.starts_with("mote: ")), "{log}");
        assert!(!site.path("state/agent.log").exists());
        assert_eq!(site.call(&["status"]).code, 3);
    }
}

#[test]
fn the_service_manager_is_told() {
    let site = Site::new(LOCAL);
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut agent = notifying(
        &site,
        path.to_str().unwrap(),
        &[("WATCHDOG_USEC", "100000")],
    );
    assert_eq!(receive(&socket), "READY=1");
    // READY comes only once the agent answers.
    assert_eq!(site.status()["pid"], agent.id());
    for _ in 0..5 {
        assert_eq!(receive(&socket), "WATCHDOG=1");
    }
    agent.signal(Signal::SIGTERM);
    // Read meanwhile, since there is room for a few messages only.
    let mut last = receive(&socket);
    while last == "WATCHDOG=1" {
        last = receive(&socket);
    }
    assert_eq!(last, "STOPPING=1");
    assert_eq!(agent.wait().code(), Some(0));
    assert_nothing_more(&socket);
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let site = Site::new(LOCAL);
    let name = format!("mote-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let watchdog = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let mut agent = notifying(&site, &format!("@{name}"), &watchdog);
    assert_eq!(receive(&socket), "READY=1");
    // Time enough to wake up for samples.
    site.wait_for_status("samples", |status| {
        (status["reports"]["sampled"].as_u64() > Some(3)).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));
    assert_eq!(receive(&socket), "STOPPING=1");
    assert_nothing_more(&socket);
}

#[test]
fn a_service_manager_that_does_not_read_stops_nothing() {
    let site = Site::new(LOCAL);
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let often = [("WATCHDOG_USEC", "1000")];
    let mut agent = notifying(&site, path.to_str().unwrap(), &often);
    site_runs(&site);
    // Linux lets a sender wait once there are more unread messages than this.
    let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    let goal = 3 + limit / 50;
    site.wait_for_status("samples", |status| {
        (status["reports"]["sampled"].as_u64() > Some(goal)).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));
    assert_eq!(receive(&socket), "READY=1");
}

#[test]
fn without_a_server_reports_stay_in_the_queue() {
    let site = Site::new(LOCAL);
    let mut agent = site.run();
    site_runs(&site);
    let status = site.wait_for_status("reports", |status| {
        (status["reports"]["queued"].as_u64() > Some(3)).then(|| status.clone())
    });
    assert_eq!(status["server"], serde_json::Value::Null);
    let reports = &status["reports"];
    assert_eq!(reports["sampled"], reports["queued"]);
    assert_eq!(agent.terminate().code(), Some(0));
    let log = agent.output();
    let account = log.lines().last().unwrap();
    let words: Vec<&str> = account.split_whitespace().collect();
    let [
        "mote:",
        "stops:",
        sampled,
        "sampled",
        "=",
        "0",
        "acknowledged",
        "+",
        left,
        ..,
    ] = words[..]
    else {
        panic!("{account}");
    };
    assert_eq!(sampled, left, "{account}");
}

fn notifying(site: &Site, socket: &str, variables: &[(&str, &str)]) -> Running {
    let mut command = site.command(&["run"]);
    command
        .env("NOTIFY_SOCKET", socket)
        .envs(variables.iter().copied());
    Running::start("agent", &mut command, site.folder())
}

fn site_runs(site: &Site) {
    wait_for("the agent", DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
}

fn receive(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 1024];
    let count = socket.recv(&mut buffer).expect("a message");
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

fn assert_nothing_more(socket: &UnixDatagram) {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1024];
    assert!(socket.recv(&mut buffer).is_err());
}
