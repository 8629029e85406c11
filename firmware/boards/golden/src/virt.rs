//! QEMU's `virt`, RISC-V with 32 bits: an NS16550 as serial port, and a device to end the run.

const THR: *mut u8 = 0x1000_0000 as *mut u8;
const LSR: *const u8 = 0x1000_0005 as *const u8;
const ROOM: u8 = 1 << 5;

const FINISHER: *mut u32 = 0x0010_0000 as *mut u32;
const PASS: u32 = 0x5555;

/// The port works as it is.
pub fn start() {}

pub fn write(byte: u8) {
    // SAFETY: the registers are where the machine has them, and nothing else uses them.
    unsafe {
        while LSR.read_volatile() & ROOM == 0 {}
        THR.write_volatile(byte);
    }
}

pub fn stop() -> ! {
    // SAFETY: it ends the run.
    unsafe { FINISHER.write_volatile(PASS) };
    loop {
        riscv::asm::wfi();
    }
}
