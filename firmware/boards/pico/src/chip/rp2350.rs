//! The RP2350, of the Pico 2, with its Cortex-M33.

use embassy_rp::Peri;
use embassy_rp::interrupt;
use embassy_rp::otp;
use embassy_rp::pac;
use embassy_rp::pac::Interrupt;
use embassy_rp::peripherals::FLASH;

use super::UNIQUE_BYTES;

pub use pac::TIMER0 as TIMER;

/// Of the third and fourth alarm of the timer.
pub const SLEEP: Interrupt = Interrupt::TIMER0_IRQ_2;
pub const STUCK: Interrupt = Interrupt::TIMER0_IRQ_3;

#[interrupt]
fn TIMER0_IRQ_2() {
    crate::sleep::on_alarm();
}

/// The name of the handler of `STUCK`.
macro_rules! stuck_handler {
    () => {
        "TIMER0_IRQ_3"
    };
}
pub(crate) use stuck_handler;

/// The watchdog counts down so often in a microsecond.
pub const WATCHDOG_PER_US: u32 = 1;

/// All that the watchdog can reset but the two oscillators.
pub const RESET_BY_WATCHDOG: u32 = 0x01FF_FFF3;

pub const POWER_ON: u32 = 1 << 16;

/// The names of the causes in `chip_reset`.
pub const CAUSES: [(u32, &str); 6] = [
    (POWER_ON, "power-on"),
    (1 << 17, "brown-out"),
    (1 << 18, "run-pin"),
    (1 << 19 | 1 << 21 | 1 << 27, "debugger"),
    (1 << 25, "power-down"),
    (1 << 26, "glitch"),
];

/// From `HAD_POR` to `HAD_HZD_SYS_RESET_REQ`. The watchdog is told of by its own register.
const CHIP_RESET_BITS: u32 = 0x0E2F_0000;

/// Why the chip was reset last (datasheet, 6.4, `CHIP_RESET`).
pub fn chip_reset() -> u32 {
    pac::POWMAN.chip_reset().read().0 & CHIP_RESET_BITS
}

/// Of the chip itself.
pub fn unique_id(_flash: Peri<'static, FLASH>) -> [u8; UNIQUE_BYTES] {
    // Where its one-time memory may not be read, the id is all zeros.
    otp::get_chipid().unwrap_or_default().to_be_bytes()
}
