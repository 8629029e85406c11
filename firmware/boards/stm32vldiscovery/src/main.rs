//! The STM32VLDISCOVERY: 8 KiB of RAM and a loop that does all there is to do, then sleeps. It reports over USART1
//! (PA9 sends, PA10 receives) at 115200 baud.

#![no_std]
#![no_main]

mod chip;
mod usart;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::{entry, exception};
use heapless::spsc::Queue;
use mote_firmware::{LoadMeter, Mcu, Node, Ram, Reset, Sleeper, SysTick, Uptime, run_blocking};
use mote_small_board::{Probes, SERVICES, settings};

use chip::{HZ, Interrupt};

/// The timer wakes the loop so often a second.
const BEAT_HZ: u32 = 100;

static TICKS: SysTick = SysTick::new(HZ / BEAT_HZ);
static LOAD: LoadMeter = LoadMeter::new(|| TICKS.count());
static RAM: Ram = Ram::linked();
static RESET: Reset = Reset::new(&chip::RESET_CAUSES);

#[entry]
fn main() -> ! {
    static mut NODE: Node<Probes> = Node::new();
    static mut RECEIVED: Queue<u8, 64> = Queue::new();
    static mut TO_SEND: Queue<u8, 64> = Queue::new();

    chip::start();
    chip::start_watchdog();
    let (bits, watchdog_resets) = chip::reset_cause();
    RESET.set(bits, watchdog_resets);
    let line = usart::start(RECEIVED, TO_SEND);
    if let Some(peripherals) = cortex_m::Peripherals::take() {
        TICKS.start(peripherals.SYST);
    }
    // SAFETY: the handler shares nothing with the loop but what is made for that.
    unsafe { NVIC::unmask(Interrupt::Usart1) };

    let mut probes = Probes::new(Mcu::new(&LOAD, &RAM, &RESET), chip::feed_watchdog);
    NODE.start(settings(), &SERVICES, now());
    let sleeper = Sleeper::with_beat(&LOAD, HZ / 1000, HZ / BEAT_HZ);
    run_blocking(NODE, &mut probes, now, sleeper, line)
}

fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(HZ / 1000))
}

#[exception]
fn SysTick() {
    TICKS.tick();
}

/// The one interrupt of the chip that is in use comes here, since there is no vector table of its own for it.
#[exception]
unsafe fn DefaultHandler(_number: i16) {
    usart::interrupt();
}
