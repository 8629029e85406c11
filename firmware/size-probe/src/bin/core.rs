//! The core of a board whose services are compiled in: table, schedule, encoding of reports, seal.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use mote_size_probe::{Board, apply_default, monitor, poll};

#[cortex_m_rt::entry]
fn main() -> ! {
    // In static RAM, so that its size is seen.
    static mut MONITOR: MaybeUninit<Board> = MaybeUninit::uninit();
    let monitor = MONITOR.write(monitor());
    apply_default(monitor);
    loop {
        poll(monitor);
    }
}
