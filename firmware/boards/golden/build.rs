//! The target says which machine it is, and so which memory there is.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rustc-check-cfg=cfg(machine, values(\"pico\", \"lm3s6965evb\", \"virt\"))");
    let machine = match env::var("TARGET").as_deref() {
        Ok("thumbv6m-none-eabi") => "pico",
        Ok("thumbv7m-none-eabi") => "lm3s6965evb",
        Ok("riscv32imc-unknown-none-elf") => "virt",
        _ => return Err(io::Error::other("there is no machine for this target")),
    };
    println!("cargo:rustc-cfg=machine=\"{machine}\"");
    let memory = format!("memory/{machine}.x");
    println!("cargo:rerun-if-changed={memory}");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    fs::copy(memory, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    Ok(())
}
