//! The RP2040, of the Pico.

use embassy_rp::Peri;
use embassy_rp::flash::Flash;
use embassy_rp::interrupt;
use embassy_rp::pac;
use embassy_rp::pac::Interrupt;
use embassy_rp::peripherals::FLASH;

use super::UNIQUE_BYTES;

pub use pac::TIMER;

/// Of the third and fourth alarm of the timer.
pub const SLEEP: Interrupt = Interrupt::TIMER_IRQ_2;
pub const STUCK: Interrupt = Interrupt::TIMER_IRQ_3;

#[interrupt]
fn TIMER_IRQ_2() {
    crate::sleep::on_alarm();
}

/// The name of the handler of `STUCK`.
macro_rules! stuck_handler {
    () => {
        "TIMER_IRQ_3"
    };
}
pub(crate) use stuck_handler;

/// The watchdog counts down so often in a microsecond (erratum RP2040-E1).
pub const WATCHDOG_PER_US: u32 = 2;

/// All that the watchdog can reset but the two oscillators.
pub const RESET_BY_WATCHDOG: u32 = 0x0001_FFFC;

pub const POWER_ON: u32 = 1 << 8;

/// The names of the causes in `chip_reset`.
pub const CAUSES: [(u32, &str); 3] = [
    (POWER_ON, "power-on"),
    (1 << 16, "run-pin"),
    (1 << 20, "debugger"),
];

/// `HAD_POR`, `HAD_RUN`, `HAD_PSM_RESTART` and `PSM_RESTART_FLAG`: the others are reserved.
const CHIP_RESET_BITS: u32 = 1 << 8 | 1 << 16 | 1 << 20 | 1 << 24;

/// Why the chip as a whole was reset last (datasheet, 2.10.4).
pub fn chip_reset() -> u32 {
    pac::VREG_AND_CHIP_RESET.chip_reset().read().0 & CHIP_RESET_BITS
}

/// The size of the flash does not matter to its id.
const FLASH_BYTES: usize = 2 * 1024 * 1024;

/// Of the flash chip; the RP2040 has none itself.
pub fn unique_id(flash: Peri<'static, FLASH>) -> [u8; UNIQUE_BYTES] {
    let mut unique = [0; UNIQUE_BYTES];
    // It fails only beside another core, which does not run yet; then the id is all zeros.
    let _ = Flash::<_, _, FLASH_BYTES>::new_blocking(flash).blocking_unique_id(&mut unique);
    unique
}
