//! The machine: its timer, its serial port, and the emulator's command line.

use core::arch::asm;
use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use mote_firmware::Ram;

/// The timer's.
pub const HZ: u32 = 10_000_000;

/// What the stack is painted with, for [`Ram`] to see how deep it has been.
const PAINT: u32 = 0xCCCC_CCCC;

const MTIMECMP: *mut u32 = 0x0200_4000 as *mut u32;
const MTIME: *const u32 = 0x0200_BFF8 as *const u32;
const THR: *mut u8 = 0x1000_0000 as *mut u8;
const LSR: *const u8 = 0x1000_0005 as *const u8;
const LSR_ROOM: u8 = 1 << 5;
const FINISHER: *mut u32 = 0x0010_0000 as *mut u32;
const PASS: u32 = 0x5555;

unsafe extern "C" {
    static _ram_start: u32;
    static mut __estack: u32;
    static _stack_start: u32;
}

/// RAM as memory.x and riscv-rt lay it out.
// SAFETY: it is of words, ascends in this order, and may all be read.
pub static RAM: Ram = unsafe {
    Ram::new(
        &raw const _ram_start,
        &raw const __estack,
        &raw const _stack_start,
    )
};

/// Paints what the stack has not used yet.
#[inline(never)]
pub fn paint_stack() {
    let top: usize;
    // SAFETY: it reads a register.
    unsafe { asm!("mv {}, sp", out(reg) top, options(nomem, nostack)) };
    let mut word = &raw mut __estack;
    // What this function itself uses lies above.
    while word.addr() < top {
        // SAFETY: below the stack pointer there is nothing, down to the end of the stack.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}

/// The timer, modulo 2³². It runs on in sleep.
pub fn count() -> u32 {
    // SAFETY: the register is where the machine has it, and reading it changes nothing.
    unsafe { MTIME.read_volatile() }
}

/// The timer's first interrupt comes in so many ticks.
pub fn start_timer(ticks: u32) {
    // SAFETY: only this file and one interrupt use these registers; there is one core.
    unsafe {
        let now = u64::from(MTIME.read_volatile()) | u64::from(MTIME.add(1).read_volatile()) << 32;
        set_alarm(now.wrapping_add(ticks.into()));
        riscv::register::mie::set_mtimer();
        riscv::interrupt::enable();
    }
}

/// In the timer's interrupt: the next one comes so many ticks after this one was due.
pub fn next_interrupt(ticks: u32) {
    // SAFETY: as above.
    unsafe {
        let due =
            u64::from(MTIMECMP.read_volatile()) | u64::from(MTIMECMP.add(1).read_volatile()) << 32;
        set_alarm(due.wrapping_add(ticks.into()));
    }
}

/// # Safety
///
/// Nobody else writes the registers meanwhile.
unsafe fn set_alarm(at: u64) {
    // SAFETY: the caller holds to it. With the largest upper half first, none comes too early.
    unsafe {
        MTIMECMP.add(1).write_volatile(u32::MAX);
        MTIMECMP.write_volatile(at as u32);
        MTIMECMP.add(1).write_volatile((at >> 32) as u32);
    }
}

/// Goes round `rounds` times, two instructions each time.
pub fn spin(rounds: u32) {
    if rounds > 0 {
        // SAFETY: it counts a register down.
        unsafe {
            asm!("1: addi {0}, {0}, -1", "bnez {0}, 1b", inout(reg) rounds => _, options(nomem, nostack));
        }
    }
}

/// The serial port, which takes a byte at once in the emulator. Nothing is read.
pub struct Port;

impl ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        Ok(0)
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(false)
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let room = |_: &&u8| matches!(self.write_ready(), Ok(true));
        let sent = bytes.iter().take_while(room).map(|byte| {
            // SAFETY: the register is where the machine has it; what is written goes out.
            unsafe { THR.write_volatile(*byte) };
        });
        Ok(sent.count())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Port {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        // SAFETY: as above; reading it changes nothing that matters.
        Ok(unsafe { LSR.read_volatile() } & LSR_ROOM != 0)
    }
}

/// The command line of the emulator, by semihosting.
pub fn arguments(buffer: &mut [u8]) -> &str {
    const GET_CMDLINE: usize = 0x15;
    let mut block = [buffer.as_mut_ptr().addr(), buffer.len()];
    let result: usize;
    // SAFETY: these three instructions, none of them compressed, call the emulator. It writes at most as many bytes as
    // the block says, and then their number into it.
    unsafe {
        asm!(
            ".balign 16",
            ".option push",
            ".option norvc",
            "slli x0, x0, 0x1f",
            "ebreak",
            "srai x0, x0, 7",
            ".option pop",
            inout("a0") GET_CMDLINE => result,
            in("a1") block.as_mut_ptr(),
        );
    }
    let [_, length] = block;
    let bytes = buffer.get(..length).filter(|_| result == 0);
    let text = str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
    text.trim_end_matches('\0')
}

/// Ends the emulator.
pub fn stop() -> ! {
    loop {
        // SAFETY: it ends the run.
        unsafe { FINISHER.write_volatile(PASS) };
    }
}
