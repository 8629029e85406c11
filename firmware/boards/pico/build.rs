//! Gives the linker the memory map and its scripts, so that the package builds from any folder.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // The second stage of the boot loader, which link-rp.x places, is the Pico's alone.
    let (memory, boot) = match env::var_os("CARGO_FEATURE_RP2350") {
        Some(_) => ("memory-rp2350.x", None),
        None => ("memory.x", Some("-Tlink-rp.x")),
    };
    fs::copy(memory, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    // --icf: functions of equal code are one, which saves half a KiB.
    for argument in ["--nmagic", "--icf=all", "-Tlink.x"].iter().chain(&boot) {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
