//! The STM32VLDISCOVERY: 8 KiB of RAM and a loop that does all there is to do, then sleeps. It reports over USART1
//! (PA9 sends, PA10 receives) at 115200 baud.

#![no_std]
#![no_main]

mod chip;
mod usart;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::{entry, exception};
use heapless::spsc::Queue;
use mote_firmware::{
    Board, ClientId, Context, Failed, LoadMark, LoadMeter, Mcu, McuPlugin, McuSample, Node, Ram,
    Reset, Settings, Sleeper, SysTick, Uptime, run_blocking,
};

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

    let mut probes = Probes(Mcu::new(&LOAD, &RAM, &RESET));
    let services = [
        ("McuLoad", "get_mcu_load", 5),
        ("McuRam", "get_mcu_ram", 60),
        ("Alive", "host_alive_check", 60),
    ];
    NODE.start(Settings::of(ClientId::Number(7)), &services, now());
    let sleeper = Sleeper::with_beat(&LOAD, HZ / 1000, HZ / BEAT_HZ);
    run_blocking(NODE, &mut probes, now, sleeper, line)
}

fn now() -> Uptime {
    Uptime::from_millis(LOAD.now() / u64::from(HZ / 1000))
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

#[exception]
fn SysTick() {
    TICKS.tick();
}

/// The one interrupt of the chip that is in use comes here, since there is no vector table of its own for it.
#[exception]
unsafe fn DefaultHandler(_number: i16) {
    usart::interrupt();
}

/// The watchdog ends it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        cortex_m::asm::nop();
    }
}
