//! Hands the memory map and the linker script of cortex-m-rt to the linker.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // A test links with flip-link, which wants the map in the folder `plain`.
    let map = std::env::var("MOTE_MEMORY").unwrap_or_default();
    println!("cargo::rustc-link-search={folder}/{map}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed={folder}/{map}/memory.x");
    println!("cargo::rerun-if-env-changed=MOTE_MEMORY");
}
