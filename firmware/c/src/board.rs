//! What a firmware in C can be asked to sample: what every microcontroller has, and its own plugins.

use core::cell::Cell;
use core::ffi::{c_char, c_void};

use critical_section::Mutex;
use mote_firmware::{
    Board, Context, Failed, LoadMark, LoadMeter, Mcu, McuPlugin, McuSample, Reset, Uptime, Value,
};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::{
    MOTE_FIELDS, MOTE_RESET_BROWN_OUT, MOTE_RESET_EXTERNAL, MOTE_RESET_POWER_ON,
    MOTE_RESET_SOFTWARE, MOTE_RESET_WATCHDOG, MOTE_WORD, text,
};

/// Takes a sample: writes a value for each field to `values` and returns null, or a sentence that says why there is
/// none, which stays for ever. It has a millisecond or so. What it asks of the node in turn is MOTE_ERROR_BUSY.
pub type MoteSampler =
    Option<unsafe extern "C" fn(context: *mut c_void, values: *mut i32) -> *const c_char>;

/// What the firmware itself can be asked to sample.
#[derive(Debug)]
#[repr(C)]
pub struct MotePlugin {
    /// By which services name it. It goes before a plugin of the library's with the same name.
    pub name: *const c_char,
    /// The names of its values in the report, each with its unit; null after the last one.
    pub fields: [*const c_char; MOTE_FIELDS],
    /// Takes a sample.
    pub sample: MoteSampler,
    /// For `sample`.
    pub context: *mut c_void,
}

// SAFETY: `mote_init` asks that it never changes. `context` goes to `sample` alone, out of `mote_poll`.
unsafe impl Sync for MotePlugin {}

/// What a firmware has once, however many nodes.
#[derive(Clone, Copy)]
pub struct Firmware {
    pub ticks: Option<extern "C" fn() -> u32>,
    pub has_ram: bool,
    pub plugins: &'static [MotePlugin],
}

static FIRMWARE: Mutex<Cell<Firmware>> = Mutex::new(Cell::new(Firmware {
    ticks: None,
    has_ram: false,
    plugins: &[],
}));

pub static LOAD: LoadMeter = LoadMeter::new(|| firmware().ticks.map_or(0, |ticks| ticks()));

pub static RESET: Reset = Reset::new(&[
    (MOTE_RESET_POWER_ON, "power-on"),
    (MOTE_RESET_EXTERNAL, "external"),
    (MOTE_RESET_BROWN_OUT, "brown-out"),
    (MOTE_RESET_WATCHDOG, "watchdog"),
    (MOTE_RESET_SOFTWARE, "software"),
]);

/// A sentence of `sample` has at most so many bytes.
const REASON: usize = 96;

pub fn set(firmware: Firmware) {
    critical_section::with(|cs| FIRMWARE.borrow(cs).set(firmware));
}

fn firmware() -> Firmware {
    critical_section::with(|cs| FIRMWARE.borrow(cs).get())
}

/// The probes of a firmware in C.
pub struct CBoard {
    pub mcu: Mcu,
    /// Whether its own `mote_init` was told of RAM; what the firmware has may be another node's.
    pub has_ram: bool,
}

#[derive(Clone, Copy)]
pub enum Plugin {
    Mcu(McuPlugin),
    Own(&'static MotePlugin),
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Plugin::Mcu(one), Plugin::Mcu(other)) => one == other,
            (Plugin::Own(one), Plugin::Own(other)) => core::ptr::eq(*one, *other),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, serde::Serialize)]
#[serde(untagged)]
pub enum Sample {
    Mcu(McuSample),
    Own(OwnSample),
}

#[derive(Clone, Copy)]
pub struct OwnSample {
    plugin: &'static MotePlugin,
    values: [i32; MOTE_FIELDS],
}

impl MotePlugin {
    pub(crate) fn name(&self) -> Option<&'static str> {
        // SAFETY: `mote_init` asks that the text is one, and stays.
        unsafe { text::read(self.name, MOTE_WORD) }
    }

    /// Each field up to the null after the last one; `None` for one that is no name.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Option<&'static str>> {
        let fields = self.fields.iter().take_while(|it| !it.is_null());
        // SAFETY: as above.
        fields.map(|it| unsafe { text::read(*it, MOTE_WORD) })
    }
}

impl Board for CBoard {
    type Plugin = Plugin;
    type Baseline = LoadMark;
    type Sample = Sample;

    const NO_BASELINE: LoadMark = LoadMark::ZERO;

    fn plugin(name: &str) -> Option<Plugin> {
        let firmware = firmware();
        let mut own = firmware.plugins.iter();
        if let Some(plugin) = own.find(|it| it.name() == Some(name)) {
            return Some(Plugin::Own(plugin));
        }
        let plugin = Mcu::plugin(name)?;
        let is_there = match plugin {
            McuPlugin::Load => firmware.ticks.is_some(),
            McuPlugin::Ram => firmware.has_ram,
            McuPlugin::Alive => true,
        };
        is_there.then_some(Plugin::Mcu(plugin))
    }

    fn start(&mut self, plugin: Plugin, now: Uptime) -> LoadMark {
        match plugin {
            Plugin::Mcu(plugin) => self.mcu.start(plugin, now),
            Plugin::Own(_) => Self::NO_BASELINE,
        }
    }

    fn sample(
        &mut self,
        plugin: Plugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<Sample, Failed> {
        match plugin {
            Plugin::Mcu(McuPlugin::Ram) if !self.has_ram => {
                Err(Failed("mote_init was told of no RAM for this node"))
            }
            Plugin::Mcu(plugin) => {
                let sample = self.mcu.sample(plugin, baseline, context);
                sample.map(Sample::Mcu)
            }
            Plugin::Own(plugin) => sample(plugin).map(Sample::Own),
        }
    }
}

fn sample(plugin: &'static MotePlugin) -> Result<OwnSample, Failed> {
    let mut values = [0; MOTE_FIELDS];
    let Some(sample) = plugin.sample else {
        return Err(Failed("this plugin samples nothing"));
    };
    // SAFETY: it is the caller's own function with the context that it has for it, and there is room for as many
    // values as its type says.
    let reason = unsafe { sample(plugin.context, values.as_mut_ptr()) };
    if reason.is_null() {
        return Ok(OwnSample { plugin, values });
    }
    // SAFETY: the type of `sample` asks that the sentence is one, and stays.
    let reason = unsafe { text::read(reason, REASON) };
    Err(Failed(
        reason.unwrap_or("the reason is empty, too long or not UTF-8"),
    ))
}

impl Serialize for OwnSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_struct("OwnSample", 1 + MOTE_FIELDS)?;
        data.serialize_field("status", &Value::Number(0))?;
        for (name, value) in self.plugin.fields().zip(&self.values) {
            // `mote_init` has seen that it is one.
            data.serialize_field(name.unwrap_or_default(), &Value::Signed(*value))?;
        }
        data.end()
    }
}
