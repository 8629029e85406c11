//! Gives the linker the memory map of the board and the linker script of cortex-m-rt.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let memory = match env::var_os("CARGO_FEATURE_V2") {
        Some(_) => "memory-v2.x",
        None => "memory.x",
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::copy(memory, out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed={memory}");
    Ok(())
}
