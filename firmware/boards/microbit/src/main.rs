//! The BBC micro:bit, with a loop that does all there is to do, then sleeps until the timer says that there is more. It
//! reports over the serial port of its USB socket at 115200 baud.

#![no_std]
#![no_main]

mod chip;
mod uart;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::{entry, exception};
use heapless::spsc::Queue;
use mote_firmware::{
    Board, ClientId, Context, Failed, LoadMark, LoadMeter, Mcu, McuPlugin, McuSample, Node, Ram,
    Reset, Settings, Sleeper, Uptime, run_blocking,
};

use chip::{Interrupt, TICKS_PER_MS};

/// As the server knows the board: `MOTE_CLIENT_ID` gives it when the image is built.
const CLIENT_ID: u32 = match option_env!("MOTE_CLIENT_ID") {
    Some(digits) => number(digits),
    None => 0,
};

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

    let mut probes = Probes(Mcu::new(&LOAD, &RAM, &RESET));
    let services = [
        ("McuLoad", "get_mcu_load", 5),
        ("McuRam", "get_mcu_ram", 60),
        ("Alive", "host_alive_check", 60),
    ];
    NODE.start(Settings::of(ClientId::Number(CLIENT_ID)), &services, now());
    let sleeper = Sleeper::with_alarm(&LOAD, TICKS_PER_MS, chip::set_alarm);
    run_blocking(NODE, &mut probes, now, sleeper, line)
}

fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(TICKS_PER_MS))
}

/// Those of every microcontroller; an application adds its own here.
struct Probes(Mcu);

impl Board for Probes {
    type Plugin = McuPlugin;
    type Baseline = LoadMark;
    type Sample = McuSample;

    const NO_BASELINE: LoadMark = Mcu::NO_BASELINE;

    fn plugin(name: &str) -> Option<McuPlugin> {
        Mcu::plugin(name)
    }

    fn start(&mut self, plugin: McuPlugin, now: Uptime) -> LoadMark {
        self.0.start(plugin, now)
    }

    fn sample(
        &mut self,
        plugin: McuPlugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<McuSample, Failed> {
        self.0.sample(plugin, baseline, context)
    }

    fn feed(&mut self) {
        chip::feed_watchdog();
    }
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

/// Reads a decimal number while the image is built.
#[expect(clippy::panic, reason = "it fails the build")]
const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) if digits.is_empty() => 0,
        Err(_) => panic!("MOTE_CLIENT_ID is not a number from 0 to 4294967295"),
    }
}

/// The watchdog ends it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        cortex_m::asm::nop();
    }
}
