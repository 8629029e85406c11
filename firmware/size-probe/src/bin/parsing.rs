//! The core of a board that takes its services from a server: also lines that come, and their parsing.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use mote_core::frame::Receiver;
use mote_size_probe::{Board, Orders, apply_default, monitor, now, poll, receive};

#[cortex_m_rt::entry]
fn main() -> ! {
    // In static RAM, so that its size is seen.
    static mut MONITOR: MaybeUninit<Board> = MaybeUninit::uninit();
    let monitor = MONITOR.write(monitor());
    apply_default(monitor);
    let mut receiver = Receiver::<512>::new();
    loop {
        poll(monitor);
        if let Some(text) = receive(&mut receiver) {
            match Orders::parse(text, |plugin| (plugin == "get_mcu_load").then_some(1)) {
                Ok(orders) => {
                    monitor.apply(&orders);
                    monitor.fetched(now());
                }
                Err(error) => {
                    core::hint::black_box(error.fault.keyword());
                    monitor.fetch_failed(now());
                }
            }
        }
    }
}
