//! The application's own board: a Pico with two sensors on one I²C bus.

use core::cell::RefCell;

use embassy_rp::i2c::{Async, I2c};
use embassy_rp::peripherals::I2C0;
use embedded_hal_bus::i2c::RefCellDevice;
use mote_firmware::sensors::{Climate, ClimateSample, Supply, SupplySample, TimedI2c};
use mote_firmware::{Board, Context, Failed, Link, LoadMark, Sleeper, Uptime};
use mote_pico::{ChipThermometer, Pico};
use serde::Serialize;

/// The bus, which blocks asleep and not for ever.
pub type Bus = RefCell<TimedI2c<I2c<'static, I2C0, Async>>>;

/// What a sensor has of it.
type Shared = RefCellDevice<'static, TimedI2c<I2c<'static, I2C0, Async>>>;

/// A Pico, an SHTC3 and an INA219.
pub struct Equipped {
    pico: Pico<ChipThermometer>,
    climate: Climate<Shared, Sleeper>,
    supply: Supply<Shared>,
}

/// What can be sampled here.
#[derive(Clone, Copy, PartialEq)]
pub enum Plugin {
    /// Of every Pico.
    Pico(mote_pico::Plugin),
    /// `get_climate`
    Climate,
    /// `get_supply`
    Supply,
}

/// What was sampled.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Sample {
    /// Of every Pico.
    Pico(mote_pico::Sample),
    /// Of `get_climate`.
    Climate(ClimateSample),
    /// Of `get_supply`.
    Supply(SupplySample),
}

impl Equipped {
    /// The sensors share the bus.
    pub fn new(pico: Pico<ChipThermometer>, bus: &'static Bus, sleeper: Sleeper) -> Self {
        Equipped {
            pico,
            climate: Climate::new(RefCellDevice::new(bus), sleeper),
            supply: Supply::new(RefCellDevice::new(bus), 100),
        }
    }
}

impl Board for Equipped {
    type Plugin = Plugin;
    type Baseline = LoadMark;
    type Sample = Sample;

    const NO_BASELINE: LoadMark = LoadMark::ZERO;

    fn plugin(name: &str) -> Option<Plugin> {
        match name {
            "get_climate" => Some(Plugin::Climate),
            "get_supply" => Some(Plugin::Supply),
            _ => Pico::<ChipThermometer>::plugin(name).map(Plugin::Pico),
        }
    }

    fn at_once(plugin: Plugin) -> bool {
        matches!(plugin, Plugin::Pico(plugin) if Pico::<ChipThermometer>::at_once(plugin))
    }

    fn start(&mut self, plugin: Plugin, now: Uptime) -> LoadMark {
        match plugin {
            Plugin::Pico(plugin) => self.pico.start(plugin, now),
            Plugin::Climate | Plugin::Supply => LoadMark::ZERO,
        }
    }

    fn sample(
        &mut self,
        plugin: Plugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<Sample, Failed> {
        Ok(match plugin {
            Plugin::Pico(plugin) => Sample::Pico(self.pico.sample(plugin, baseline, context)?),
            Plugin::Climate => Sample::Climate(self.climate.sample()?),
            Plugin::Supply => Sample::Supply(self.supply.sample()?),
        })
    }

    fn feed(&mut self) {
        self.pico.feed();
    }

    fn link(&mut self, link: Link) {
        self.pico.link(link);
    }
}
