//! Puts a load on a RISC-V processor that the emulator's command line names, and reports what the load meter says: as
//! `load` of the lm3s6965evb, which is a Cortex-M.
//!
//! Arguments: `thread=N interrupt=N` (loads in thousandths), `seconds=N` (when to stop). With `-icount shift=3` an
//! instruction takes 8 ns, so the load that is put on is known from the number of instructions, without a clock.

#![no_std]
#![no_main]

mod machine;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mote_firmware::{ClientId, LoadMeter, Mcu, Node, Reset, Settings, Uptime, turn};
use riscv::interrupt::Interrupt;

/// There is work in thread and interrupt so many times a second.
const BEATS_HZ: u32 = 125;
const BEAT_TICKS: u32 = machine::HZ / BEATS_HZ;

/// A thousandth of the time between two beats, in rounds of two instructions of 8 ns.
const ROUNDS: u32 = 1_000_000_000 / BEATS_HZ / 1000 / 16;

static LOAD: LoadMeter = LoadMeter::new(machine::count);
static RESET: Reset = Reset::new(&[]);

static INTERRUPT_ROUNDS: AtomicU32 = AtomicU32::new(0);
static BEAT: AtomicBool = AtomicBool::new(false);

#[riscv_rt::entry]
fn main() -> ! {
    machine::paint_stack();
    let Some(node) = riscv::singleton!(: Node<Mcu> = Node::new()) else {
        machine::stop();
    };
    let mut buffer = [0; 80];
    let arguments = machine::arguments(&mut buffer);
    let thread_rounds = number(arguments, "thread=").unwrap_or(0) * ROUNDS;
    let interrupt_rounds = number(arguments, "interrupt=").unwrap_or(0) * ROUNDS;
    let stop_at = number(arguments, "seconds=").map(|it| Uptime::from_millis(u64::from(it) * 1000));
    INTERRUPT_ROUNDS.store(interrupt_rounds, Ordering::Relaxed);
    machine::start_timer(BEAT_TICKS);

    let mut probes = Mcu::new(&LOAD, &machine::RAM, &RESET);
    let services = [("McuLoad", "get_mcu_load", 1), ("McuRam", "get_mcu_ram", 1)];
    node.start(Settings::of(ClientId::Number(7)), &services, now());
    loop {
        turn(node, &mut probes, now(), &mut machine::Port);
        if BEAT.load(Ordering::Relaxed) {
            // The next one comes after this work, or is late with it.
            BEAT.store(false, Ordering::Relaxed);
            machine::spin(thread_rounds);
        }
        if stop_at.is_some_and(|at| at <= now()) {
            machine::stop();
        }
        LOAD.sleep_unless(|| BEAT.load(Ordering::Relaxed));
    }
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn beat() {
    machine::next_interrupt(BEAT_TICKS);
    machine::spin(INTERRUPT_ROUNDS.load(Ordering::Relaxed));
    BEAT.store(true, Ordering::Relaxed);
}

/// The time since the machine started.
fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(machine::HZ / 1000))
}

fn number(arguments: &str, name: &str) -> Option<u32> {
    let mut words = arguments.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(name))?.parse().ok()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        riscv::asm::nop();
    }
}
