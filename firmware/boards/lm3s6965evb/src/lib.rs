//! The lm3s6965evb (Cortex-M3, 256 KiB flash, 64 KiB RAM) as QEMU emulates it: its clocks, its first serial port,
//! a timer and the watchdog, for firmware without an executor.
//!
//! QEMU's own clock of a timer cannot be read on this machine, so SysTick is the counter.

#![no_std]

mod registers;
mod uart;

use core::cell::Cell;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use mote_firmware::{LoadMeter, Ram, Reset, Sleeper, SysTick, Uptime, crash};

use registers::{rcc, timer0, watchdog};
pub use uart::Uart;

/// The processor's clock.
pub const HZ: u32 = 12_500_000;

/// How often SysTick wakes the firmware.
pub const TICK_HZ: u32 = 100;

static TICKS: SysTick = SysTick::new(HZ / TICK_HZ);

/// The load of the processor.
pub static LOAD: LoadMeter = LoadMeter::new(|| TICKS.count());

/// Waits in [`LOAD`], from one SysTick to the next.
pub const SLEEPER: Sleeper = Sleeper::with_beat(&LOAD, HZ / 1000, HZ / TICK_HZ);

/// RAM and stack.
pub static RAM: Ram = Ram::linked();

/// Why the board started; the names are those of the register RESC in the data sheet.
pub static RESET: Reset = Reset::new(&[
    (1 << 0, "external"),
    (1 << 1, "power-on"),
    (1 << 2, "brown-out"),
    (1 << 3, "watchdog"),
    (1 << 4, "software"),
    (1 << 5, "ldo"),
]);

/// What comes before a tick of SysTick is counted.
static ON_TICK: Mutex<Cell<fn()>> = Mutex::new(Cell::new(|| {}));

/// What the timer's interrupt does.
static ON_TIMER: Mutex<Cell<fn()>> = Mutex::new(Cell::new(|| {}));

/// Starts clocks, SysTick, serial port and interrupts.
pub fn start(peripherals: cortex_m::Peripherals) -> Uart {
    rcc::start();
    RESET.set(rcc::reset_cause(), 0);
    // The emulator always says that power has come; but then its RAM is empty.
    crash::start(false, false);
    TICKS.start(peripherals.SYST);
    let uart = Uart::start();
    // SAFETY: the handlers below share nothing with the rest but atomics and queues.
    unsafe {
        NVIC::unmask(registers::Interrupt::Uart0);
        NVIC::unmask(registers::Interrupt::Timer0);
        NVIC::unmask(registers::Interrupt::Watchdog);
    }
    uart
}

/// The time since [`start`].
pub fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(HZ / 1000))
}

/// Lets the timer's interrupt call `handler`, `hz` times a second.
pub fn start_timer(hz: u32, handler: fn()) {
    interrupt::free(|cs| ON_TIMER.borrow(cs).set(handler));
    timer0::start(HZ / hz);
}

/// Lets SysTick's handler call `handler` before it counts.
pub fn on_tick(handler: fn()) {
    interrupt::free(|cs| ON_TICK.borrow(cs).set(handler));
}

/// The timer's interrupt is taken: for an application that binds a handler of its own to it.
pub fn acknowledge_timer() {
    timer0::acknowledge();
}

/// The timer's interrupt comes now, if it may interrupt who calls.
pub fn pend_timer() {
    NVIC::pend(registers::Interrupt::Timer0);
}

/// Starts the watchdog: it resets the board after this time without [`feed_watchdog`].
pub fn start_watchdog(timeout_ms: u32) {
    // It bites at the second expiry.
    watchdog::start(timeout_ms.saturating_mul(HZ / 1000) / 2);
}

/// The watchdog's time begins anew.
pub fn feed_watchdog() {
    watchdog::feed();
}

#[exception]
fn SysTick() {
    interrupt::free(|cs| ON_TICK.borrow(cs).get())();
    TICKS.tick();
}

/// Every interrupt of the chip comes here, since there is no vector table of its own for it.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == registers::Interrupt::Timer0 as i16 {
        timer0::acknowledge();
        interrupt::free(|cs| ON_TIMER.borrow(cs).get())();
    } else if number == registers::Interrupt::Uart0 as i16 {
        uart::interrupt();
    } else if number == registers::Interrupt::Watchdog as i16 {
        crash::hangs();
    }
}

mote_firmware::crash_resets_by!(cortex_m::peripheral::SCB::sys_reset);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    crash::panicked()
}
