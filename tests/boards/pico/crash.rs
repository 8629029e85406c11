//! Crash records: the Pico's image crashes on order, and `mote crash` reads its reports.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::emulator::need_image;
use super::gateway::Gateway;

/// Lets the board crash, and gives what the next boot reports first, and what `mote crash` makes of it.
fn crash(gateway: &mut Gateway, kind: &str) -> (Value, String) {
    gateway.run_s(3.0);
    let order = format!(r#"{{"services":{{"End":["{kind}",1]}}}}"#);
    gateway.send(&order);
    let before = gateway.board.resets;
    gateway.reports.clear();
    while gateway.board.resets == before {
        gateway.run_s(1.0);
        assert!(gateway.board.now_ms < 600_000.0, "{kind}: no reset");
    }
    gateway.run_s(1.0);
    let first = gateway.reports.iter().find(|it| it.seq == 0).unwrap();
    assert_eq!(first.service, "Crash", "{kind}");
    let line = gateway.lines.iter().rev().find(|it| it.contains("Crash"));
    (first.data.clone(), resolve(line.unwrap()))
}

fn resolve(report: &str) -> String {
    let image = need_image("crash").unwrap();
    let mut mote = Command::new(env!("CARGO_BIN_EXE_mote"))
        .args(["crash", "--elf"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    mote.stdin
        .take()
        .unwrap()
        .write_all(report.as_bytes())
        .unwrap();
    let output = mote.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Below this head there is a function of this name, and a line of its file.
fn assert_place(text: &str, what: &str, function: &str) {
    let mut head = "";
    let found = text.lines().any(|line| {
        if let Some((word, _)) = line.split_once(" 0x") {
            head = word.trim();
        }
        let place = line.rsplit_once("bin/crash.rs:");
        let number = place.and_then(|(_, number)| number.parse::<u32>().ok());
        head == what && line.contains(&format!(" {function}  ")) && number.is_some()
    });
    assert!(found, "no {what} {function} in {text}");
}

#[test]
fn each_kind_of_crash_is_told_with_its_place() {
    let Some(mut gateway) = Gateway::start("crash") else {
        return;
    };
    gateway.run_s(1.0);
    assert_eq!(
        gateway.reports[0].data,
        json!({"status": 0, "cause": "none", "resets": 0})
    );

    for (resets, (kind, cause, what, function)) in (1..).zip([
        ("null", "fault", "at", "write_to_null"),
        ("nowhere", "fault", "from", "call_nowhere"),
        ("overflow", "stack", "stack", "recurse"),
        ("panic", "panic", "stack", "index_out_of_bounds"),
        ("hang", "watchdog", "at", "hang"),
    ]) {
        let (data, text) = crash(&mut gateway, kind);
        assert_eq!(data["cause"], cause, "{kind}: {data}");
        assert_eq!(data["resets"], resets, "{kind}: {data}");
        let uptime = data["uptime"].as_u64().unwrap();
        assert!((3..=20).contains(&uptime), "{kind}: {data}");
        assert_place(&text, what, function);
    }
}

#[test]
fn what_hangs_with_interrupts_masked_is_still_a_crash() {
    let Some(mut gateway) = Gateway::start("crash") else {
        return;
    };
    let (data, _) = crash(&mut gateway, "hang_masked");
    assert_eq!(data["cause"], "watchdog");
    assert_eq!(
        (&data["pc"], &data["stack1"]),
        (&json!(0), &json!(0)),
        "nobody knows"
    );
}

#[test]
fn power_that_went_and_came_is_no_crash() {
    let Some(mut gateway) = Gateway::start("crash") else {
        return;
    };
    let (data, _) = crash(&mut gateway, "null");
    assert_eq!(data["resets"], 1);
    for kept in [true, false] {
        gateway.board.power(kept);
        gateway.reports.clear();
        gateway.run_s(1.0);
        let none = json!({"status": 0, "cause": "none", "resets": 0});
        assert_eq!(gateway.reports[0].data, none, "RAM kept: {kept}");
    }
}
