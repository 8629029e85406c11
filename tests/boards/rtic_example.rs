//! An application of RTIC with mote in its idle task, on the lm3s6965evb in QEMU. Its tasks take a quarter of the time, by
//! the number of their instructions.

use std::path::Path;
use std::process::Command;

use mote_test_support::qemu::qemu;
use serde_json::json;

use crate::lines::{assert_grid, reports, talk};
use crate::load_accuracy::TOLERANCE_PERMILLE;

const PACKAGE: &str = "mote-rtic-example";
const TARGET: &str = "thumbv7m-none-eabi";

/// A tenth in the timer's interrupt; and three tenths in the software task, every other time.
const LOAD_PERMILLE: u64 = 100 + 300 / 2;

#[test]
fn its_tasks_are_load_and_orders_are_followed() {
    let orders = json!({"services": {
        "Load": ["get_mcu_load", 1],
        "Ram": ["get_mcu_ram", 1],
        "Up": ["host_alive_check", 1],
    }});
    let done = |written: &[u8]| reports(written, "Up").len() >= 20;
    let Some((_, output)) = talk(PACKAGE, TARGET, board, &orders, done) else {
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
    assert_grid(&reports(&output, "Ram"), 1);
    assert_grid(&reports(&output, "Up"), 1);
}

fn board(image: &Path) -> Command {
    qemu("arm", "lm3s6965evb", image)
}
