//! mote on the Raspberry Pi Pico and Pico 2: what can be sampled there, its watchdog, and what the images have in common.

#![no_std]

mod chip;
mod identity;
mod panic;
mod reset;
mod sleep;
mod temperature;
pub mod usb;

use embassy_rp::Peri;
use embassy_rp::adc::{self, Adc, Channel};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{ADC, ADC_TEMP_SENSOR, PIN_25, WATCHDOG};
use embassy_time::Delay;
use mote_firmware::{
    Board, Context, Failed, Heartbeat, Link, LinkCell, LoadMark, LoadMeter, Mcu, McuPlugin,
    McuSample, Ram, Uptime,
};
use serde::Serialize;

pub use identity::{Identity, identity};
pub use reset::{RESET, WATCHDOG_MS};
pub use sleep::sleeper;
pub use temperature::{Temperature, Thermometer};

/// Where the firmware sleeps. The chip's timer counts microseconds, asleep or awake.
pub static LOAD: LoadMeter = LoadMeter::new(|| chip::TIMER.timerawl().read());

static RAM: Ram = Ram::linked();

/// How the board and its gateway get on.
pub static LINK: LinkCell = LinkCell::new();

/// What runs until the server gives other orders.
pub const SERVICES: [(&str, &str, u32); 5] = [
    ("Crash", "get_mcu_crash", 3600),
    ("McuLoad", "get_mcu_load", 5),
    ("McuRam", "get_mcu_ram", 60),
    ("Alive", "host_alive_check", 60),
    ("Temperature", "get_temperature", 30),
];

/// The time since reset.
pub fn now() -> Uptime {
    Uptime::from_millis(embassy_time::Instant::now().as_millis())
}

/// Blinks with the lamp of the board: once every two seconds if all is well, see [`Heartbeat`].
#[embassy_executor::task]
pub async fn heartbeat(pin: Peri<'static, PIN_25>) -> ! {
    let lamp = Output::new(pin, Level::Low);
    Heartbeat::new(lamp).run(&LINK, now, Delay).await
}

/// The board: what every microcontroller has, a thermometer of its own, and its watchdog.
pub struct Pico<T> {
    mcu: Mcu,
    thermometer: T,
}

/// The thermometer of the chip.
pub struct ChipThermometer {
    adc: Adc<'static, adc::Blocking>,
    channel: Channel<'static>,
}

/// What can be sampled here.
#[derive(Clone, Copy, PartialEq)]
pub enum Plugin {
    /// Of every microcontroller.
    Mcu(McuPlugin),
    /// `get_temperature`
    Temperature,
}

/// What was sampled.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Sample {
    /// Of every microcontroller.
    Mcu(McuSample),
    /// Of `get_temperature`.
    Temperature(Temperature),
}

impl Pico<ChipThermometer> {
    /// Finds out why the board started, and starts the watchdog: from now on it must be fed.
    pub fn new(
        _watchdog: Peri<'static, WATCHDOG>,
        adc: Peri<'static, ADC>,
        sensor: Peri<'static, ADC_TEMP_SENSOR>,
    ) -> Self {
        reset::start();
        Pico {
            mcu: Mcu::new(&LOAD, &RAM, &RESET),
            thermometer: ChipThermometer {
                adc: Adc::new_blocking(adc, adc::Config::default()),
                channel: Channel::new_temp_sensor(sensor),
            },
        }
    }
}

impl<T: Thermometer> Board for Pico<T> {
    type Plugin = Plugin;
    type Baseline = LoadMark;
    type Sample = Sample;

    const NO_BASELINE: LoadMark = Mcu::NO_BASELINE;

    fn plugin(name: &str) -> Option<Plugin> {
        match name {
            "get_temperature" => Some(Plugin::Temperature),
            _ => Mcu::plugin(name).map(Plugin::Mcu),
        }
    }

    fn at_once(plugin: Plugin) -> bool {
        matches!(plugin, Plugin::Mcu(plugin) if Mcu::at_once(plugin))
    }

    fn start(&mut self, plugin: Plugin, now: Uptime) -> LoadMark {
        match plugin {
            Plugin::Mcu(plugin) => self.mcu.start(plugin, now),
            Plugin::Temperature => LoadMark::ZERO,
        }
    }

    fn sample(
        &mut self,
        plugin: Plugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<Sample, Failed> {
        match plugin {
            Plugin::Mcu(plugin) => {
                let sample = self.mcu.sample(plugin, baseline, context)?;
                Ok(Sample::Mcu(sample))
            }
            Plugin::Temperature => {
                let raw = self.thermometer.raw();
                let raw = raw.ok_or(Failed("the converter could not convert"))?;
                Ok(Sample::Temperature(Temperature::of(raw)))
            }
        }
    }

    fn feed(&mut self) {
        reset::feed();
    }

    fn link(&mut self, link: Link) {
        LINK.set(link);
    }
}

impl Thermometer for ChipThermometer {
    fn raw(&mut self) -> Option<u16> {
        self.adc.blocking_read(&mut self.channel).ok()
    }
}
