//! The core of a board that takes its services from a server: also lines that come, and their parsing.

#![no_std]
#![no_main]

use mote_core::frame::Receiver;
use mote_size_probe::{Board, Orders, now, poll, receive, start};

#[cortex_m_rt::entry]
fn main() -> ! {
    // In static RAM, so that its size is seen.
    static mut MONITOR: Board = Board::unset();
    start(MONITOR);
    let mut receiver = Receiver::<512>::new();
    loop {
        poll(MONITOR);
        if let Some(text) = receive(&mut receiver) {
            let mut orders = Orders::new();
            match orders.read(text, |plugin| (plugin == "get_mcu_load").then_some(1)) {
                Ok(()) => {
                    MONITOR.apply(&orders);
                    MONITOR.fetched(now());
                }
                Err(error) => {
                    core::hint::black_box(error.fault.keyword());
                    MONITOR.fetch_failed(now());
                }
            }
        }
    }
}
