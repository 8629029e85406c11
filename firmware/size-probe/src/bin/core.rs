//! The core of a board whose services are compiled in: table, schedule, encoding of reports, seal.

#![no_std]
#![no_main]

use mote_size_probe::{apply_default, monitor, poll};

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut monitor = monitor();
    apply_default(&mut monitor);
    loop {
        poll(&mut monitor);
    }
}
