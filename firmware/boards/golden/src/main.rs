//! Writes the golden transcript to the first serial port of the machine that it is built for, and stops.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

// build.rs knows which machine a target stands for.
#[cfg_attr(machine = "lm3s6965evb", path = "lm3s6965evb.rs")]
#[cfg_attr(machine = "pico", path = "pico.rs")]
#[cfg_attr(machine = "virt", path = "virt.rs")]
mod machine;

#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    machine::start();
    mote_golden::transcript(&mut |bytes| bytes.iter().copied().for_each(machine::write));
    machine::stop();
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    b"panic\n".iter().copied().for_each(machine::write);
    machine::stop();
}
