//! An image whose linker is flip-link, with a memory map that says nothing of a stack: one that overflows leaves RAM and
//! is put on record, in place of writing over the data.

use std::path::Path;
use std::process::Command;

use mote_test_support::elf::Elf;
use mote_test_support::{need, qemu, root, run};

const RAM: usize = 0x2000_0000;
const RAM_BYTES: usize = 64 * 1024;

#[test]
fn an_overflow_is_a_crash_and_spoils_no_data() {
    let Some(linker) = need(
        "flip-link",
        run(&mut Command::new(root().join("ci/install/flip-link"))),
    ) else {
        return;
    };
    let mut build = Command::new(root().join("ci/build-firmware"));
    build
        .args(["mote-lm3s6965evb", "thumbv7m-none-eabi"])
        .env("CARGO_TARGET_DIR", root().join("firmware/target/flip-link"))
        .env("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", linker.trim())
        .env("MOTE_MEMORY", "plain");
    let Some(folder) = need("flip-link", run(&mut build)) else {
        return;
    };
    let image = Path::new(folder.trim()).join("load");

    // All data is at the end of RAM, and the stack below it.
    let elf = Elf::read(&image);
    assert_eq!(elf.allocated(RAM..RAM + RAM_BYTES / 2), 0);
    assert!(elf.allocated(RAM + RAM_BYTES / 2..RAM + RAM_BYTES) > 2000);

    // It calls itself without an end in its tenth sample, in each run.
    let arguments = "enable=on,target=native,arg=load,arg=overflow=9";
    let mut machine = Command::new("qemu-system-arm");
    machine
        .args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-icount", "shift=3,sleep=off"])
        .args(["-semihosting-config", arguments, "-kernel"])
        .arg(&image);
    let crash = |resets: u32| format!(r#""data":{{"status":0,"cause":"stack","resets":{resets},"#);
    let written = qemu::run(machine, |written| {
        String::from_utf8_lossy(written).contains(&crash(3))
    });
    let Some(written) = need("flip-link", written) else {
        return;
    };
    // What counts the resets is data too, beside all the rest.
    let text = String::from_utf8_lossy(&written).into_owned();
    for resets in 1..=3 {
        assert!(text.contains(&crash(resets)), "{resets}: {text}");
    }
    let causes = text.matches(r#""cause":""#).count();
    let good = [r#""cause":"none""#, r#""cause":"stack""#].map(|it| text.matches(it).count());
    assert_eq!(causes, good.iter().sum::<usize>(), "{text}");
}
