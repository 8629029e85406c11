//! What a firmware in C says of itself, read and checked.

use core::ffi::c_char;
use core::slice;

use mote_firmware::{ClientId, Interval, Ram};

use crate::board::{Firmware, MotePlugin};
use crate::{MOTE_NAME, MOTE_SERVICES, MOTE_WORD, MoteError, text};

/// A service that a node runs from its start.
#[derive(Debug)]
#[repr(C)]
pub struct MoteService {
    /// As the server names it: at most MOTE_NAME bytes.
    pub name: *const c_char,
    /// `get_mcu_load`, `get_mcu_ram`, `host_alive_check`, or one of the firmware's own.
    pub plugin: *const c_char,
    /// From one sample to the next, in seconds.
    pub interval_s: u32,
}

/// What a node is told when it begins. All zeros are a node with the number 0 and without anything to sample but
/// `host_alive_check`.
#[derive(Debug)]
#[repr(C)]
pub struct MoteConfig {
    /// Its name at the server, of at most 63 bytes; null if it has a number.
    pub client_name: *const c_char,
    /// Its number at the server.
    pub client_number: u32,
    /// The counter by which load is measured: it runs up through all 32 bits, in sleep too, and fast enough for 1000
    /// ticks between two samples, but not half way round between two sleeps. It may be called with interrupts masked.
    /// Null: there is no `get_mcu_load`.
    pub ticks: Option<extern "C" fn() -> u32>,
    /// Where RAM begins; null: there is no `get_mcu_ram`.
    pub ram_start: *const u32,
    /// How far the stack may grow down. From here to its start it was painted with 0xCCCCCCCC at reset.
    pub stack_end: *const u32,
    /// Where the stack starts, above the end of RAM.
    pub stack_start: *const u32,
    /// Why the chip was reset: MOTE_RESET_… together.
    pub reset_bits: u32,
    /// How often the watchdog has bitten since power came.
    pub watchdog_resets: u32,
    /// The firmware's own plugins.
    pub plugins: *const MotePlugin,
    /// How many there are: at most 16.
    pub plugin_count: usize,
    /// What runs until there are orders.
    pub services: *const MoteService,
    /// How many there are: at most MOTE_SERVICES.
    pub service_count: usize,
}

const CLIENT_NAME: usize = 63;
const PLUGINS: usize = 16;

/// What `mote_init` was told, with nothing wrong in it.
pub struct Begin {
    pub client_id: ClientId<'static>,
    pub firmware: Firmware,
    pub ram: Ram,
    pub reset_bits: u32,
    pub watchdog_resets: u32,
    pub services: Services,
}

/// Name, plugin and interval in seconds of each.
pub struct Services {
    list: [(&'static str, &'static str, u32); MOTE_SERVICES],
    count: usize,
}

impl Services {
    pub fn list(&self) -> &[(&'static str, &'static str, u32)] {
        self.list.get(..self.count).unwrap_or_default()
    }
}

/// # Safety
///
/// As `mote_init` asks of `config`.
pub unsafe fn read(config: &MoteConfig) -> Result<Begin, MoteError> {
    // SAFETY: the caller holds to it.
    let (plugins, listed, ram) = unsafe {
        (
            list(config.plugins, config.plugin_count, PLUGINS)?,
            list(config.services, config.service_count, MOTE_SERVICES)?,
            ram(config)?,
        )
    };
    plugins.iter().try_for_each(check)?;
    let client_id = match config.client_name.is_null() {
        true => ClientId::Number(config.client_number),
        false => ClientId::Name(word(config.client_name, CLIENT_NAME)?),
    };
    let mut services = [("", "", 0); MOTE_SERVICES];
    for (index, (place, service)) in services.iter_mut().zip(listed).enumerate() {
        let name = word(service.name, MOTE_NAME)?;
        let before = listed.iter().take(index);
        let mut names = before.map(|it| word(it.name, MOTE_NAME));
        if Interval::from_secs(service.interval_s).is_none() || names.any(|it| it == Ok(name)) {
            return Err(MoteError::Service);
        }
        *place = (name, word(service.plugin, MOTE_WORD)?, service.interval_s);
    }
    Ok(Begin {
        client_id,
        firmware: Firmware {
            ticks: config.ticks,
            has_ram: !config.ram_start.is_null(),
            plugins,
        },
        ram,
        reset_bits: config.reset_bits,
        watchdog_resets: config.watchdog_resets,
        services: Services {
            list: services,
            count: listed.len(),
        },
    })
}

/// # Safety
///
/// `first` is null or points at `count` of them that stay as long as they are used.
unsafe fn list<'a, T>(first: *const T, count: usize, max: usize) -> Result<&'a [T], MoteError> {
    match count {
        0 => Ok(&[]),
        _ if first.is_null() => Err(MoteError::Null),
        _ if count > max => Err(MoteError::TooMany),
        // SAFETY: it is not null, and the caller holds to the rest.
        _ => Ok(unsafe { slice::from_raw_parts(first, count) }),
    }
}

fn word(text: *const c_char, max: usize) -> Result<&'static str, MoteError> {
    if text.is_null() {
        return Err(MoteError::Null);
    }
    // SAFETY: `mote_init` asks that all texts are some, and stay.
    unsafe { text::read(text, max) }.ok_or(MoteError::Text)
}

/// Whether a plugin's reports will be reports.
fn check(plugin: &MotePlugin) -> Result<(), MoteError> {
    if plugin.sample.is_none() {
        return Err(MoteError::Null);
    }
    word(plugin.name, MOTE_WORD)?;
    let is_plain = |it: &str| {
        it.bytes()
            .all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    for (index, field) in plugin.fields().enumerate() {
        let name = field.filter(|it| is_plain(it) && *it != "status");
        if name.is_none() || plugin.fields().take(index).any(|it| it == name) {
            return Err(MoteError::Text);
        }
    }
    Ok(())
}

/// # Safety
///
/// The words between the ends of the stack may be read at any time.
unsafe fn ram(config: &MoteConfig) -> Result<Ram, MoteError> {
    let ends = [config.ram_start, config.stack_end, config.stack_start];
    let [start, stack_end, stack_start] = ends;
    if !start.is_null() {
        let ascend = start <= stack_end && stack_end <= stack_start;
        if !ascend || !ends.iter().all(|it| it.is_aligned()) {
            return Err(MoteError::Ram);
        }
    }
    // SAFETY: they are aligned and ascend, and the caller holds to the rest. Without a start it is never asked.
    Ok(unsafe { Ram::new(start, stack_end, stack_start) })
}
