#![no_std]
#![no_main]
use mote_pico as _;
#[cortex_m_rt::entry]
fn main() -> ! { loop {} }
