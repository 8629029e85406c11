//! Two tasks that wake each other, one in an interrupt, one in the main program. The emulator's run fails if one of
//! them does not get its turns, if the load meter does not see what they take, or if the task in the interrupt, which is
//! spawned first, has the other's name.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use mote_firmware::embassy::{Executor, InterruptExecutor};
use mote_firmware::mote_core::{Envelope, Stamp};
use mote_firmware::{
    Board, ClientId, Context, Mcu, McuPlugin, McuSample, Statistics, Uptime, tasks,
};
use mote_lm3s6965evb as board;

/// How long each task works after a tick: a tenth of the time between two, in rounds of two instructions of 8 ns.
const ROUNDS: u32 = 1_000_000_000 / board::TICK_HZ / 10 / 16;

const BEATS: u32 = 300;

static IN_INTERRUPT: InterruptExecutor = InterruptExecutor::new();
static BEAT: Signal<CriticalSectionRawMutex, ()> = Signal::new();
static WORKED: Signal<CriticalSectionRawMutex, ()> = Signal::new();
static DONE: AtomicU32 = AtomicU32::new(0);

/// Numbers in the chip's interrupt controller.
#[derive(Clone, Copy)]
enum Interrupt {
    Timer0 = 19,
}

// SAFETY: the numbers are those of the data sheet, and stay.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

#[entry]
fn main() -> ! {
    static mut EXECUTOR: Option<Executor> = None;

    let Some(peripherals) = cortex_m::Peripherals::take() else {
        end(false)
    };
    board::start(peripherals);
    let (Some(spawner), Ok(task)) = (IN_INTERRUPT.start(Interrupt::Timer0), works_in_interrupt())
    else {
        end(false)
    };
    spawner.spawn(task);
    board::on_tick(|| BEAT.signal(()));
    // It also comes by itself, which harms nothing.
    board::start_timer(1, || {
        // SAFETY: this is the handler of the interrupt that it was started with.
        unsafe { IN_INTERRUPT.on_interrupt() };
    });
    tasks::name("main");
    let executor = EXECUTOR.insert(Executor::new());
    executor.run(&board::LOAD, |spawner| match works_in_main_program() {
        Ok(task) => spawner.spawn(task),
        Err(_) => end(false),
    })
}

#[embassy_executor::task]
async fn works_in_interrupt() -> ! {
    loop {
        BEAT.wait().await;
        cortex_m::asm::delay(ROUNDS);
        WORKED.signal(());
    }
}

#[embassy_executor::task]
async fn works_in_main_program() {
    let mut mcu = Mcu::new(&board::LOAD, &board::RAM, &board::RESET);
    WORKED.wait().await;
    let mut mark = board::LOAD.mark();
    let mut tasks_mark = mark;
    while DONE.fetch_add(1, Ordering::Relaxed) < BEATS {
        WORKED.wait().await;
        cortex_m::asm::delay(ROUNDS);
    }
    let load = board::LOAD.since(&mut mark);
    let is_seen = load.is_some_and(|it| (195..=205).contains(&it.permille));
    let context = Context {
        now: Uptime::from_millis(0),
        statistics: Statistics::default(),
    };
    let sample = mcu.sample(McuPlugin::Tasks, &mut tasks_mark, &context);
    end(is_seen && sample.is_ok_and(|it| has_task(&it, b"\"main\":")))
}

/// Whether the report of a sample has these bytes in it.
fn has_task(sample: &McuSample, bytes: &[u8]) -> bool {
    let envelope = Envelope {
        client_id: ClientId::Number(1),
        service_name: "Tasks",
        stamp: Stamp::Uptime {
            seconds: 0,
            millis: None,
            age: 0,
            boot: None,
        },
        seq: 0,
    };
    let mut buffer = [0; 256];
    let length = envelope.encode(sample, &mut buffer).unwrap_or(0);
    let report = buffer.get(..length).unwrap_or_default();
    report.windows(bytes.len()).any(|it| it == bytes)
}

fn end(is_right: bool) -> ! {
    let status = match is_right {
        true => debug::EXIT_SUCCESS,
        false => debug::EXIT_FAILURE,
    };
    loop {
        debug::exit(status);
    }
}
