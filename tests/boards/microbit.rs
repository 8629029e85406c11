//! The image of the micro:bit in QEMU.

use std::path::Path;
use std::process::Command;

use mote_test_support::elf::Elf;
use mote_test_support::qemu::qemu;
use serde_json::json;

use crate::lines::{assert_grid, reports, talk};

const PACKAGE: &str = "mote-microbit";
const TARGET: &str = "thumbv6m-none-eabi";
const RAM_BYTES: u64 = 16 * 1024;

#[test]
fn it_follows_orders() {
    let orders = json!({"services": {
        "Load": ["get_mcu_load", 1],
        "Ram": ["get_mcu_ram", 2],
        "Up": ["host_alive_check", 1],
        "Other": ["get_other", 3],
    }});
    let done = |written: &[u8]| reports(written, "Load").len() >= 20;
    let Some((image, output)) = talk(PACKAGE, TARGET, board, &orders, done) else {
        return;
    };

    let loads = reports(&output, "Load");
    assert_grid(&loads, 1);
    for load in &loads[1..] {
        let data = &load["data"];
        assert!(data["load_permille"].as_u64().unwrap() < 50, "{load}");
        // It sleeps until something is due: no beat wakes it.
        assert!(
            (1..400).contains(&data["wakeups"].as_u64().unwrap()),
            "{load}"
        );
    }

    let ram = reports(&output, "Ram");
    assert_grid(&ram, 2);
    let data = &ram.last().unwrap()["data"];
    let bytes = |name: &str| data[name].as_u64().unwrap();
    assert_eq!(bytes("total"), RAM_BYTES);
    let in_ram = Elf::read(&image).allocated(0x2000_0000..0x2000_4000);
    assert_eq!(bytes("static"), in_ram.next_multiple_of(4) as u64);
    assert_eq!(
        bytes("static") + bytes("stack_peak") + bytes("stack_free"),
        RAM_BYTES
    );

    let up = reports(&output, "Up");
    assert_grid(&up, 1);
    // What the emulated register always says.
    assert_eq!(up[0]["data"]["reset_cause"], "pin");
    let other = reports(&output, "Other");
    assert_eq!(other[0]["data"]["error"], "this board has no such plugin");
}

fn board(image: &Path) -> Command {
    qemu("arm", "microbit", image)
}
