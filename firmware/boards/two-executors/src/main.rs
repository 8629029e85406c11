//! Two tasks that wake each other, one in an interrupt, one in the main program. The emulator's run fails if one of
//! them does not get its turns, or if the load meter does not see what they take.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use mote_firmware::embassy::{Executor, InterruptExecutor};
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
    WORKED.wait().await;
    let mut mark = board::LOAD.mark();
    while DONE.fetch_add(1, Ordering::Relaxed) < BEATS {
        WORKED.wait().await;
        cortex_m::asm::delay(ROUNDS);
    }
    let load = board::LOAD.since(&mut mark);
    end(load.is_some_and(|it| (195..=205).contains(&it.permille)))
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
