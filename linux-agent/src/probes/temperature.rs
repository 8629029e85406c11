//! `get_temperature`: the sensors of this host, from sysfs (hwmon/sysfs-interface in the kernel's
//! documentation), a file a sensor in thousandths of a degree Celsius:
//!
//! ```text
//! class/hwmon/hwmon2/name          coretemp
//! class/hwmon/hwmon2/temp1_label   Package id 0
//! class/hwmon/hwmon2/temp1_input   45000
//! class/hwmon/hwmon2/temp1_fault   0      if 1, the value is none
//! class/hwmon/hwmon2/temp1_enable  1      if 0, the sensor is off
//! ```
//!
//! and from the thermal zones, `class/thermal/thermal_zone*/{type,temp}`. Some of these are shown once
//! more as an hwmon chip, below the first zone of a type and with its name; those are left out. Virtual
//! machines have neither.

use std::ffi::OsString;
use std::fs::read_dir;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::kit::file::{lines, number, optional};
use super::kit::items::Items;
use super::kit::rate::round2;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};

/// No more sensors than this are read; the others are counted as omitted.
pub const MAX_SENSORS: usize = 256;

/// Look for sensors again after this time: drivers come and go while a host runs.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// One sensor, named by its chip and its label, such as `coretemp Package id 0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TemperatureData {
    /// In °C with two decimals.
    pub celsius: f64,
}

/// Possible temperatures, in °C. Drivers report others for a sensor that is not there, or has no value yet.
const POSSIBLE: RangeInclusive<f64> = -100.0..=200.0;

/// Reads a sensor's file, in °C.
pub fn parse(text: &[u8]) -> Result<f64, Malformed> {
    let line = lines(text).next().unwrap_or_default().trim_ascii();
    let (sign, digits) = match line.strip_prefix(b"-") {
        Some(digits) => (-1.0, digits),
        None => (1.0, line),
    };
    let thousandths = number(digits).ok_or(Malformed("temperature"))?;
    let celsius = sign * thousandths as f64 / 1000.0;
    if !POSSIBLE.contains(&celsius) {
        return Err(Malformed("temperature"));
    }
    // Adding zero makes -0 plain 0.
    Ok(round2(celsius) + 0.0)
}

/// The probe: its sensors, open, and the list that it fills.
pub(crate) struct Temperature {
    sysfs: PathBuf,
    sensors: Vec<Sensor>,
    omitted: usize,
    looked_at: Instant,
    items: Items<TemperatureData>,
}

struct Sensor {
    name: String,
    value: SourceFile,
    fault: Option<SourceFile>,
    enable: Option<SourceFile>,
}

impl Sensor {
    fn open(found: Found) -> Result<Self, ProbeError> {
        let beside = |path: Option<PathBuf>| match path {
            Some(path) => optional(SourceFile::open(path)),
            None => Ok(None),
        };
        Ok(Sensor {
            name: found.name,
            value: SourceFile::open(found.value)?,
            fault: beside(found.fault)?,
            enable: beside(found.enable)?,
        })
    }

    /// What it says now; `None` if it is off.
    fn read(&self, scratch: &mut Scratch) -> Result<Option<f64>, ProbeError> {
        if is(&self.enable, 0, scratch) {
            return Ok(None);
        }
        let no_value = |malformed| self.value.malformed(malformed);
        if is(&self.fault, 1, scratch) {
            return Err(no_value(Malformed("temperature: its sensor has a fault")));
        }
        let celsius = parse(self.value.read(scratch)?).map_err(no_value)?;
        Ok(Some(celsius))
    }
}

/// Whether a file is there and holds this number.
fn is(file: &Option<SourceFile>, wanted: u64, scratch: &mut Scratch) -> bool {
    let text = file.as_ref().and_then(|file| file.read(scratch).ok());
    text.is_some_and(|text| number(text.trim_ascii()) == Some(wanted))
}

impl Sample for Temperature {
    type Data<'a> = &'a mut Items<TemperatureData>;

    /// Finds and opens the sensors. There may be none.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut temperature = Temperature {
            sysfs: roots.sysfs.clone(),
            sensors: Vec::new(),
            omitted: 0,
            looked_at: context.now,
            items: Items::new(MAX_SENSORS),
        };
        temperature.look(&mut context.scratch);
        Ok(temperature)
    }

    /// The temperatures now. A sensor without a value at the moment, or with an impossible one, is left out and
    /// counted. One that is off is left out.
    ///
    /// Allocates only when it looks for sensors again, every five minutes.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<TemperatureData>, ProbeError> {
        if context.now.saturating_duration_since(self.looked_at) >= LOOK_AGAIN {
            self.look(&mut context.scratch);
            self.looked_at = context.now;
        }
        self.items.clear();
        self.items.omit(self.omitted);
        for sensor in &self.sensors {
            match sensor.read(&mut context.scratch) {
                Ok(Some(celsius)) => {
                    let data = TemperatureData { celsius };
                    self.items.push(sensor.name.as_bytes(), data);
                }
                Ok(None) => {}
                Err(_) => self.items.omit(1),
            }
        }
        Ok(&mut self.items)
    }
}

impl Temperature {
    fn look(&mut self, scratch: &mut Scratch) {
        let chips = chips(&self.sysfs.join("class/hwmon"), scratch);
        let zones = zones(&self.sysfs.join("class/thermal"), &chips, scratch);
        let mut found: Vec<Found> = chips.into_iter().flat_map(|chip| chip.sensors).collect();
        found.extend(zones);
        self.omitted = found.len().saturating_sub(MAX_SENSORS);
        found.truncate(MAX_SENSORS);
        self.sensors.clear();
        for mut sensor in found {
            sensor.name = self.unique(sensor.name);
            match Sensor::open(sensor) {
                Ok(sensor) => self.sensors.push(sensor),
                Err(error) if error.is_not_found() => {}
                Err(_) => self.omitted += 1,
            }
        }
    }

    /// Two disks of one model have the same names: the second gets a number.
    fn unique(&self, name: String) -> String {
        let is_taken = |name: &str| self.sensors.iter().any(|sensor| sensor.name == name);
        if !is_taken(&name) {
            return name;
        }
        let mut numbered = (2..).map(|number: u32| format!("{name} #{number}"));
        numbered.find(|name| !is_taken(name)).unwrap_or(name)
    }
}

/// A sensor that was seen and is not opened yet.
struct Found {
    name: String,
    value: PathBuf,
    fault: Option<PathBuf>,
    enable: Option<PathBuf>,
}

/// A chip of hwmon.
struct Chip {
    /// Its folder, `hwmon2`.
    folder: OsString,
    name: Option<String>,
    sensors: Vec<Found>,
}

/// Each chip, with its temperatures.
fn chips(folder: &Path, scratch: &mut Scratch) -> Vec<Chip> {
    let chips = numbered(folder, "hwmon", "").into_iter();
    chips
        .map(|path| {
            let folder = path.file_name().unwrap_or_default().to_owned();
            // Old drivers have their files in the folder of the device.
            let mut at = |path: &Path| (text(&path.join("name"), scratch), inputs(path));
            let mut found = at(&path);
            if found.1.is_empty() {
                found = at(&path.join("device"));
            }
            let (name, inputs) = found;
            let sensors = inputs.into_iter();
            let sensors = sensors.map(|input| sensor(name.as_deref(), input, scratch));
            Chip {
                folder,
                sensors: sensors.collect(),
                name,
            }
        })
        .collect()
}

fn inputs(chip: &Path) -> Vec<PathBuf> {
    numbered(chip, "temp", "_input")
}

fn sensor(chip_name: Option<&str>, input: PathBuf, scratch: &mut Scratch) -> Found {
    let file_name = input.file_name().unwrap_or_default().to_string_lossy();
    let sensor = file_name.trim_end_matches("_input");
    let beside = |what: &str| input.with_file_name(format!("{sensor}_{what}"));
    let label = text(&beside("label"), scratch);
    let label = label.as_deref().unwrap_or(sensor);
    Found {
        name: chip_name.map_or_else(|| label.to_owned(), |chip| format!("{chip} {label}")),
        fault: Some(beside("fault")),
        enable: Some(beside("enable")),
        value: input,
    }
}

/// Each thermal zone that is not one of `chips` with temperatures.
fn zones(folder: &Path, chips: &[Chip], scratch: &mut Scratch) -> Vec<Found> {
    let with_sensors = || chips.iter().filter(|chip| !chip.sensors.is_empty());
    let mut found = Vec::new();
    for zone in numbered(folder, "thermal_zone", "") {
        let name = text(&zone.join("type"), scratch);
        // hwmon allows no dash in the name of a chip.
        let plain = |name: &str| name.replace('-', "_");
        let is_named = |chip: &Chip| match (&name, &chip.name) {
            (Some(zone), Some(chip)) => plain(zone) == plain(chip),
            _ => false,
        };
        let mut known = with_sensors();
        if !known.any(|chip| zone.join(&chip.folder).exists() || is_named(chip)) {
            found.push(Found {
                name: name.unwrap_or_else(|| "thermal_zone".to_owned()),
                value: zone.join("temp"),
                fault: None,
                enable: None,
            });
        }
    }
    found
}

/// The files `{prefix}N{suffix}` of a folder in the order of N. Empty if there is no such folder.
fn numbered(folder: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?;
            Some((number(name.as_bytes())?, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).collect()
}

/// A file's first line, if it has one.
fn text(path: &Path, scratch: &mut Scratch) -> Option<String> {
    let file = SourceFile::open(path).ok()?;
    let line = lines(file.read(scratch).ok()?).next()?.trim_ascii();
    (!line.is_empty()).then(|| String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests;
