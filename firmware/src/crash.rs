//! What a crash leaves behind: a record in RAM that start-up does not touch. The boot after it reports it as
//! `get_mcu_crash`, before anything else.
//!
//! The library has the handler of hard faults, for firmware over cortex-m-rt. The application gives it a reset and
//! its panics, and calls [`start`] first of all:
//!
//! ```no_run
//! # #![no_std]
//! # #![no_main]
//! mote_firmware::crash_resets_by!(cortex_m::peripheral::SCB::sys_reset);
//!
//! #[panic_handler]
//! fn panic(_: &core::panic::PanicInfo) -> ! {
//!     mote_firmware::crash::panicked()
//! }
//! ```
//!
//! An interrupt that comes some time before the watchdog bites, with `__mote_stuck` as its handler, tells where the
//! firmware hangs.

use core::ptr::{read_volatile, write_volatile};

use mote_core::{Fields, Value, Words};
use serde::ser::{Serialize, Serializer};

/// Names the function `fn() -> !` that ends a run after its crash is on record.
#[macro_export]
macro_rules! crash_resets_by {
    ($reset:path) => {
        #[unsafe(export_name = "__mote_reset")]
        fn mote_reset() -> ! {
            $reset()
        }
    };
}

/// The data of `get_mcu_crash`: the `cause` of the last reset, `none`, `fault`, `stack`, `panic` or `watchdog`; and
/// `resets` since power came, which tells a reset loop from a loose plug. After a crash also `pc` and `lr`, the
/// processor's registers, 0 where they are not known; `stack1` to `stack4`, what may be return addresses on the stack, the
/// innermost first; and the `uptime` at the crash in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Crash(());

/// The causes, by their numbers.
const CAUSES: &str = "none fault stack panic watchdog";
const FAULT: u32 = 1;
const STACK_OVERFLOW: u32 = 2;
const WATCHDOG: u32 = 4;

/// The words of a record: first a check of the others, and then what a report has, in its order.
const CHECK: usize = 0;
const CAUSE: usize = 1;
const RESETS: usize = 2;
/// It goes on all the time, so the check is not of it.
const UPTIME_S: usize = 3;
const PC: usize = 4;
const LR: usize = 5;
const STACK: usize = 6;
const WORDS: usize = STACK + 4;

type Record = [u32; WORDS];

/// Of this run.
#[unsafe(link_section = ".uninit.mote_crash")]
static mut THIS: Record = [0; WORDS];

/// Of the run before.
static mut LAST: Record = [0; WORDS];

/// Finds out how the last run ended. The board says whether power has just come, and whether its
/// watchdog has bitten.
pub fn start(power_on: bool, watchdog: bool) {
    let valid = !power_on && get(CHECK) == check();
    for index in 0..WORDS {
        let word = if valid { get(index) } else { 0 };
        put(&raw mut LAST, index, word);
        set(index, 0);
    }
    if valid {
        put(&raw mut LAST, RESETS, last(RESETS).wrapping_add(1));
        if watchdog && last(CAUSE) == 0 {
            put(&raw mut LAST, CAUSE, WATCHDOG);
        }
    }
    set(RESETS, last(RESETS));
    set(CHECK, check());
}

/// Ends the run after a panic. It says nothing: the text would take more flash than the rest of the firmware.
pub fn panicked() -> ! {
    // SAFETY: it takes no arguments, and is made for that.
    unsafe { __mote_panicked() }
}

/// Puts on record that the firmware hangs, and waits for the watchdog: for the handler of an interrupt that comes
/// some time before that bites, and which cannot be `__mote_stuck`.
pub fn hangs() -> ! {
    // SAFETY: it takes no arguments, and is made for that.
    unsafe { __mote_hangs() }
}

impl Crash {
    /// The run before this one.
    pub(crate) const LAST: Crash = Crash(());
}

/// The schedule goes on.
pub(crate) fn alive(uptime_s: u32) {
    set(UPTIME_S, uptime_s);
}

impl Serialize for Crash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAMES: &str = "cause resets uptime pc lr stack1 stack2 stack3 stack4";
        let last = &raw const LAST;
        // SAFETY: only `start` writes to it, before there is a node.
        let [_, cause, numbers @ ..] = unsafe { &*last };
        let known = match cause {
            0 => &numbers[..1],
            _ => &numbers[..],
        };
        let cause = Words(CAUSES).nth(*cause as usize);
        let cause = Value::Text(cause.unwrap_or("unknown"));
        Fields::ok(NAMES, &[cause], known).serialize(serializer)
    }
}

fn check() -> u32 {
    // What RAM holds after power came hardly passes, nor do zeros or ones.
    let words = (CAUSE..WORDS).filter(|index| *index != UPTIME_S);
    words.fold(0x6D6F_7465, |check, index| {
        (check ^ get(index)).rotate_left(5)
    })
}

fn last(index: usize) -> u32 {
    word_of(&raw const LAST, index)
}

fn get(index: usize) -> u32 {
    word_of(&raw const THIS, index)
}

fn set(index: usize, value: u32) {
    put(&raw mut THIS, index, value);
}

fn word_of(record: *const Record, index: usize) -> u32 {
    // SAFETY: the callers name one of the two records, and a word within; whatever RAM holds is one.
    unsafe { read_volatile(record.cast::<u32>().add(index)) }
}

fn put(record: *mut Record, index: usize, value: u32) {
    // SAFETY: as above. Who writes beside `start` does so word by word, or never comes back.
    unsafe { write_volatile(record.cast::<u32>().add(index), value) }
}

unsafe extern "C" {
    fn __mote_panicked() -> !;
    fn __mote_hangs() -> !;
    static _ram_end: u32;
    static _stack_start: u32;
    static _stack_end: u32;
    static __stext: u32;
    static __etext: u32;
}

unsafe extern "Rust" {
    safe fn __mote_reset() -> !;
}

// What is on the stack when the processor has come here: a frame of eight words, the seventh of which is the
// program counter, and the sixth the link register. Without room for its own frames the rest begins at the top of
// the stack anew, since nobody goes back.
core::arch::global_asm!(
    ".section .text.__mote_crash, \"ax\"",
    ".global HardFault",
    ".type HardFault,%function",
    ".thumb_func",
    "HardFault:",
    "movs r2, #1",
    "b 2f",
    ".global __mote_stuck",
    ".type __mote_stuck,%function",
    ".thumb_func",
    "__mote_stuck:",
    "movs r2, #4",
    "2: mrs r0, MSP",
    "mov r1, lr",
    "lsls r1, r1, #29",
    "bpl 0f",
    "mrs r0, PSP",
    "0: ldr r1, =_stack_end",
    "adds r1, #128",
    "mov r3, sp",
    "cmp r3, r1",
    "bhs 1f",
    "ldr r1, =_stack_start",
    "mov sp, r1",
    "1: mov r1, lr",
    "ldr r3, ={interrupted}",
    "bx r3",
    ".global __mote_panicked",
    ".type __mote_panicked,%function",
    ".thumb_func",
    "__mote_panicked:",
    "movs r1, #3",
    "b 3f",
    ".global __mote_hangs",
    ".type __mote_hangs,%function",
    ".thumb_func",
    "__mote_hangs:",
    "movs r1, #4",
    "3: mov r0, sp",
    "ldr r3, ={end}",
    "bx r3",
    ".ltorg",
    interrupted = sym interrupted,
    end = sym end,
);

/// After the exception that put `frame` on the stack that `exception_return` names.
extern "C" fn interrupted(frame: usize, exception_return: u32, mut cause: u32) -> ! {
    const ON_PROCESS_STACK: u32 = 1 << 2;
    let main_stack = exception_return & ON_PROCESS_STACK == 0;
    if cause == FAULT && main_stack && frame < (&raw const _stack_end).addr() {
        cause = STACK_OVERFLOW;
    } else {
        set(LR, ram(frame + 20));
        set(PC, ram(frame + 24));
    }
    end(frame + 32, cause)
}

extern "C" fn end(stack: usize, cause: u32) -> ! {
    cortex_m::interrupt::disable();
    record(cause, stack);
    if cause == WATCHDOG {
        // The watchdog itself is to reset the board, so that it counts as one of its resets.
        loop {
            cortex_m::asm::nop();
        }
    }
    __mote_reset()
}

fn record(cause: u32, stack: usize) {
    let (code, code_end) = ((&raw const __stext).addr(), (&raw const __etext).addr());
    let mut at = stack.max((&raw const _stack_end).addr());
    // Data and stack may lie either way round.
    let end = (&raw const _ram_end).max(&raw const _stack_start).addr();
    let mut place = STACK;
    while at < end && place < WORDS {
        let word = ram(at);
        // The lowest bit tells Thumb.
        if word & 1 == 1 && (code..code_end).contains(&(word as usize)) {
            set(place, word);
            place += 1;
        }
        at += 4;
    }
    set(CAUSE, cause);
    set(CHECK, check());
}

fn ram(address: usize) -> u32 {
    // SAFETY: the processor has just written the frame there; the rest lies between it and the end of RAM.
    unsafe { read_volatile(core::ptr::with_exposed_provenance(address)) }
}
