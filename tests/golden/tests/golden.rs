//! The transcript, made on this machine and on emulated ones, is the one in `transcript.txt`.

// clippy.toml allows these in tests, but clippy does not count a test's helpers as such.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;

use mote_test_support::need;
use mote_test_support::qemu::{self, pico, qemu};

#[test]
fn on_this_machine() {
    let mut transcript = Vec::new();
    mote_golden::transcript(&mut |bytes| transcript.extend_from_slice(bytes));
    if std::env::var_os("MOTE_BLESS").is_some() {
        std::fs::write(golden_file(), &transcript).unwrap();
    }
    assert_golden(&transcript);
}

#[test]
fn on_cortex_m3() {
    on("thumbv7m-none-eabi", |image| {
        qemu("arm", "lm3s6965evb", image)
    });
}

#[test]
fn on_riscv() {
    on("riscv32imc-unknown-none-elf", |image| {
        let mut machine = qemu("riscv32", "virt", image);
        machine.args(["-bios", "none"]);
        machine
    });
}

#[test]
fn on_cortex_m0_plus() {
    on("thumbv6m-none-eabi", pico);
}

fn on(target: &str, machine: impl Fn(&Path) -> Command) {
    let Some(image) = need(target, qemu::image("mote-golden-image", target)) else {
        return;
    };
    let last_line = format!("\n{}\n", mote_golden::END);
    for _ in 0..2 {
        let transcript = qemu::run(machine(&image), |it| it.ends_with(last_line.as_bytes()));
        match need(target, transcript) {
            Some(transcript) => assert_golden(&transcript),
            None => return,
        }
    }
}

fn assert_golden(transcript: &[u8]) {
    let golden = std::fs::read(golden_file()).unwrap();
    // The first line that differs says more than two long texts.
    for (number, (line, expected)) in lines(transcript).iter().zip(lines(&golden)).enumerate() {
        assert_eq!(*line, expected, "line {} of transcript.txt", number + 1);
    }
    assert_eq!(transcript.len(), golden.len());
}

fn lines(text: &[u8]) -> Vec<String> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .collect()
}

fn golden_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcript.txt")
}
