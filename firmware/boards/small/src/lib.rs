//! What boards with a loop and without an executor have in common, beside the registers of their chips: what they are
//! sampled for, and a serial port between queues.

#![no_std]

mod port;

use mote_firmware::{
    Board, ClientId, Context, Failed, LoadMark, Mcu, McuPlugin, McuSample, Settings,
};

pub use port::{Ends, Port, with_ends};

/// What runs until the server gives other orders.
pub const SERVICES: [(&str, &str, u32); 3] = [
    ("McuLoad", "get_mcu_load", 5),
    ("McuRam", "get_mcu_ram", 60),
    ("Alive", "host_alive_check", 60),
];

/// As the server knows the board: `MOTE_CLIENT_ID` gives it when the image is built.
const CLIENT_ID: u32 = match option_env!("MOTE_CLIENT_ID") {
    Some(digits) => number(digits),
    None => 0,
};

/// The settings of the board's node.
pub fn settings() -> Settings {
    Settings::of(ClientId::Number(CLIENT_ID))
}

/// Those of every microcontroller; an application adds its own here.
pub struct Probes {
    mcu: Mcu,
    feed_watchdog: fn(),
}

impl Probes {
    /// The probes of a board whose watchdog is fed by this.
    pub fn new(mcu: Mcu, feed_watchdog: fn()) -> Self {
        Probes { mcu, feed_watchdog }
    }
}

impl Board for Probes {
    type Plugin = McuPlugin;
    type Baseline = LoadMark;
    type Sample = McuSample;

    const NO_BASELINE: LoadMark = Mcu::NO_BASELINE;

    fn plugin(name: &str) -> Option<McuPlugin> {
        Mcu::plugin(name)
    }

    fn start(&mut self, plugin: McuPlugin, now: mote_firmware::Uptime) -> LoadMark {
        self.mcu.start(plugin, now)
    }

    fn sample(
        &mut self,
        plugin: McuPlugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<McuSample, Failed> {
        self.mcu.sample(plugin, baseline, context)
    }

    fn feed(&mut self) {
        (self.feed_watchdog)();
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
