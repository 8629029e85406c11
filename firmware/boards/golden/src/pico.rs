//! The Raspberry Pi Pico's RP2040, Cortex-M0+: UART0, a PL011, on pin GP0 at 115200 baud from the crystal's
//! 12 MHz. Names and numbers are those of the RP2040's datasheet.

const RESETS_CLR: *mut u32 = 0x4000_F000 as *mut u32;
const RESET_DONE: *const u32 = 0x4000_C008 as *const u32;
const IO_BANK0: u32 = 1 << 5;
const UART0: u32 = 1 << 22;

const XOSC_CTRL: *mut u32 = 0x4002_4000 as *mut u32;
const XOSC_STATUS: *const u32 = 0x4002_4004 as *const u32;
const ENABLE_1_TO_15_MHZ: u32 = 0x00FA_BAA0;
const STABLE: u32 = 1 << 31;

const CLK_REF_CTRL: *mut u32 = 0x4000_8030 as *mut u32;
const FROM_XOSC: u32 = 2;
const CLK_PERI_CTRL: *mut u32 = 0x4000_8048 as *mut u32;
const ENABLE_FROM_SYS: u32 = 1 << 11;

const GPIO0_CTRL: *mut u32 = 0x4001_4004 as *mut u32;
const FUNCTION_UART: u32 = 2;

const UART: usize = 0x4003_4000;
const DATA: *mut u32 = UART as *mut u32;
const FLAGS: *const u32 = (UART + 0x18) as *const u32;
const FULL: u32 = 1 << 5;
const DIVISOR: *mut u32 = (UART + 0x24) as *mut u32;
const DIVISOR_64THS: *mut u32 = (UART + 0x28) as *mut u32;
const LINE_CONTROL: *mut u32 = (UART + 0x2C) as *mut u32;
const EIGHT_BITS_FIFO: u32 = 0x70;
const CONTROL: *mut u32 = (UART + 0x30) as *mut u32;
const ENABLE_TRANSMIT: u32 = 0x101;

/// Reads the chip's flash faster than its ROM does; the ROM starts it.
#[used]
#[unsafe(link_section = ".boot2")]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;

pub fn start() {
    // SAFETY: the registers are where the chip has them, and nothing else uses them.
    unsafe {
        XOSC_CTRL.write_volatile(ENABLE_1_TO_15_MHZ);
        while XOSC_STATUS.read_volatile() & STABLE == 0 {}
        CLK_REF_CTRL.write_volatile(FROM_XOSC);
        CLK_PERI_CTRL.write_volatile(ENABLE_FROM_SYS);
        RESETS_CLR.write_volatile(IO_BANK0 | UART0);
        while RESET_DONE.read_volatile() & (IO_BANK0 | UART0) != IO_BANK0 | UART0 {}
        GPIO0_CTRL.write_volatile(FUNCTION_UART);
        // 12 MHz / (16 × 115200) = 6 + 33 / 64
        DIVISOR.write_volatile(6);
        DIVISOR_64THS.write_volatile(33);
        LINE_CONTROL.write_volatile(EIGHT_BITS_FIFO);
        CONTROL.write_volatile(ENABLE_TRANSMIT);
    }
}

pub fn write(byte: u8) {
    // SAFETY: as above.
    unsafe {
        while FLAGS.read_volatile() & FULL != 0 {}
        DATA.write_volatile(byte.into());
    }
}

/// There is nothing to stop it.
pub fn stop() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
