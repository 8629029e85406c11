//! The core of a board whose services are compiled in: table, schedule, encoding of reports, seal.

#![no_std]
#![no_main]

use mote_size_probe::{Board, poll, start};

#[cortex_m_rt::entry]
fn main() -> ! {
    // In static RAM, so that its size is seen.
    static mut MONITOR: Board = Board::unset();
    start(MONITOR);
    loop {
        poll(MONITOR);
    }
}
