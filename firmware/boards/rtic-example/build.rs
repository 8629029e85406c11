//! Hands the linker script of cortex-m-rt to the linker; the board's own package brings the memory map.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
}
