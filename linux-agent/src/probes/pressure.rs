//! `get_pressure`: the share of time in which tasks waited for a CPU, memory or I/O, from
//! `/proc/pressure/{cpu,memory,io}` (the kernel's Documentation/accounting/psi.rst):
//!
//! ```text
//! some avg10=1.49 avg60=0.37 avg300=0.34 total=6040626
//! full avg10=1.49 avg60=0.36 avg300=0.32 total=5690626
//! ```

use std::io::ErrorKind;

use mote_core::Status;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::kit::scan::Scan;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// Pressure of the resources that the kernel measures. Flat in a report: `cpu_some_avg10`, …,
/// `io_full_avg300`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PressureData {
    /// Waiting for a CPU.
    cpu: Option<Pressure>,
    /// Waiting for memory.
    memory: Option<Pressure>,
    /// Waiting for I/O.
    io: Option<Pressure>,
    /// Resources whose file could not be read. Left out of a report while it is 0.
    omitted: u32,
}

/// Pressure of one resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Averages,
    /// All tasks that were not idle waited. Kernels before 5.13 do not have it for the CPU.
    full: Option<Averages>,
}

/// Shares of the time, in percent, as the kernel averages them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Averages {
    /// Over the last 10 seconds.
    avg10: f64,
    /// Over the last minute.
    avg60: f64,
    /// Over the last 5 minutes.
    avg300: f64,
}

/// Reads the file of one resource.
pub fn parse(text: &[u8]) -> Result<Pressure, Malformed> {
    let mut scan = Scan::new(text);
    let some = averages(&mut scan, b"some").ok_or(Malformed("`some` line"))?;
    let full = if scan.rest().is_empty() {
        None
    } else {
        Some(averages(&mut scan, b"full").ok_or(Malformed("`full` line"))?)
    };
    Ok(Pressure { some, full })
}

fn averages(scan: &mut Scan<'_>, kind: &[u8]) -> Option<Averages> {
    scan.expect(kind)?;
    let mut average = |name: &[u8]| {
        scan.expect(name)?;
        scan.decimal()
    };
    let averages = Averages {
        avg10: average(b" avg10=")?,
        avg60: average(b" avg60=")?,
        avg300: average(b" avg300=")?,
    };
    scan.next_line().then_some(averages)
}

type Names = [&'static str; 3];

/// The names of a resource's averages in a report: some, full.
const CPU: [Names; 2] = [
    ["cpu_some_avg10", "cpu_some_avg60", "cpu_some_avg300"],
    ["cpu_full_avg10", "cpu_full_avg60", "cpu_full_avg300"],
];
const MEMORY: [Names; 2] = [
    [
        "memory_some_avg10",
        "memory_some_avg60",
        "memory_some_avg300",
    ],
    [
        "memory_full_avg10",
        "memory_full_avg60",
        "memory_full_avg300",
    ],
];
const IO: [Names; 2] = [
    ["io_some_avg10", "io_some_avg60", "io_some_avg300"],
    ["io_full_avg10", "io_full_avg60", "io_full_avg300"],
];

impl Serialize for PressureData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_struct("PressureData", 20)?;
        data.serialize_field("status", &Status::OK)?;
        for (pressure, [some, full]) in [(&self.cpu, CPU), (&self.memory, MEMORY), (&self.io, IO)] {
            let of_some = pressure.map(|pressure| pressure.some);
            let of_full = pressure.and_then(|pressure| pressure.full);
            for (averages, [avg10, avg60, avg300]) in [(of_some, some), (of_full, full)] {
                let Some(averages) = averages else { continue };
                data.serialize_field(avg10, &averages.avg10)?;
                data.serialize_field(avg60, &averages.avg60)?;
                data.serialize_field(avg300, &averages.avg300)?;
            }
        }
        if self.omitted > 0 {
            data.serialize_field("omitted", &self.omitted)?;
        }
        data.end()
    }
}

/// The probe: the three files, open, as far as the kernel has them.
pub(crate) struct PressureFiles {
    cpu: Option<SourceFile>,
    memory: Option<SourceFile>,
    io: Option<SourceFile>,
    /// Files that are there and could not be opened.
    closed: u32,
}

impl Sample for PressureFiles {
    type Data<'a> = PressureData;

    /// Opens the files. Kernels that do not measure pressure do not have them.
    fn open(roots: &Roots, _context: &mut Context) -> Result<Self, ProbeError> {
        let mut failed = None;
        let mut closed = 0;
        let mut open = |name: &str| {
            let path = roots.procfs.join("pressure").join(name);
            let opened = SourceFile::open(path).map_err(explained);
            let told = opened.map_err(|error| {
                closed += u32::from(!matches!(error, ProbeError::Unsupported { .. }));
                failed.get_or_insert(error);
            });
            told.ok()
        };
        let (cpu, memory, io) = (open("cpu"), open("memory"), open("io"));
        match failed {
            Some(error) if error.is_exhaustion() => Err(error),
            Some(error) if cpu.is_none() && memory.is_none() && io.is_none() => Err(error),
            _ => Ok(PressureFiles {
                cpu,
                memory,
                io,
                closed,
            }),
        }
    }

    /// Pressure as it is now.
    fn sample(&mut self, context: &mut Context) -> Result<PressureData, ProbeError> {
        let mut failed = None;
        let mut omitted = self.closed;
        let mut read = |file: &Option<SourceFile>| {
            let file = file.as_ref()?;
            let text = file.read_short(&mut context.scratch).map_err(explained);
            let pressure =
                text.and_then(|text| parse(text).map_err(|malformed| file.malformed(malformed)));
            let told = pressure.map_err(|error| {
                omitted += 1;
                failed.get_or_insert(error);
            });
            told.ok()
        };
        let (cpu, memory, io) = (read(&self.cpu), read(&self.memory), read(&self.io));
        match failed {
            Some(error) if cpu.is_none() && memory.is_none() && io.is_none() => Err(error),
            _ => Ok(PressureData {
                cpu,
                memory,
                io,
                omitted,
            }),
        }
    }
}

/// A kernel that was built with it but started without it may have the files and refuse them.
fn explained(error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Read { path, cause }
            if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) =>
        {
            ProbeError::Unsupported {
                path,
                needs: "Linux 4.20 or later, built with CONFIG_PSI and started with psi=1",
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/pressure/memory");

    fn opened(procfs: &Path) -> (Result<PressureFiles, ProbeError>, Context) {
        let roots = Roots {
            procfs: procfs.to_owned(),
            ..Roots::default()
        };
        let mut context = Context::new();
        (PressureFiles::open(&roots, &mut context), context)
    }

    #[test]
    fn the_recorded_files_become_flat_names() {
        let fixtures = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/proc"
        ));
        let (files, mut context) = opened(fixtures);
        let data = files.unwrap().sample(&mut context).unwrap();
        let json = serde_json::to_value(data).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 19);
        for resource in ["cpu", "memory", "io"] {
            let text = std::fs::read_to_string(fixtures.join("pressure").join(resource)).unwrap();
            for line in text.lines() {
                let (kind, averages) = line.split_once(' ').unwrap();
                for average in averages.split(' ').take(3) {
                    let (name, value) = average.split_once('=').unwrap();
                    let field = &json[format!("{resource}_{kind}_{name}")];
                    assert_eq!(field.as_f64(), value.parse().ok(), "{resource} {average}");
                }
            }
        }
    }

    #[test]
    fn a_resource_without_full() {
        let pressure = parse(b"some avg10=1.00 avg60=2.50 avg300=3.75 total=1\n").unwrap();
        assert_eq!(pressure.some.avg60, 2.5);
        assert_eq!(pressure.full, None);
        let data = PressureData {
            cpu: Some(pressure),
            memory: Some(pressure),
            io: Some(pressure),
            omitted: 0,
        };
        let json = serde_json::to_value(data).unwrap();
        assert_eq!(json["io_some_avg300"], 3.75);
        assert_eq!(json.as_object().unwrap().len(), 10);
    }

    #[test]
    fn a_resource_that_cannot_be_read_hides_no_other() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("pressure");
        std::fs::create_dir(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let some = "some avg10=1.00 avg60=2.50 avg300=3.75 total=1\n";
        let json = |files: &mut PressureFiles, context: &mut Context| {
            Ok::<_, ProbeError>(serde_json::to_value(files.sample(context)?).unwrap())
        };
        // Without the file of one resource there is nothing to miss.
        write("cpu", some);
        write("io", some);
        let (files, mut context) = opened(tree.path());
        let data = json(&mut files.unwrap(), &mut context).unwrap();
        let names: BTreeSet<_> = data
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = [
            "cpu_some_avg10",
            "cpu_some_avg300",
            "cpu_some_avg60",
            "io_some_avg10",
            "io_some_avg300",
            "io_some_avg60",
            "status",
        ];
        assert_eq!(names, BTreeSet::from(expected));
        // One that is there and says nothing is missed.
        std::fs::create_dir(folder.join("memory")).unwrap();
        let (files, mut context) = opened(tree.path());
        let mut files = files.unwrap();
        assert_eq!(json(&mut files, &mut context).unwrap()["omitted"], 1);
        write("io", "odd\n");
        let data = json(&mut files, &mut context).unwrap();
        assert_eq!(
            (&data["omitted"], &data["cpu_some_avg60"]),
            (&2.into(), &2.5.into())
        );
        assert_eq!(data["io_some_avg60"], serde_json::Value::Null);
        write("cpu", "some avg10=");
        let error = json(&mut files, &mut context).unwrap_err().to_string();
        assert!(
            error.ends_with("pressure/cpu: no valid `some` line"),
            "{error}"
        );
    }

    #[test]
    fn a_kernel_without_it_says_what_it_needs() {
        let error = opened(Path::new("/nowhere")).0.err().unwrap();
        assert!(matches!(error, ProbeError::Unsupported { .. }));
        assert_eq!(
            error.to_string(),
            "/nowhere/pressure/cpu: needs Linux 4.20 or later, built with CONFIG_PSI and started with psi=1"
        );
    }

    #[test]
    fn a_cut_file_has_whole_lines_or_nothing() {
        let whole = parse(RECORDED).unwrap();
        let first = RECORDED.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in 0..RECORDED.len() {
            let part = parse(&RECORDED[..cut]);
            if cut == first {
                assert_eq!(part.unwrap().some, whole.some);
            } else {
                assert!(part.is_err(), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
            let _ = parse(&text);
            let _ = parse(&[&RECORDED[..cut], &text].concat());
        }
    }
}
