//! The board with 8 KiB of RAM, the STM32VLDISCOVERY, in QEMU. That runs its processor at 24 MHz in place of 8, so the
//! board's seconds are a third of the emulator's; its watchdog and reset register are not emulated.

use std::io::Write;
use std::process::Command;

use mote_test_support::need;
use mote_test_support::qemu::{self, converse, qemu, run};
use serde_json::json;

use crate::lines::{assert_grid, messages, reports, sealed};

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
