//! Puts a load on the processor that the emulator's command line names, and reports what the load meter says:
//! a test of it, and an example of a loop with work and interrupts of its own.
//!
//! Arguments: `thread=N interrupt=N` (loads in thousandths), `seconds=N` (when to stop), `hang=N` (after so many
//! samples a probe never returns), `wait=N` (so many milliseconds pass in each sample, as a sensor's driver waits),
//! `null=N`, `overflow=N` and `panic=N` (after so many samples the run ends that way). With `-icount shift=3` an instruction takes 8 ns, so the load that is put on
//! is known from the number of instructions, without a clock.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, syscall1};
use embedded_hal::delay::DelayNs;
use mote_firmware::{
    Board, ClientId, Context, Failed, LoadMark, Mcu, McuPlugin, McuSample, Node, Settings, Uptime,
    turn,
};
use mote_lm3s6965evb as board;

/// There is work in thread and interrupt so many times a second: out of step with SysTick, so that the
/// interrupt comes in sleep.
const BEATS_HZ: u32 = 125;

/// A thousandth of the time between two beats, in rounds of two instructions of 8 ns.
const ROUNDS: u32 = 1_000_000_000 / BEATS_HZ / 1000 / 16;

static INTERRUPT_ROUNDS: AtomicU32 = AtomicU32::new(0);
static BEAT: AtomicBool = AtomicBool::new(false);

#[entry]
fn main() -> ! {
    static mut NODE: Node<Probes> = Node::new();

    let mut buffer = [0; 80];
    let arguments = arguments(&mut buffer);
    let thread_rounds = number(arguments, "thread=").unwrap_or(0) * ROUNDS;
    let interrupt_rounds = number(arguments, "interrupt=").unwrap_or(0) * ROUNDS;
    let stop_at = number(arguments, "seconds=").map(|it| Uptime::from_millis(u64::from(it) * 1000));

    let Some(peripherals) = cortex_m::Peripherals::take() else {
        stop();
    };
    let mut uart = board::start(peripherals);
    INTERRUPT_ROUNDS.store(interrupt_rounds, Ordering::Relaxed);
    board::start_timer(BEATS_HZ, || {
        spin(INTERRUPT_ROUNDS.load(Ordering::Relaxed));
        BEAT.store(true, Ordering::Relaxed);
    });
    board::start_watchdog(3000);

    let mut probes = Probes {
        mcu: Mcu::new(&board::LOAD, &board::RAM, &board::RESET),
        until_hang: number(arguments, "hang="),
        until_crash: CRASHES.map(|(name, _)| number(arguments, name)),
        wait_ms: number(arguments, "wait=").unwrap_or(0),
    };
    let services = [
        ("Crash", "get_mcu_crash", 3600),
        ("McuLoad", "get_mcu_load", 1),
        ("McuRam", "get_mcu_ram", 1),
        ("Alive", "host_alive_check", 1),
    ];
    NODE.start(Settings::of(ClientId::Number(7)), &services, board::now());
    loop {
        turn(NODE, &mut probes, board::now(), &mut uart);
        if BEAT.swap(false, Ordering::Relaxed) {
            spin(thread_rounds);
        }
        if stop_at.is_some_and(|at| at <= board::now()) {
            stop();
        }
        board::LOAD.sleep_unless(|| BEAT.load(Ordering::Relaxed));
    }
}

/// The probes of every microcontroller, which take their time, and one of which may hang.
struct Probes {
    mcu: Mcu,
    until_hang: Option<u32>,
    until_crash: [Option<u32>; 3],
    wait_ms: u32,
}

impl Board for Probes {
    type Plugin = McuPlugin;
    type Baseline = LoadMark;
    type Sample = McuSample;

    const NO_BASELINE: LoadMark = Mcu::NO_BASELINE;

    fn plugin(name: &str) -> Option<McuPlugin> {
        Mcu::plugin(name)
    }

    fn at_once(plugin: McuPlugin) -> bool {
        Mcu::at_once(plugin)
    }

    fn start(&mut self, plugin: McuPlugin, now: Uptime) -> LoadMark {
        self.mcu.start(plugin, now)
    }

    fn sample(
        &mut self,
        plugin: McuPlugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<McuSample, Failed> {
        self.until_hang = match self.until_hang {
            Some(0) => loop {
                spin(1);
            },
            samples => samples.map(|it| it - 1),
        };
        for (until, (_, crash)) in self.until_crash.iter_mut().zip(CRASHES) {
            match until {
                Some(0) => crash(),
                samples => *samples = samples.map(|it| it - 1),
            }
        }
        board::SLEEPER.clone().delay_ms(self.wait_ms);
        self.mcu.sample(plugin, baseline, context)
    }

    fn feed(&mut self) {
        board::feed_watchdog();
    }
}

const CRASHES: [(&str, fn()); 3] = [
    ("null=", call_null),
    ("overflow=", || {
        black_box(recurse(black_box(1)));
    }),
    ("panic=", index_out_of_bounds),
];

/// Memory begins at 0 here, so null can be read, and the emulator lets it be written.
#[inline(never)]
fn call_null() {
    let null: usize = black_box(0);
    // SAFETY: it is not; that is what it is for.
    let null: fn() = unsafe { core::mem::transmute(null) };
    null();
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u32) -> u32 {
    let mut room = black_box([depth; 16]);
    room[3] = recurse(depth + 1);
    black_box(room)[5]
}

#[inline(never)]
fn index_out_of_bounds() {
    let numbers = black_box([1, 2, 3]);
    black_box(numbers[black_box(3)]);
}

fn spin(rounds: u32) {
    if rounds > 0 {
        // It goes round once more than it is told.
        cortex_m::asm::delay(rounds - 1);
    }
}

/// The command line of the emulator.
fn arguments(buffer: &mut [u8]) -> &str {
    let mut block = [buffer.as_mut_ptr().addr(), buffer.len()];
    // SAFETY: the emulator writes at most as many bytes as the block says, and then their number into it.
    let result = unsafe { syscall1!(GET_CMDLINE, block.as_mut_ptr()) };
    let [_, length] = block;
    let bytes = buffer.get(..length).filter(|_| result == 0);
    let text = str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
    text.trim_end_matches('\0')
}

fn number(arguments: &str, name: &str) -> Option<u32> {
    let mut words = arguments.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(name))?.parse().ok()
}

fn stop() -> ! {
    loop {
        debug::exit(debug::EXIT_SUCCESS);
    }
}
