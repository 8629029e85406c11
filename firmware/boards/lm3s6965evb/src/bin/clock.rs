//! Looks at the clock from an interrupt above SysTick's priority, at the worst of times: when SysTick's handler has begun
//! and has not counted. The emulator's run fails if the clock goes back, jumps or is not that of the ticks.

#![no_std]
#![no_main]

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::scb::SystemHandler;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use mote_lm3s6965evb as board;

const TICK: u64 = (board::HZ / board::TICK_HZ) as u64;

/// Ticks that have begun, counted or not.
static TICKS: AtomicU32 = AtomicU32::new(0);
static LOOKS: AtomicU32 = AtomicU32::new(0);
static LAST: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

#[entry]
fn main() -> ! {
    let Some(mut peripherals) = cortex_m::Peripherals::take() else {
        end(false)
    };
    // SAFETY: no critical section is made of priorities here. The timer's interrupt keeps the highest.
    unsafe { peripherals.SCB.set_priority(SystemHandler::SysTick, 0xE0) };
    board::start(peripherals);
    board::start_timer(7, look);
    board::on_tick(|| {
        TICKS.fetch_add(1, Ordering::Relaxed);
        board::pend_timer();
    });
    // Asleep, when the thread looks before the handler does, and awake, when the interrupt's look is the first one.
    while TICKS.load(Ordering::Relaxed) < 150 {
        look();
        board::LOAD.sleep_unless(|| false);
    }
    while TICKS.load(Ordering::Relaxed) < 300 {}
    end(LOOKS.load(Ordering::Relaxed) >= 450)
}

fn look() {
    interrupt::free(|cs| {
        let (now, last) = (board::LOAD.now(), LAST.borrow(cs).get());
        LAST.borrow(cs).set(now);
        LOOKS.fetch_add(1, Ordering::Relaxed);
        // The tick that has begun may just do so.
        let begun = u64::from(TICKS.load(Ordering::Relaxed));
        if now < last || !(begun * TICK..(begun + 2) * TICK).contains(&now) {
            end(false);
        }
    });
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
