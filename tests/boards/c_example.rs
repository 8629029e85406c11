//! A firmware in C that takes the library in, on the lm3s6965evb in QEMU. An interrupt of its own takes a quarter of
//! the time by the number of its instructions, so the truth about load is no clock's.

use std::path::Path;
use std::process::Command;

use mote_test_support::elf::Elf;
use mote_test_support::need;
use mote_test_support::qemu::{self, qemu, run};
use serde_json::{Value, json};

use crate::lines::{assert_grid, messages, reports, talk};

const PACKAGE: &str = "mote-c-example";
const TARGET: &str = "thumbv7m-none-eabi";

/// What the interrupt takes, in thousandths; node and serial port have the tolerance.
const LOAD_PERMILLE: u64 = 250;
const TOLERANCE_PERMILLE: u64 = 5;

#[test]
fn it_follows_orders() {
    let orders = json!({"services": {
        "Load": ["get_mcu_load", 1],
        "Ram": ["get_mcu_ram", 1],
        "Count": ["get_counter", 1],
        "Other": ["get_other", 3],
    }});
    let Some((image, output)) = talk(PACKAGE, TARGET, board, &orders, |written| {
        reports(written, "Count").len() >= 20
    }) else {
        return;
    };

    let loads = reports(&output, "Load");
    assert_grid(&loads, 1);
    for load in &loads[1..] {
        let permille = load["data"]["load_permille"].as_u64().unwrap();
        assert!(
            permille.abs_diff(LOAD_PERMILLE) <= TOLERANCE_PERMILLE,
            "{load}"
        );
    }

    let ram = reports(&output, "Ram");
    assert_grid(&ram, 1);
    let data = &ram.last().unwrap()["data"];
    let bytes = |name: &str| data[name].as_u64().unwrap();
    assert_eq!(bytes("total"), 65536);
    let in_ram = Elf::read(&image).allocated(0x2000_0000..0x2001_0000);
    assert_eq!(bytes("static"), in_ram.next_multiple_of(8) as u64);
    assert_eq!(
        bytes("static") + bytes("stack_peak") + bytes("stack_free"),
        65536
    );
    assert!((256..4096).contains(&bytes("stack_peak")), "{data}");

    let counts = reports(&output, "Count");
    assert_grid(&counts, 1);
    // The example's own services may have sampled it before the orders came.
    let data: Vec<&Value> = counts.iter().map(|it| &it["data"]).collect();
    let first = data.iter().position(|it| it["up"].is_u64()).unwrap();
    let offset = data[first]["up"].as_u64().unwrap() - first as u64;
    for (index, data) in data.iter().enumerate() {
        let up = index as u64 + offset;
        let expected = match up % 5 {
            0 => json!({"status": 1, "error": "the counter does not answer"}),
            _ => json!({"status": 0, "up": up, "down": -(up as i64)}),
        };
        assert_eq!(**data, expected);
    }

    let other = reports(&output, "Other");
    assert_eq!(other[0]["data"]["error"], "this board has no such plugin");
}

#[test]
fn it_says_which_orders_it_refuses_and_keeps_the_old() {
    let orders = json!({"services": {"Bad": ["get_mcu_ram", 0]}});
    let is_refused = |it: &Value| it["refused"].is_string();
    let done = |written: &[u8]| {
        let said = messages(written);
        let refused = said.iter().position(is_refused);
        refused.is_some_and(|at| {
            let after = said[at..].iter();
            after.filter(|it| it["service_name"] == "McuLoad").count() >= 3
        })
    };
    let Some((_, output)) = talk(PACKAGE, TARGET, board, &orders, done) else {
        return;
    };
    let said = messages(&output);
    let refusal = said.iter().find(|it| is_refused(it)).unwrap();
    assert_eq!(refusal["service"], "Bad");
    assert_grid(&reports(&output, "McuLoad"), 1);
}

#[test]
fn a_run_repeats_to_the_byte() {
    const LINES: usize = 120;
    let first_lines = || {
        let image = need(PACKAGE, qemu::image(PACKAGE, TARGET))?;
        let lines = |it: &[u8]| it.iter().filter(|byte| **byte == b'\n').count();
        let output = need(PACKAGE, run(board(&image), |it| lines(it) >= LINES))?;
        let first = output.split_inclusive(|byte| *byte == b'\n').take(LINES);
        Some(first.flatten().copied().collect::<Vec<u8>>())
    };
    let Some(first) = first_lines() else {
        return;
    };
    assert_eq!(Some(&first), first_lines().as_ref());
    // More samples than the ring holds were never acknowledged.
    let alive = reports(&first, "Alive").pop().unwrap();
    assert!(alive["data"]["dropped"].as_u64().unwrap() > 0, "{alive}");
    assert_eq!(alive["data"]["reset_cause"], "power-on");
}

fn board(image: &Path) -> Command {
    qemu("arm", "lm3s6965evb", image)
}
