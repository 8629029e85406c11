//! The chip's registers that are used here; names and numbers are those of its reference manual, RM0041.

use core::ptr::{read_volatile, write_volatile};

/// The internal oscillator's frequency, with which the chip comes out of reset; there is no need for more.
pub const HZ: u32 = 8_000_000;

/// The flags of RCC_CSR.
pub static RESET_CAUSES: [(u32, &str); 6] = [
    (POWER_ON, "power-on"),
    (1 << 28, "software"),
    (INDEPENDENT_WATCHDOG, "watchdog"),
    (1 << 30, "window-watchdog"),
    (1 << 31, "low-power"),
    (1 << 26, "pin"),
];
const POWER_ON: u32 = 1 << 27;
const INDEPENDENT_WATCHDOG: u32 = 1 << 29;

const RCC_APB2ENR: Register = Register(0x4002_1018);
const IOPAEN: u32 = 1 << 2;
const USART1EN: u32 = 1 << 14;
const RCC_APB1ENR: Register = Register(0x4002_101C);
const BKPEN: u32 = 1 << 27;
const PWREN: u32 = 1 << 28;
const RCC_CSR: Register = Register(0x4002_1024);
const RMVF: u32 = 1 << 24;

const PWR_CR: Register = Register(0x4000_7000);
const DBP: u32 = 1 << 8;
/// Keeps 16 bits through resets.
const BKP_DR1: Register = Register(0x4000_6C04);

const GPIOA_CRH: Register = Register(0x4001_0804);
/// PA9: alternate function, push and pull. PA10: input.
const PINS_9_10: u32 = 0xFF << 4;
const PINS_9_10_USART: u32 = 0x4B << 4;

const IWDG_KR: Register = Register(0x4000_3000);
const IWDG_PR: Register = Register(0x4000_3004);
const IWDG_RLR: Register = Register(0x4000_3008);

pub const USART1_SR: Register = Register(0x4001_3800);
pub const USART1_DR: Register = Register(0x4001_3804);
pub const USART1_BRR: Register = Register(0x4001_3808);
pub const USART1_CR1: Register = Register(0x4001_380C);

/// Gives clocks to the parts in use, and its pins to the serial port.
pub fn start() {
    RCC_APB2ENR.set(IOPAEN | USART1EN);
    RCC_APB1ENR.set(BKPEN | PWREN);
    GPIOA_CRH.write(GPIOA_CRH.read() & !PINS_9_10 | PINS_9_10_USART);
}

/// The flags of [`RESET_CAUSES`], which are cleared for the next time, and how often the watchdog has bitten
/// since power came.
pub fn reset_cause() -> (u32, u32) {
    let flags = RCC_CSR.read();
    RCC_CSR.set(RMVF);
    PWR_CR.set(DBP);
    let before = if flags & POWER_ON != 0 {
        0
    } else {
        BKP_DR1.read() & 0xFFFF
    };
    let watchdog_resets = before + u32::from(flags & INDEPENDENT_WATCHDOG != 0);
    BKP_DR1.write(watchdog_resets.min(0xFFFF));
    (flags, watchdog_resets)
}

/// Starts the independent watchdog, which nothing but a reset stops. It bites after 4 s; its own oscillator
/// makes that 2.7 to 5.4 s.
pub fn start_watchdog() {
    const ACCESS: u32 = 0x5555;
    const START: u32 = 0xCCCC;
    const DIVIDE_BY_256: u32 = 6;
    IWDG_KR.write(START);
    IWDG_KR.write(ACCESS);
    IWDG_PR.write(DIVIDE_BY_256);
    // 40 kHz / 256 × 4 s
    IWDG_RLR.write(625);
    feed_watchdog();
}

/// The watchdog's time begins anew.
pub fn feed_watchdog() {
    const RELOAD: u32 = 0xAAAA;
    IWDG_KR.write(RELOAD);
}

/// Numbers in the interrupt controller.
#[derive(Clone, Copy)]
pub enum Interrupt {
    Usart1 = 37,
}

// SAFETY: the number is that of the manual, and stays.
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

    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }

    pub fn clear(self, bits: u32) {
        self.write(self.read() & !bits);
    }
}
