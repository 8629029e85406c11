//! What there is without the core.

#![no_std]
#![no_main]

use mote_size_probe as _;

#[cortex_m_rt::entry]
fn main() -> ! {
    loop {
        core::hint::black_box(());
    }
}
