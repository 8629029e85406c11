//! Why the board started, and the watchdog (datasheets: RP2040 4.7, RP2350 12.9).

use embassy_rp::interrupt::InterruptExt;
use embassy_rp::pac;
use mote_firmware::{Reset, crash};

use crate::chip::{
    CAUSES, POWER_ON, RESET_BY_WATCHDOG, STUCK, TIMER, WATCHDOG_PER_US, chip_reset, stuck_handler,
};

/// The watchdog resets the board after so many milliseconds without a sampling of what was due.
pub const WATCHDOG_MS: u32 = 8000;

/// Why the board started.
///
/// The bits are those of `CHIP_RESET`, with those of `WATCHDOG.REASON` at 0 and 1, where
/// the other register has none. The chip's tell of its last reset as a whole and stay as they are when the
/// watchdog bites: `watchdog+power-on` is a bite some time after power came.
pub static RESET: Reset = Reset::new(&NAMES);

const OWN: [(u32, &str); 2] = [(REASON_TIMER, "watchdog"), (REASON_FORCE, "forced")];

/// The watchdog's own, then those of the chip.
static NAMES: [(u32, &str); OWN.len() + CAUSES.len()] = {
    let mut names = [OWN[0]; OWN.len() + CAUSES.len()];
    names[1] = OWN[1];
    let mut index = 0;
    while index < CAUSES.len() {
        names[OWN.len() + index] = CAUSES[index];
        index += 1;
    }
    names
};

/// So long before the watchdog bites it is clear that the firmware hangs.
const HANGS_MS: u32 = 500;

const ALARM: usize = 3;

const REASON_TIMER: u32 = 1 << 0;
const REASON_FORCE: u32 = 1 << 1;

/// In the upper half of scratch register 0 while the lower one counts resets by the watchdog. The register
/// keeps its value over such a reset and is zero after one of the whole chip.
const COUNTS: u32 = 0x6D6F;

/// Keeps the cause of the reset and starts the watchdog.
pub(crate) fn start() {
    let reason = pac::WATCHDOG.reason().read().0 & (REASON_TIMER | REASON_FORCE);
    let chip = chip_reset();
    let kept = pac::WATCHDOG.scratch0().read();
    let resets = match kept >> 16 == COUNTS {
        // The loader, too, starts what it has flashed by the watchdog: before the first start of this
        // firmware nothing counts.
        true => (kept & 0xFFFF) + u32::from(reason != 0),
        false => 0,
    };
    let resets = resets.min(0xFFFF);
    pac::WATCHDOG
        .scratch0()
        .write(|kept| *kept = COUNTS << 16 | resets);
    RESET.set(chip | reason, resets);
    crash::start(reason == 0 && chip & POWER_ON != 0, reason == REASON_TIMER);

    select_all();
    feed();
    pac::WATCHDOG.ctrl().modify(|it| it.set_enable(true));
    TIMER.inte().modify(|it| it.set_alarm(ALARM, true));
    // SAFETY: its handler does not come back.
    unsafe { STUCK.enable() };
}

// The fourth alarm of the timer comes when the watchdog is about to bite, and tells where the firmware hangs. What
// hangs in an interrupt, or with interrupts masked, it does not see.
core::arch::global_asm!(
    concat!(".section .text.", stuck_handler!(), ", \"ax\""),
    concat!(".global ", stuck_handler!()),
    concat!(".type ", stuck_handler!(), ",%function"),
    ".thumb_func",
    concat!(stuck_handler!(), ":"),
    "ldr r0, =__mote_stuck",
    "bx r0",
    ".ltorg",
);

/// Gives the schedule another [`WATCHDOG_MS`].
pub(crate) fn feed() {
    let load = WATCHDOG_MS * 1000 * WATCHDOG_PER_US;
    pac::WATCHDOG
        .load()
        .write_value(pac::watchdog::regs::Load(load));
    let now_us = TIMER.timerawl().read();
    let alarm_us = now_us.wrapping_add((WATCHDOG_MS - HANGS_MS) * 1000);
    TIMER.alarm(ALARM).write_value(alarm_us);
}

/// Resets the board at once.
pub(crate) fn force() -> ! {
    select_all();
    pac::WATCHDOG.ctrl().modify(|it| it.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}

/// The watchdog resets all but the oscillators, which run already when the boot loader begins.
fn select_all() {
    pac::PSM
        .wdsel()
        .write_value(pac::psm::regs::Wdsel(RESET_BY_WATCHDOG));
}
