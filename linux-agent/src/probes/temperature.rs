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

use mote_core::Envelope;
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

    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(self.sample(context)?.encode(envelope, buffer)?)
    }
}

impl Temperature {
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures")
            .join(name)
    }

    fn open(sysfs: &Path) -> (Context, Temperature) {
        let roots = Roots {
            sysfs: sysfs.to_owned(),
            ..Roots::default()
        };
        let mut context = Context::new();
        let temperature = Temperature::open(&roots, &mut context).unwrap();
        (context, temperature)
    }

    fn sample(context: &mut Context, temperature: &mut Temperature) -> Vec<(String, f64)> {
        let items = temperature.sample(context).unwrap();
        let plain = |(name, data): (&str, &TemperatureData)| (name.to_owned(), data.celsius);
        items.iter().map(plain).collect()
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn sensors_are_named_by_chip_and_label_and_never_alike() {
        let (mut context, mut temperature) = open(&fixture("sys"));
        let expected = [
            ("coretemp Package id 0", 45.0),
            ("coretemp Core 0", 43.0),
            ("nvme Composite", 38.85),
            ("nvme Composite #2", 41.85),
            ("jc42 temp1", -3.25),
        ];
        let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
        assert_eq!(sample(&mut context, &mut temperature), expected);
    }

    #[test]
    fn zones_are_found_when_a_driver_comes() {
        let tree = tempfile::tempdir().unwrap();
        let (mut context, mut temperature) = open(tree.path());
        assert_eq!(sample(&mut context, &mut temperature), []);

        write(tree.path().join("class/hwmon/hwmon0/name"), "acpi_fan\n");
        write(
            tree.path().join("class/thermal/cooling_device0/type"),
            "Fan\n",
        );
        write(
            tree.path().join("class/thermal/thermal_zone0/type"),
            "cpu-thermal\n",
        );
        write(
            tree.path().join("class/thermal/thermal_zone0/temp"),
            "51121\n",
        );
        // Not yet: it looked a moment ago.
        assert_eq!(sample(&mut context, &mut temperature), []);
        context.now += LOOK_AGAIN;
        let expected = [("cpu-thermal".to_owned(), 51.12)];
        assert_eq!(sample(&mut context, &mut temperature), expected);
    }

    #[test]
    fn a_sensor_that_cannot_be_read_is_left_out() {
        let tree = tempfile::tempdir().unwrap();
        let chip = tree.path().join("class/hwmon/hwmon0");
        write(chip.join("temp2_input"), "20000\n");
        // It opens, and reading what is at address 0 of this process is EIO, as of a sensor asleep.
        std::os::unix::fs::symlink("/proc/self/mem", chip.join("temp1_input")).unwrap();
        let (mut context, mut temperature) = open(tree.path());
        let expected = [("temp2".to_owned(), 20.0)];
        assert_eq!(sample(&mut context, &mut temperature), expected);
        assert_eq!(temperature.items.omitted(), 1);
    }

    #[test]
    fn an_odd_sensor_is_counted_and_hides_no_other() {
        let odd = [
            "",
            "\n",
            "N/A\n",
            "45.5\n",
            "45000",
            "-100001\n",
            "200001\n",
            "127000000\n",
            "\u{0}\n",
        ];
        for text in odd {
            let tree = tempfile::tempdir().unwrap();
            write(tree.path().join("class/hwmon/hwmon0/temp1_input"), text);
            write(
                tree.path().join("class/hwmon/hwmon1/temp1_input"),
                "-100000\n",
            );
            write(
                tree.path().join("class/hwmon/hwmon1/temp2_input"),
                "200000\n",
            );
            write(tree.path().join("class/thermal/thermal_zone0/temp"), text);
            write(
                tree.path().join("class/thermal/thermal_zone1/temp"),
                "1000\n",
            );
            let (mut context, mut temperature) = open(tree.path());
            let expected = [
                ("temp1 #2", -100.0),
                ("temp2", 200.0),
                ("thermal_zone #2", 1.0),
            ];
            let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
            assert_eq!(sample(&mut context, &mut temperature), expected, "{text:?}");
            assert_eq!(temperature.items.omitted(), 2, "{text:?}");
        }
    }

    #[test]
    fn a_sensor_with_a_fault_is_counted_and_one_that_is_off_is_not() {
        let tree = tempfile::tempdir().unwrap();
        let chip = tree.path().join("class/hwmon/hwmon0");
        for sensor in ["temp1", "temp2", "temp3"] {
            write(chip.join(format!("{sensor}_input")), "20000\n");
        }
        write(chip.join("temp1_fault"), "1\n");
        write(chip.join("temp2_enable"), "0\n");
        write(chip.join("temp3_fault"), "0\n");
        write(chip.join("temp3_enable"), "1\n");
        let (mut context, mut temperature) = open(tree.path());
        let expected = [("temp3".to_owned(), 20.0)];
        assert_eq!(sample(&mut context, &mut temperature), expected);
        assert_eq!(temperature.items.omitted(), 1);
        // Both are asked each time.
        write(chip.join("temp1_fault"), "0\n");
        write(chip.join("temp2_enable"), "1\n");
        assert_eq!(sample(&mut context, &mut temperature).len(), 3);
        assert_eq!(temperature.items.omitted(), 0);
    }

    #[test]
    fn zones_that_no_chip_shows_are_sensors_too() {
        let tree = tempfile::tempdir().unwrap();
        let hwmon = |path: &str| tree.path().join("class/hwmon").join(path);
        let thermal = |path: &str| tree.path().join("class/thermal").join(path);
        write(hwmon("hwmon0/name"), "nvme\n");
        write(hwmon("hwmon0/temp1_input"), "38000\n");
        // The chip of the first two zones, which are of one type, and of the third, by another name.
        write(hwmon("hwmon1/name"), "soc_thermal\n");
        write(hwmon("hwmon1/temp1_input"), "50000\n");
        write(hwmon("hwmon1/temp2_input"), "51000\n");
        write(hwmon("hwmon2/name"), "other\n");
        write(hwmon("hwmon2/temp1_input"), "60000\n");
        // A chip without temperatures shows nothing of a zone.
        write(hwmon("hwmon3/name"), "fan\n");
        let zones = [
            "soc-thermal",
            "soc-thermal",
            "gpu",
            "fan",
            "x86_pkg_temp",
            "nvme2",
        ];
        for (number, kind) in zones.iter().enumerate() {
            write(
                thermal(&format!("thermal_zone{number}/type")),
                &format!("{kind}\n"),
            );
            write(thermal(&format!("thermal_zone{number}/temp")), "70000\n");
        }
        write(thermal("thermal_zone0/hwmon1/name"), "soc_thermal\n");
        write(thermal("thermal_zone2/hwmon2/name"), "other\n");
        write(thermal("thermal_zone3/hwmon3/name"), "fan\n");
        let (mut context, mut temperature) = open(tree.path());
        let expected = [
            ("nvme temp1", 38.0),
            ("soc_thermal temp1", 50.0),
            ("soc_thermal temp2", 51.0),
            ("other temp1", 60.0),
            ("fan", 70.0),
            ("x86_pkg_temp", 70.0),
            ("nvme2", 70.0),
        ];
        let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
        assert_eq!(sample(&mut context, &mut temperature), expected);
        assert_eq!(temperature.items.omitted(), 0);
    }

    #[test]
    fn old_drivers_have_their_files_with_the_device() {
        let tree = tempfile::tempdir().unwrap();
        let device = tree.path().join("class/hwmon/hwmon0/device");
        write(device.join("name"), "w83627hf\n");
        write(device.join("temp2_input"), "31000\n");
        let (mut context, mut temperature) = open(tree.path());
        let expected = [("w83627hf temp2".to_owned(), 31.0)];
        assert_eq!(sample(&mut context, &mut temperature), expected);
    }

    #[test]
    fn a_fifo_is_no_sensor() {
        let tree = tempfile::tempdir().unwrap();
        let chip = tree.path().join("class/hwmon/hwmon0");
        write(chip.join("temp2_input"), "20000\n");
        for name in ["name", "temp1_input", "temp2_label"] {
            nix::unistd::mkfifo(&chip.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let (mut context, mut temperature) = open(tree.path());
        let expected = [("temp2".to_owned(), 20.0)];
        assert_eq!(sample(&mut context, &mut temperature), expected);
        assert_eq!(temperature.items.omitted(), 1);
    }

    #[test]
    fn sensors_beyond_the_bound_are_counted() {
        let tree = tempfile::tempdir().unwrap();
        for number in 0..MAX_SENSORS + 3 {
            write(
                tree.path()
                    .join(format!("class/hwmon/hwmon0/temp{number}_input")),
                "1000\n",
            );
        }
        let (mut context, mut temperature) = open(tree.path());
        assert_eq!(sample(&mut context, &mut temperature).len(), MAX_SENSORS);
        assert_eq!(temperature.items.omitted(), 3);
    }

    #[test]
    fn thousandths_become_degrees() {
        assert_eq!(parse(b"45678\n"), Ok(45.68));
        assert_eq!(parse(b"-500\n"), Ok(-0.5));
        assert!(parse(b"-0\n").unwrap().is_sign_positive());
        let whole = b"-12345\n";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for junk in [
            &b""[..],
            b"\n",
            b"--1\n",
            b"1.5\n",
            b"\xff\0\n",
            b"99999999999999999999\n",
        ] {
            assert!(parse(junk).is_err(), "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(text: Vec<u8>) {
            let celsius = parse(&text);
            prop_assert!(celsius.is_err() || celsius.is_ok_and(f64::is_finite));
        }
    }
}
