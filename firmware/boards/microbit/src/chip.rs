//! The registers that are used here, which are alike in both chips; names and numbers are those of the nRF51 reference
//! manual and the nRF52833 product specification.

use core::ptr::{read_volatile, write_volatile};

#[cfg(all(feature = "v1", feature = "v2"))]
compile_error!("a board is one of them: --no-default-features --features v2");
#[cfg(not(any(feature = "v1", feature = "v2")))]
compile_error!("which board is it: --features v1, or v2");

/// Of the timer.
pub const TICKS_PER_MS: u32 = 1000;

/// The flags of RESETREAS, and one for none of them, which is what it says after power came.
pub static RESET_CAUSES: [(u32, &str); 6] = [
    (POWER_ON, "power-on"),
    (1 << 0, "pin"),
    (WATCHDOG, "watchdog"),
    (1 << 2, "software"),
    (1 << 3, "lockup"),
    (1 << 18, "debugger"),
];
const POWER_ON: u32 = 1 << 31;
const WATCHDOG: u32 = 1 << 1;

const TASKS_HFCLKSTART: Register = Register(0x4000_0000);
const EVENTS_HFCLKSTARTED: Register = Register(0x4000_0100);
const RESETREAS: Register = Register(0x4000_0400);
/// Eight bits that a reset leaves as they are.
const GPREGRET: Register = Register(0x4000_051C);

pub const UART_TASKS_STARTRX: Register = Register(0x4000_2000);
pub const UART_TASKS_STARTTX: Register = Register(0x4000_2008);
pub const UART_RXDRDY: Register = Register(0x4000_2108);
pub const UART_TXDRDY: Register = Register(0x4000_211C);
pub const UART_INTENSET: Register = Register(0x4000_2304);
pub const UART_ENABLE: Register = Register(0x4000_2500);
pub const UART_PSELTXD: Register = Register(0x4000_250C);
pub const UART_PSELRXD: Register = Register(0x4000_2514);
pub const UART_RXD: Register = Register(0x4000_2518);
pub const UART_TXD: Register = Register(0x4000_251C);
pub const UART_BAUDRATE: Register = Register(0x4000_2524);

const TIMER_TASKS_START: Register = Register(0x4000_8000);
const TIMER_TASKS_CAPTURE0: Register = Register(0x4000_8040);
const TIMER_COMPARE1: Register = Register(0x4000_8144);
const TIMER_INTENSET: Register = Register(0x4000_8304);
const TIMER_BITMODE: Register = Register(0x4000_8508);
const TIMER_PRESCALER: Register = Register(0x4000_8510);
const TIMER_CC0: Register = Register(0x4000_8540);
const TIMER_CC1: Register = Register(0x4000_8544);

const WDT_TASKS_START: Register = Register(0x4001_0000);
const WDT_CRV: Register = Register(0x4001_0504);
const WDT_RR0: Register = Register(0x4001_0600);

const OUTSET: Register = Register(0x5000_0508);
/// Of the first pin; each has one.
const PIN_CNF: u32 = 0x5000_0700;
/// The second port begins here, and its pins count from 32.
#[cfg(feature = "v2")]
const SECOND_PORT: u32 = 0x300;

/// To and from the USB chip of the board.
#[cfg(not(feature = "v2"))]
pub const TXD_PIN: u32 = 24;
#[cfg(not(feature = "v2"))]
pub const RXD_PIN: u32 = 25;
#[cfg(not(feature = "v2"))]
const RXD_PIN_CNF: Register = Register(PIN_CNF + 4 * RXD_PIN);
#[cfg(feature = "v2")]
pub const TXD_PIN: u32 = 6;
#[cfg(feature = "v2")]
pub const RXD_PIN: u32 = 32 + 8;
#[cfg(feature = "v2")]
const RXD_PIN_CNF: Register = Register(PIN_CNF + SECOND_PORT + 4 * (RXD_PIN - 32));

const TXD_PIN_CNF: Register = Register(PIN_CNF + 4 * TXD_PIN);

/// Starts the crystal, without which the serial port is off by more than it may be, and the timer; and gives the port its
/// pins.
pub fn start() {
    TASKS_HFCLKSTART.write(1);
    while EVENTS_HFCLKSTARTED.read() == 0 {}

    const BITS_32: u32 = 3;
    const COMPARE1: u32 = 1 << 17;
    TIMER_BITMODE.write(BITS_32);
    // 16 MHz / 2⁴
    TIMER_PRESCALER.write(4);
    TIMER_INTENSET.write(COMPARE1);
    TIMER_TASKS_START.write(1);

    const OUTPUT: u32 = 3;
    const INPUT: u32 = 0;
    OUTSET.write(1 << TXD_PIN);
    TXD_PIN_CNF.write(OUTPUT);
    RXD_PIN_CNF.write(INPUT);
}

/// The timer: microseconds, modulo 2³². With interrupts masked, as a [`mote_firmware::LoadMeter`] reads it.
pub fn count() -> u32 {
    TIMER_TASKS_CAPTURE0.write(1);
    TIMER_CC0.read()
}

/// The timer interrupts then.
pub fn set_alarm(at: u32) {
    TIMER_CC1.write(at);
}

/// In the timer's interrupt: it has woken the firmware.
pub fn clear_alarm() {
    TIMER_COMPARE1.write(0);
}

/// The flags of [`RESET_CAUSES`], which are cleared for the next time, and how often the watchdog has bitten since power
/// came, up to 15.
pub fn reset_cause() -> (u32, u32) {
    // In the upper half, while the lower one counts.
    const COUNTS: u32 = 0xA0;
    let flags = RESETREAS.read();
    RESETREAS.write(flags);
    let kept = GPREGRET.read();
    let before = match kept & 0xF0 == COUNTS && flags != 0 {
        true => kept & 0x0F,
        false => 0,
    };
    let watchdog_resets = (before + u32::from(flags & WATCHDOG != 0)).min(0x0F);
    GPREGRET.write(COUNTS | watchdog_resets);
    (if flags == 0 { POWER_ON } else { flags }, watchdog_resets)
}

/// Starts the watchdog, which nothing but a reset stops. It bites after 4 s.
pub fn start_watchdog() {
    WDT_CRV.write(4 * 32_768);
    WDT_TASKS_START.write(1);
}

/// The watchdog's time begins anew.
pub fn feed_watchdog() {
    const RELOAD: u32 = 0x6E52_4635;
    WDT_RR0.write(RELOAD);
}

/// Numbers in the interrupt controller.
#[derive(Clone, Copy, PartialEq)]
pub enum Interrupt {
    Uart0 = 2,
    Timer0 = 8,
}

// SAFETY: the numbers are those of the manual, and stay.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

/// A register at an address of the memory map.
#[derive(Clone, Copy)]
pub struct Register(u32);

impl Register {
    pub fn read(self) -> u32 {
        // SAFETY: only this file makes registers, at addresses that are some.
        unsafe { read_volatile(self.0 as *const u32) }
    }

    pub fn write(self, value: u32) {
        // SAFETY: as above; and none of these registers gives the chip access to memory.
        unsafe { write_volatile(self.0 as *mut u32, value) }
    }
}
