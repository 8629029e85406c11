//! The BBC micro:bit, with a loop that does all there is to do, then sleeps until the timer says that there is more. It
//! reports over the serial port of its USB socket at 115200 baud.

#![no_std]
#![no_main]

mod chip;
mod uart;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::{entry, exception};
use heapless::spsc::Queue;
use mote_firmware::{LoadMeter, Mcu, Node, Ram, Reset, Sleeper, Uptime, run_blocking};
use mote_small_board::{Probes, SERVICES, settings};

use chip::{Interrupt, TICKS_PER_MS};

static LOAD: LoadMeter = LoadMeter::new(chip::count);
static RAM: Ram = Ram::linked();
static RESET: Reset = Reset::new(&chip::RESET_CAUSES);

#[entry]
fn main() -> ! {
    static mut NODE: Node<Probes> = Node::new();
    static mut RECEIVED: Queue<u8, 64> = Queue::new();
    static mut TO_SEND: Queue<u8, 64> = Queue::new();

    chip::start_watchdog();
    chip::start();
    let (bits, watchdog_resets) = chip::reset_cause();
    RESET.set(bits, watchdog_resets);
    let line = uart::start(RECEIVED, TO_SEND);
    // SAFETY: the handlers share nothing with the loop but what is made for that.
    unsafe {
        NVIC::unmask(Interrupt::Uart0);
        NVIC::unmask(Interrupt::Timer0);
    }

    let mut probes = Probes::new(Mcu::new(&LOAD, &RAM, &RESET), chip::feed_watchdog);
    NODE.start(settings(), &SERVICES, now());
    let sleeper = Sleeper::with_alarm(&LOAD, TICKS_PER_MS, chip::set_alarm);
    run_blocking(NODE, &mut probes, now, sleeper, line)
}

fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(TICKS_PER_MS))
}

/// Every interrupt of the chip comes here, since there is no vector table of its own for it.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == Interrupt::Uart0 as i16 {
        uart::interrupt();
    } else if number == Interrupt::Timer0 as i16 {
        chip::clear_alarm();
    }
}
