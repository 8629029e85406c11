//! Gives the linker the memory map and its scripts, so that the package builds from any folder.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::copy("../pico/memory.x", out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    // --icf: functions of equal code are one, which saves half a KiB.
    for argument in ["--nmagic", "--icf=all", "-Tlink.x", "-Tlink-rp.x"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed=../pico/memory.x");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
