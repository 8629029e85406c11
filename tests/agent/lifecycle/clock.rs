//! A wall clock that is set while the agent runs. The schedule must not notice; the reports' times do.
//!
//! The machine's clock is not touched: libfaketime gives the agent another CLOCK_REALTIME, and only that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, service};
use mote_test_support::{DEADLINE, Running, need, wait_for};

const DAY_S: f64 = 86_400.0;
const INTERVAL_S: f64 = 0.2;

#[test]
fn a_clock_that_is_set_back_by_a_day_moves_no_sample() {
    the_schedule_goes_on("-1d", -DAY_S);
}

#[test]
fn a_clock_that_is_set_ahead_by_a_day_moves_no_sample() {
    the_schedule_goes_on("+1d", DAY_S);
}

fn the_schedule_goes_on(offset: &str, offset_s: f64) {
    let server = Server::new(&format!(r#"{{"Cpu": ["get_linux_cpu", {INTERVAL_S}]}}"#));
    let site = Site::of(&server);
    let Some(mut agent) = agent_with_another_clock(&site) else {
        return;
    };

    let true_time_s = || {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        since.as_secs_f64()
    };
    let off_by = |report: &Value| true_time_s() - report["time"].as_f64().unwrap();
    let first = server.wait_for_more("Cpu", 3).remove(2);
    assert!(off_by(&first).abs() < DAY_S / 2.0, "{first}");

    let before = instants_of_the_grid(&site);
    set_clock(&site, offset);
    let moved = wait_for("a report with the other time", DEADLINE, || {
        let last = server.acknowledged("Cpu").pop()?;
        (off_by(&last).abs() > DAY_S / 2.0).then_some(last)
    });
    assert!((off_by(&moved) + offset_s).abs() < DAY_S / 2.0, "{moved}");
    server.wait_for_more("Cpu", 10);
    let after = instants_of_the_grid(&site);

    // Each instant of the grid is either sampled or missed, however busy this machine is.
    let passed = after.count - before.count;
    let least_s = after.asked.duration_since(before.answered).as_secs_f64();
    let most_s = after.answered.duration_since(before.asked).as_secs_f64();
    let expected = (least_s / INTERVAL_S - 1.0)..=(most_s / INTERVAL_S + 1.0);
    assert!(expected.contains(&passed), "{passed} of {expected:?}");

    // Delivery and asks for orders go on as well.
    server.wait_for_more_asked(2);
    assert_eq!(agent.terminate().code(), Some(0));
    let reports = server.acknowledged("Cpu");
    let seqs: Vec<u64> = reports
        .iter()
        .map(|it| it["seq"].as_u64().unwrap())
        .collect();
    let counted: Vec<u64> = (0..).take(seqs.len()).collect();
    assert_eq!(seqs, counted);
}

#[test]
fn a_clock_that_is_set_is_told_once_and_by_how_much() {
    let server = Server::new(r#"{"Clock": ["get_clock", 0.2]}"#);
    let site = Site::of(&server);
    let Some(mut agent) = agent_with_another_clock(&site) else {
        return;
    };
    for (offset, step_s) in [("-1d", -DAY_S), ("+1d", 2.0 * DAY_S)] {
        server.wait_for_more("Clock", 3);
        let before = server.acknowledged("Clock").len();
        set_clock(&site, offset);
        let steps = wait_for("a report that tells of it", DEADLINE, || {
            let steps_s: Vec<f64> = server
                .acknowledged("Clock")
                .split_off(before)
                .iter()
                .map(step_s_of)
                .collect();
            steps_s.iter().any(|it| it.abs() > 60.0).then_some(steps_s)
        });
        let told: Vec<&f64> = steps.iter().filter(|it| it.abs() > 0.5).collect();
        assert_eq!(told.len(), 1, "{steps:?}");
        assert!((told[0] - step_s).abs() < 0.5, "{told:?}");
    }
    server.wait_for_more("Clock", 3);
    assert_eq!(agent.terminate().code(), Some(0));
    // What is told in all is what the clock was set by in all: nothing twice, and nothing of the agent's own pauses.
    let all_s: f64 = server.acknowledged("Clock").iter().map(step_s_of).sum();
    assert!((all_s - DAY_S).abs() < 0.5, "{all_s}");
}

fn step_s_of(report: &Value) -> f64 {
    report["data"]["step_ms"].as_f64().unwrap() / 1000.0
}

/// `None` if libfaketime is missing and the test is skipped.
fn agent_with_another_clock(site: &Site) -> Option<Running> {
    let library = need("clock", libfaketime())?;
    set_clock(site, "+0");
    let mut command = site.command(&["run"]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", site.path("clock"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(Running::start("agent", &mut command, site.folder()))
}

/// Replaced whole: the agent may read it at any instant.
fn set_clock(site: &Site, offset: &str) {
    fs::write(site.path("clock.new"), offset).unwrap();
    fs::rename(site.path("clock.new"), site.path("clock")).unwrap();
}

/// How many instants of the service's grid have passed, and between which two instants that was.
struct Passed {
    count: f64,
    asked: Instant,
    answered: Instant,
}

fn instants_of_the_grid(site: &Site) -> Passed {
    let asked = Instant::now();
    let status = site.status();
    let sampled = status["reports"]["sampled"].as_f64().unwrap();
    let missed = service(&status, "Cpu")["missed"].as_f64().unwrap();
    Passed {
        count: sampled + missed,
        asked,
        answered: Instant::now(),
    }
}

fn libfaketime() -> Result<PathBuf, String> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = ["/usr/lib", "/usr/lib64"].map(Path::new);
    let own = Path::new("/usr/lib").join(triplet);
    let mut places = folders.iter().copied().chain([own.as_path()]);
    let file = |folder: &Path| folder.join("faketime/libfaketime.so.1");
    places
        .find(|it| file(it).exists())
        .map(file)
        .ok_or_else(|| {
            "libfaketime is not on this machine: install it (Debian package libfaketime)".to_owned()
        })
}
