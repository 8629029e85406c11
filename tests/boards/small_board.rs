//! The board with 8 KiB of RAM, the STM32VLDISCOVERY, in QEMU. That runs its processor at 24 MHz in place of 8, so the
//! board's seconds are a third of the emulator's; its watchdog and reset register are not emulated.

use std::io::Write;
use std::process::Command;

use mote_test_support::need;
use mote_test_support::qemu::{self, converse, qemu, run};
use serde_json::{Value, json};

const PACKAGE: &str = "mote-stm32vldiscovery";

/// As many as it writes in some minutes of its time.
const LINES: usize = 120;

#[test]
fn it_keeps_its_schedule_in_8_kib() {
    let Some(output) = first_lines(LINES) else {
        return;
    };
    let ram = reports(&output, "McuRam");
    let last = &ram.last().unwrap()["data"];
    let bytes = |name: &str| last[name].as_u64().unwrap();
    assert_eq!(bytes("total"), 8192);
    assert_eq!(
        bytes("static") + bytes("stack_peak") + bytes("stack_free"),
        8192
    );

    assert_grid(&reports(&output, "McuLoad"), 5);
    assert_grid(&ram, 60);
    assert_grid(&reports(&output, "Alive"), 60);
    let mut seqs: Vec<u64> = ["McuLoad", "McuRam", "Alive"]
        .iter()
        .flat_map(|service| reports(&output, service))
        .map(|report| report["seq"].as_u64().unwrap())
        .collect();
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{seqs:?}");
}

#[test]
fn a_run_repeats_to_the_byte() {
    let runs = [first_lines(LINES), first_lines(LINES)];
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn it_follows_orders() {
    let Some(image) = need(PACKAGE, qemu::image(PACKAGE, TARGET)) else {
        return;
    };
    let orders = json!({"services": {"Ram": ["get_mcu_ram", 1], "Other": ["get_other", 3]}});
    let mut answered = 0;
    let output = converse(board(&image), |written, line| {
        let said = messages(written);
        for message in said.iter().skip(answered) {
            if message["get"] == "services" {
                line.write_all(&sealed(&orders)).unwrap();
            } else if message["seq"].is_u64() {
                line.write_all(&sealed(&json!({"ack": message["seq"]})))
                    .unwrap();
            }
        }
        answered = said.len();
        reports(written, "Ram").len() >= 20
    });
    let Some(output) = need(PACKAGE, output) else {
        return;
    };
    assert_grid(&reports(&output, "Ram"), 1);
    let other = reports(&output, "Other");
    assert_eq!(other[0]["data"]["error"], "this board has no such plugin");
}

/// The reports of a service come at equal distances.
fn assert_grid(reports: &[Value], interval_s: u64) {
    let uptimes: Vec<u64> = reports
        .iter()
        .map(|it| it["uptime"].as_u64().unwrap())
        .collect();
    assert!(uptimes.len() >= 3, "{uptimes:?}");
    for pair in uptimes.windows(2) {
        assert_eq!(pair[1] - pair[0], interval_s, "{uptimes:?}");
    }
}

/// What the board writes if nobody answers; none if the test is skipped.
fn first_lines(count: usize) -> Option<Vec<u8>> {
    let image = need(PACKAGE, qemu::image(PACKAGE, TARGET))?;
    let lines = |it: &[u8]| it.iter().filter(|byte| **byte == b'\n').count();
    let output = need(PACKAGE, run(board(&image), |it| lines(it) >= count))?;
    let first = output.split_inclusive(|byte| *byte == b'\n').take(count);
    Some(first.flatten().copied().collect())
}

const TARGET: &str = "thumbv7m-none-eabi";

fn board(image: &std::path::Path) -> Command {
    qemu("arm", "stm32vldiscovery", image)
}

/// A service's reports, each once, in the order of their samples.
fn reports(output: &[u8], service: &str) -> Vec<Value> {
    let mut reports = messages(output);
    reports.retain(|it| it["service_name"] == service);
    // The board's time runs ahead of the answers here, so it may send one again; its number tells.
    let seq = |it: &Value| it["seq"].as_u64();
    reports.sort_by_key(seq);
    reports.dedup_by_key(|it| seq(it));
    reports
}

/// The texts of all whole lines. Every one has a good seal, by another's checksum.
fn messages(output: &[u8]) -> Vec<Value> {
    let whole = output
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|it| it.strip_suffix(b"\n"))
        // It begins with the end of what it may have been saying before its reset.
        .filter(|it| !it.is_empty());
    let texts = whole.map(|line| {
        let (text, seal) = line.split_at(line.len() - 9);
        assert_eq!(seal, format!("*{:08X}", crc32fast::hash(text)).as_bytes());
        serde_json::from_slice(text).unwrap()
    });
    texts.collect()
}

fn sealed(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    format!("{text}*{:08X}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}
