//! As `load_accuracy`, on a RISC-V: QEMU's `virt`.

use std::path::Path;
use std::process::{Command, Stdio};

use mote_test_support::{need, qemu, run};
use serde_json::Value;

use crate::lines::reports;
use crate::load_accuracy::{LOADS, TOLERANCE_PERMILLE};

const PACKAGE: &str = "mote-riscv-virt";
const TARGET: &str = "riscv32imc-unknown-none-elf";

#[test]
fn load_is_what_was_put_on() {
    let Some(image) = need(PACKAGE, qemu::image(PACKAGE, TARGET)) else {
        return;
    };
    for (thread, interrupt) in LOADS {
        let arguments = format!(",arg=thread={thread},arg=interrupt={interrupt},arg=seconds=6");
        let Some(output) = need(PACKAGE, run(&mut board(&image, &arguments))) else {
            return;
        };
        let reports = reports(output.as_bytes(), "McuLoad");
        assert!(reports.len() >= 4, "{output}");
        let permille = |it: &Value| it["data"]["load_permille"].as_u64().unwrap();
        // The first window begins at some point of the work's period.
        for load in reports[1..].iter().map(permille) {
            let truth = thread + interrupt;
            assert!(
                load.abs_diff(truth) <= TOLERANCE_PERMILLE,
                "{load} for {thread} + {interrupt}"
            );
        }
    }
}

#[test]
fn ram_is_data_and_stack() {
    let Some(image) = need(PACKAGE, qemu::image(PACKAGE, TARGET)) else {
        return;
    };
    let Some(output) = need(PACKAGE, run(&mut board(&image, ",arg=seconds=3"))) else {
        return;
    };
    let ram = reports(output.as_bytes(), "McuRam").pop().unwrap();
    let bytes = |name: &str| ram["data"][name].as_u64().unwrap();
    assert_eq!(bytes("total"), 65536);
    // Most of it is the node.
    assert!((2600..3000).contains(&bytes("static")), "{ram}");
    assert_eq!(
        bytes("static") + bytes("stack_peak") + bytes("stack_free"),
        65536
    );
    assert!((256..4096).contains(&bytes("stack_peak")), "{ram}");
}

fn board(image: &Path, arguments: &str) -> Command {
    let semihosting = format!("enable=on,target=native,arg=load{arguments}");
    let mut qemu = Command::new("qemu-system-riscv32");
    qemu.args(["-M", "virt", "-bios", "none", "-display", "none"])
        .args(["-monitor", "none", "-serial", "stdio"])
        // An instruction takes 8 ns.
        .args(["-icount", "shift=3,sleep=off"])
        .args(["-semihosting-config", &semihosting, "-kernel"])
        .arg(image)
        .stdin(Stdio::null());
    qemu
}
