//! `get_temperature`: the sensors of this host, from sysfs (hwmon/sysfs-interface in the kernel's
//! documentation), a file a sensor in thousandths of a degree Celsius:
//!
//! ```text
//! class/hwmon/hwmon2/name          coretemp
//! class/hwmon/hwmon2/temp1_label   Package id 0
//! class/hwmon/hwmon2/temp1_input   45000
//! ```
//!
//! Hosts without such a sensor may have thermal zones, `class/thermal/thermal_zone*/{type,temp}`;
//! where there are both, the zones show the same sensors once more. Virtual machines have neither.

use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mote_core::Envelope;
use serde::Serialize;

use super::kit::file::{lines, number};
use super::kit::items::Items;
use super::kit::rate::round2;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};

/// No more sensors than this are read; the others are counted as omitted.
pub const MAX_SENSORS: usize = 256;

/// Drivers come and go while a host runs: this long after the last look there is another one.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// One sensor, named by its chip and its label, such as `coretemp Package id 0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TemperatureData {
    /// In °C with two decimals.
    celsius: f64,
}

/// Reads a sensor's file; gives °C.
pub fn parse(text: &[u8]) -> Result<f64, Malformed> {
    let line = lines(text).next().unwrap_or_default().trim_ascii();
    let (sign, digits) = match line.strip_prefix(b"-") {
        Some(digits) => (-1.0, digits),
        None => (1.0, line),
    };
    let thousandths = number(digits).ok_or(Malformed("temperature"))?;
    // Adding zero makes -0 plain 0.
    Ok(round2(sign * thousandths as f64 / 1000.0) + 0.0)
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
    file: SourceFile,
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
    /// The temperatures now. A sensor that has none at the moment, for its device sleeps or is
    /// gone, is left out.
    ///
    /// Looks for sensors anew every five minutes, which allocates; else nothing does.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<TemperatureData>, ProbeError> {
        if context.now.saturating_duration_since(self.looked_at) >= LOOK_AGAIN {
            self.look(&mut context.scratch);
            self.looked_at = context.now;
        }
        self.items.clear();
        self.items.omit(self.omitted);
        for sensor in &self.sensors {
            let Ok(text) = sensor.file.read(&mut context.scratch) else {
                continue;
            };
            let celsius = parse(text).map_err(|malformed| sensor.file.malformed(malformed))?;
            let data = TemperatureData { celsius };
            self.items.push(sensor.name.as_bytes(), data);
        }
        Ok(&mut self.items)
    }

    fn look(&mut self, scratch: &mut Scratch) {
        let mut found = chips(&self.sysfs.join("class/hwmon"), scratch);
        if found.is_empty() {
            found = zones(&self.sysfs.join("class/thermal"), scratch);
        }
        self.omitted = found.len().saturating_sub(MAX_SENSORS);
        found.truncate(MAX_SENSORS);
        self.sensors.clear();
        for (name, path) in found {
            match SourceFile::open(path) {
                Ok(file) => {
                    let name = self.unique(name);
                    self.sensors.push(Sensor { name, file });
                }
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

/// Name and path of each temperature of each hwmon chip.
fn chips(folder: &Path, scratch: &mut Scratch) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for chip in numbered(folder, "hwmon", "") {
        let chip_name = text(&chip.join("name"), scratch);
        for input in numbered(&chip, "temp", "_input") {
            let file_name = input.file_name().unwrap_or_default().to_string_lossy();
            let sensor = file_name.trim_end_matches("_input");
            let label = text(&chip.join(format!("{sensor}_label")), scratch);
            let label = label.as_deref().unwrap_or(sensor);
            let name = chip_name.as_ref().map(|chip| format!("{chip} {label}"));
            found.push((name.unwrap_or_else(|| label.to_owned()), input));
        }
    }
    found
}

/// Name and path of each thermal zone.
fn zones(folder: &Path, scratch: &mut Scratch) -> Vec<(String, PathBuf)> {
    let zones = numbered(folder, "thermal_zone", "").into_iter();
    zones
        .map(|zone| {
            let name = text(&zone.join("type"), scratch);
            let name = name.unwrap_or_else(|| "thermal_zone".to_owned());
            (name, zone.join("temp"))
        })
        .collect()
}

/// The files `{prefix}N{suffix}` of a folder in the order of N; none if there is no such folder.
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
    fn zones_are_read_where_no_chip_has_a_sensor() {
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
        assert_eq!(temperature.items.omitted(), 0);
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
