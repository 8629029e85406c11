//! Nights on which an hour comes twice: what commands print and read in the zone of Berlin.

use std::process::Command;

use serde_json::json;

use super::running::report;
use mote_test_support::collector::Program;
use mote_test_support::mote;

/// When the clock went from 03:00 back to 02:00, on 2026-10-25.
const BACK: u64 = 1_792_890_000;

/// It does not need the system's table of zones.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn command(collector: &Program, arguments: &[&str]) -> Command {
    let mut command = mote();
    command.args(arguments).arg("--config");
    command.arg(collector.folder.path().join("server.toml"));
    command.env("TZ", BERLIN);
    command
}

fn told(collector: &Program, arguments: &[&str]) -> String {
    let output = command(collector, arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_hour_that_comes_twice_is_told_apart_and_read_back() {
    let collector =
        Program::new("listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n");
    // Half an hour from one to the next, from 01:30 to 04:00.
    for seq in 0..7_u64 {
        let body = report(json!({
            "service_name": "CPU", "boot": "b", "seq": seq, "time": BACK - 5400 + 1800 * seq, "data": {"user": seq},
        }));
        assert_eq!(collector.report("", &body).status, 200);
    }
    // In bins of half an hour.
    let all = [
        "export",
        "web",
        "CPU",
        "--rows",
        "6",
        "--from",
        "2026-10-25 01:30",
        "--to",
    ];
    let table = told(&collector, &[&all[..], &["2026-10-25 03:30"]].concat());
    let times: Vec<&str> = table.lines().filter(|it| it.starts_with("2026")).collect();
    let begins = [
        "2026-10-25 01:30:00 ",
        "2026-10-25 02:00:00+02:00 ",
        "2026-10-25 02:30:00+02:00 ",
        "2026-10-25 02:00:00+01:00 ",
        "2026-10-25 02:30:00+01:00 ",
        "2026-10-25 03:00:00 ",
    ];
    for (line, begin) in times.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}: {table}");
    }
    assert!(times.len() >= begins.len(), "{table}");
    // Each instant as it is written is one that can be asked for.
    for (begin, seq) in begins.iter().zip(0_u64..) {
        let from = begin.trim_end();
        let to = format!("@{}", BACK - 5400 + 1800 * seq + 1);
        let range = ["export", "web", "CPU", "--csv", "--from", from, "--to", &to];
        let csv = told(&collector, &range);
        let row = csv.lines().nth(1).unwrap_or_default();
        assert!(
            row.ends_with(&format!(",user,{seq},{seq},{seq}")),
            "{from}: {csv}"
        );
    }
}

#[test]
fn events_of_such_a_night_are_told_apart() {
    let collector =
        Program::new("listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n");
    let database = rusqlite::Connection::open(collector.folder.path().join("reports.db")).unwrap();
    for (at, text) in [(BACK - 1800, "first"), (BACK + 1800, "second")] {
        let sql = "INSERT INTO events (at_ms, client, kind, text) VALUES (?1, '1', 'run', ?2)";
        database
            .execute(sql, rusqlite::params![at as i64 * 1000, text])
            .unwrap();
    }
    let events = |from: &str, to: &str| {
        let told = told(&collector, &["events", "web", "--from", from, "--to", to]);
        let lines = told.lines().filter(|it| it.starts_with("2026-10"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let both = events("2026-10-25", "2026-10-26");
    assert!(
        both[0].starts_with("2026-10-25 02:30:00+02:00") && both[0].ends_with("first"),
        "{both:?}"
    );
    assert!(
        both[1].starts_with("2026-10-25 02:30:00+01:00") && both[1].ends_with("second"),
        "{both:?}"
    );
    // Without an offset the first one is meant.
    assert_eq!(events("2026-10-25 02:30", "2026-10-25 03:30"), both);
    assert_eq!(
        events("2026-10-25 02:30:00+01:00", "2026-10-25 03:30"),
        both[1..]
    );
}
