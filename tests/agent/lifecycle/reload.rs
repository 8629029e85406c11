//! `reload` and SIGHUP.

use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use mote_test_support::free_port;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings, service};

/// Sampled once, a second after the start, and then not for an hour.
const RARE: &str = r#"Rare = ["get_linux_cpu", 3600]"#;

#[test]
fn good_settings_keep_phase_and_queue() {
    let site = Site::new(&format!("services = {{ {RARE} }}"));
    let pid = site.start();
    let before = site.wait_for_status("the first sample", sampled(1));
    let (asked, next_s) = (Instant::now(), next_in_s(&before));

    site.write_settings(&format!(
        r#"services = {{ {RARE}, Often = ["get_memory_info", 0.1] }}"#
    ));
    let reload = site.call(&["reload"]);
    assert_eq!(reload.code, 0, "{reload:?}");
    assert_eq!(reload.out, "mote has read its settings anew\n");

    let after = site.wait_for_status("samples of the new one", sampled(4));
    assert_eq!(after["pid"], pid);
    assert_eq!(after["boot"], before["boot"]);
    assert_eq!(after["reports"]["queued"], after["reports"]["sampled"]);
    // Started anew, it would be due a second after that, or in a whole hour.
    let passed_s = next_s - next_in_s(&after);
    assert!((0.0..asked.elapsed().as_secs_f64() + 1.0).contains(&passed_s));
    let last = |status: &Value| service(status, "Rare")["last"].as_f64().unwrap();
    assert_eq!(last(&after), last(&before));

    // One that is no longer ordered stops, and its reports stay.
    site.write_settings(&format!("services = {{ {RARE} }}"));
    assert_eq!(site.call(&["reload"]).code, 0);
    let only_rare = site.status();
    assert_eq!(only_rare["services"].as_array().unwrap().len(), 1);
    assert!(only_rare["reports"]["queued"].as_u64() >= after["reports"]["queued"].as_u64());
}

#[test]
fn what_waits_goes_to_the_server_of_the_new_settings() {
    let site = Site::new(&format!("services = {{ {RARE} }}"));
    site.start();
    let boot = site.wait_for_status("the first sample", sampled(1))["boot"].clone();
    let server = Server::new(r#"{"Often": ["get_memory_info", 0.1]}"#);
    site.write_settings(&server_settings(&server.url(), ""));
    assert_eq!(site.call(&["reload"]).code, 0);
    server.wait_for_more("Often", 1);
    let report = server.acknowledged("Rare").remove(0);
    assert_eq!((&report["boot"], &report["seq"]), (&boot, &Value::from(0)));

    // And back: without a server nothing is asked any more, and reports stay.
    site.write_settings(&format!("services = {{ {RARE} }}"));
    assert_eq!(site.call(&["reload"]).code, 0);
    site.wait_for_status("a report that stays", |status| {
        assert_eq!(status["server"], Value::Null);
        (status["reports"]["queued"] == 1).then_some(())
    });
}

#[test]
fn bad_settings_leave_the_old_ones_in_force() {
    let site = Site::new(&format!("services = {{ {RARE} }}"));
    site.start();
    let before = site.wait_for_status("the first sample", sampled(1));
    let file = site.path("agent.toml").display().to_string();
    for (settings, sentence) in [
        ("services = 3", format!("{file}:4: `services` must be ")),
        (
            "services = {}\nclient = 2",
            format!("{file}:5: there is no setting `client`"),
        ),
        (
            r#"services = { A = ["get_linux_cpu", 0] }"#,
            format!("{file}: services: service \"A\": the interval must be a number from "),
        ),
        (
            "services = {}\nprocfs = \"/somewhere\"",
            "a new procfs, sysfs or rootfs needs a restart: mote restart".to_owned(),
        ),
    ] {
        site.write_settings(settings);
        let reload = site.call(&["reload"]);
        assert_eq!((reload.code, &*reload.out), (78, ""), "{reload:?}");
        assert!(
            reload.err.starts_with(&format!("mote: {sentence}")),
            "{reload:?}"
        );
        assert_eq!(reload.err.lines().count(), 1, "{reload:?}");
    }
    site.write_settings(&format!("services = {{ {RARE} }}"));
    let after = site.status();
    assert_eq!(after["reports"], before["reports"]);
    assert_eq!(
        service(&after, "Rare")["last"],
        service(&before, "Rare")["last"]
    );
    assert!(next_in_s(&after) <= next_in_s(&before));
}

#[test]
fn reload_needs_an_agent() {
    let site = Site::new(&format!("services = {{ {RARE} }}"));
    let reload = site.call(&["reload"]);
    assert_eq!(
        (reload.code, &*reload.err),
        (7, "mote: mote does not run\n")
    );
}

#[test]
fn hup_reads_the_settings_anew() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let site = Site::new(&server_settings(&url, ""));
    let mut agent = site.run();
    let log_says = |sentence: &str| {
        agent.wait_for_output(sentence);
    };
    log_says("mote: client 1 runs");

    let good = format!("services = {{ {RARE} }}");
    site.write_settings("services = 3");
    agent.signal(Signal::SIGHUP);
    let file = site.path("agent.toml");
    log_says(&format!(
        "mote: the old settings stay in force: {}:4: `services` must be ",
        file.display()
    ));
    site.write_settings(&good);
    assert_eq!(site.status()["server"]["url"], url);

    agent.signal(Signal::SIGHUP);
    log_says("mote: read its settings anew");
    let status = site.status();
    assert_eq!(status["server"], Value::Null);
    assert_eq!(service(&status, "Rare")["interval_s"], 3600.0);
    assert_eq!(agent.terminate().code(), Some(0));
}

/// The status once there are so many samples.
fn sampled(count: u64) -> impl Fn(&Value) -> Option<Value> {
    move |status| (status["reports"]["sampled"].as_u64() >= Some(count)).then(|| status.clone())
}

fn next_in_s(status: &Value) -> f64 {
    service(status, "Rare")["next_in_s"].as_f64().unwrap()
}
