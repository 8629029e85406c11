//! The chip's registers that are used here; their names are those of the LM3S6965 data sheet.

/// A register at an address of the memory map.
#[derive(Clone, Copy)]
pub struct Register(u32);

impl Register {
    pub fn read(self) -> u32 {
        // SAFETY: only this file makes registers, at addresses that are some.
        unsafe { core::ptr::read_volatile(self.0 as *const u32) }
    }

    pub fn write(self, value: u32) {
        // SAFETY: as above; and none of these registers gives the chip access to memory.
        unsafe { core::ptr::write_volatile(self.0 as *mut u32, value) }
    }

    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }

    pub fn clear(self, bits: u32) {
        self.write(self.read() & !bits);
    }
}

/// Numbers in the interrupt controller.
#[derive(Clone, Copy)]
pub enum Interrupt {
    Uart0 = 5,
    Watchdog = 18,
    Timer0 = 19,
}

// SAFETY: the numbers are those of the data sheet, and stay.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

pub mod rcc {
    use super::Register;

    const RESC: Register = Register(0x400F_E05C);
    const RCC: Register = Register(0x400F_E060);
    const RCGC1: Register = Register(0x400F_E104);
    const USESYSDIV: u32 = 1 << 22;
    const SYSDIV_16: u32 = 15 << 23;

    /// 200 MHz divided by 16, and clocks for serial port and timer.
    pub fn start() {
        RCC.set(SYSDIV_16 | USESYSDIV);
        RCGC1.set(1 << 16 | 1);
    }

    /// Reads why the chip was reset; it collects causes until it is cleared.
    pub fn reset_cause() -> u32 {
        let cause = RESC.read();
        RESC.write(0);
        cause
    }
}

pub mod timer0 {
    use super::Register;

    const CFG: Register = Register(0x4003_0000);
    const TAMR: Register = Register(0x4003_0004);
    const CTL: Register = Register(0x4003_000C);
    const IMR: Register = Register(0x4003_0018);
    const ICR: Register = Register(0x4003_0024);
    const TAILR: Register = Register(0x4003_0028);

    /// Interrupts once in so many ticks of the clock.
    pub fn start(ticks: u32) {
        CTL.write(0);
        CFG.write(0);
        TAMR.write(2);
        TAILR.write(ticks);
        IMR.write(1);
        CTL.write(1);
    }

    pub fn acknowledge() {
        ICR.write(1);
    }
}

pub mod watchdog {
    use super::Register;

    const LOAD: Register = Register(0x4000_0000);
    const CTL: Register = Register(0x4000_0008);
    const ICR: Register = Register(0x4000_000C);
    const INTEN: u32 = 1;
    const RESEN: u32 = 2;

    pub fn start(ticks: u32) {
        LOAD.write(ticks);
        CTL.write(INTEN | RESEN);
    }

    pub fn feed() {
        ICR.write(1);
    }
}

pub mod uart0 {
    use super::Register;

    pub const DR: Register = Register(0x4000_C000);
    pub const FR: Register = Register(0x4000_C018);
    pub const IBRD: Register = Register(0x4000_C024);
    pub const FBRD: Register = Register(0x4000_C028);
    pub const LCRH: Register = Register(0x4000_C02C);
    pub const CTL: Register = Register(0x4000_C030);
    pub const IM: Register = Register(0x4000_C038);
    pub const ICR: Register = Register(0x4000_C044);
    pub const RXFE: u32 = 1 << 4;
    pub const TXFF: u32 = 1 << 5;
    pub const RXIM: u32 = 1 << 4;
    pub const TXIM: u32 = 1 << 5;
    pub const RTIM: u32 = 1 << 6;
}
