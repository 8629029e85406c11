//! The largest and the oddest hosts, as files that the probes read.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mote_agent::probes::{Context, MAX_REPORT, PROBES, Probe, ProbeError, Roots, Sampler};
use mote_core::{ClientId, Envelope, Stamp};
use serde_json::Value;

#[test]
fn a_host_of_512_cpus() {
    let host = Host::new();
    host.write("stat", stat(1_000));
    let mut cpu = host.open("get_linux_cpu").unwrap();
    host.write("stat", stat(1_000 + 512 * 100));
    let data = cpu.sample(1).unwrap();
    assert_eq!(data["user"], 25.0);
    assert_eq!(data["system"], 25.0);
    assert_eq!(data["idle"], 50.0);
}

/// Ticks of 512 CPUs and the counts of 8,192 interrupts: over 64 KiB.
fn stat(ticks: u64) -> String {
    let mut text = format!("cpu  {ticks} 0 {ticks} {} 0 0 0 0 0 0\n", ticks * 2);
    for cpu in 0..512 {
        writeln!(text, "cpu{cpu} {0} 0 {0} {0} 0 0 0 0 0 0", ticks / 512).unwrap();
    }
    text.push_str("intr 123456789012");
    for interrupt in 0..8192 {
        write!(text, " {}", interrupt * 1000).unwrap();
    }
    text.push_str("\nctxt 5\nbtime 1\n");
    assert!(text.len() > 64 << 10);
    text
}

#[test]
fn interfaces_up_to_the_limit_and_beyond() {
    for (interfaces, reported) in [(500, 500), (600, 512)] {
        let host = Host::new();
        host.write("net/dev", net_dev(interfaces, 0));
        let mut network = host.open("GetNetworkStatus").unwrap();
        host.write("net/dev", net_dev(interfaces, 2048));
        let data = network.sample(1).unwrap();
        let items = data["data"].as_object().unwrap();
        assert_eq!(items.len(), reported);
        assert!(items.values().all(|interface| interface["t_in"] == 2.0));
        let omitted = interfaces - reported;
        let expected = (omitted > 0).then(|| Value::from(omitted));
        assert_eq!(data.get("omitted"), expected.as_ref());
    }
}

/// Every byte of a name is escaped in JSON, every rate has as many digits as there are.
#[test]
fn the_largest_report_fits() {
    let host = Host::new();
    host.write("net/dev", net_dev(512, 0));
    let mut network = host.open("GetNetworkStatus").unwrap();
    host.write("net/dev", net_dev(512, u64::MAX / 3));
    let data = network.sample(7).unwrap();
    let reported = data["data"].as_object().unwrap().len();
    assert!(reported > 250, "{reported}");
    assert_eq!(data["omitted"], 512 - reported);
}

fn net_dev(interfaces: usize, count: u64) -> String {
    let mut text = String::from("Inter-|\n face |\n");
    for interface in 0..interfaces {
        let name = "\u{1}".repeat(12);
        let (n, c) = (interface, count);
        writeln!(
            text,
            "{name}{n:03}:{c} {c} {c} {c} 0 0 0 0 {c} {c} {c} {c} 0 0 0 0"
        )
        .unwrap();
    }
    text
}

/// What a probe says of a file that was cut is what it says of the whole, or less, or an error.
#[test]
fn files_cut_at_every_byte() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/proc");
    for (probe, file) in FILES {
        let text = fs::read(fixtures.join(file)).unwrap();
        let host = Host::new();
        host.copy(&fixtures);
        let mut sampler = host.open(probe).unwrap();
        // No counter grows in a file that stays the same, so of some there is nothing to say.
        let mut sample = || match sampler.sample(1) {
            Err(ProbeError::NothingKnown) => Ok(Value::from(serde_json::Map::new())),
            result => result,
        };
        let whole = sample().unwrap();
        for cut in 0..text.len() {
            host.write(file, &text[..cut]);
            // Between two rows this is the file of a kernel that has fewer.
            let fewer_rows = *file == "meminfo" && text[..cut].ends_with(b"\n");
            if let Ok(part) = sample()
                && !fewer_rows
            {
                assert!(is_part_of(&part, &whole), "{file} cut at {cut}: {part}");
            }
            // A wrong number that was kept would now make a wrong rate.
            host.write(file, &text);
            let after = sample().unwrap();
            assert!(is_part_of(&after, &whole), "{file} after {cut}: {after}");
        }
    }
}

#[test]
fn binary_junk_is_an_error() {
    let junk: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for (probe, file) in FILES {
        let host = Host::new();
        host.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/proc"));
        let mut sampler = host.open(probe).unwrap();
        host.write(file, &junk);
        if OPTIONAL.contains(file) {
            assert_eq!(sampler.sample(1).unwrap()["omitted"], 1, "{file}");
            continue;
        }
        let error = sampler.sample(1).unwrap_err();
        assert!(
            matches!(error, ProbeError::Malformed { .. }),
            "{file}: {error}"
        );
        assert!(error.to_string().contains(file), "{error}");
    }
}

/// A device never ends, and a FIFO would hold up the agent until somebody writes.
#[test]
fn what_is_not_a_regular_file_is_an_error_at_once_or_left_out() {
    let others = [
        ("get_processes", "stat"),
        ("LinuxSysInfo", "sys/kernel/ostype"),
        ("get_tcp", "1/net/tcp"),
        ("get_filesystem", "1/mountinfo"),
    ];
    for (probe, file) in FILES.iter().copied().chain(others) {
        let host = Host::new();
        host.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/proc"));
        host.write(file, "");
        let path = host.0.path().join(file);
        let check = |kind: &str| match host.open(probe) {
            Err(error) => assert_eq!(
                error.to_string(),
                format!("{}: it is a {kind}, and not a regular file", path.display())
            ),
            Ok(mut sampler) => {
                // States of processes do not depend on the counters.
                let is_left_out = (probe, file) == ("get_processes", "stat");
                assert!(is_left_out || OPTIONAL.contains(&file), "{probe} {file}");
                assert_eq!(sampler.sample(1).unwrap()["status"], 0);
            }
        };
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        check("device");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        check("pipe (FIFO)");
    }
}

#[test]
fn names_are_unique_and_found() {
    let mut all = Vec::new();
    for probe in PROBES {
        for name in probe.names() {
            assert_eq!(Probe::by_name(name), Some(probe));
            assert!(!all.contains(name), "{name} twice");
            all.push(name);
        }
    }
}

/// The probes on recorded files, each with the file that is spoiled.
const FILES: &[(&str, &str)] = &[
    ("get_linux_cpu", "stat"),
    ("get_cpu_cores", "stat"),
    ("get_memory_info", "meminfo"),
    ("GetNetworkStatus", "net/dev"),
    ("get_linux_load", "loadavg"),
    ("host_alive_check", "uptime"),
    ("get_disk_io", "diskstats"),
    ("get_pressure", "pressure/cpu"),
    ("get_pressure", "pressure/io"),
];

/// Files on which nothing else depends: without them the rest is reported.
const OPTIONAL: &[&str] = &["pressure/cpu", "pressure/io", "sys/kernel/ostype"];

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().all(|(name, value)| {
            let other = whole.get(name);
            name == "omitted" || other.is_some_and(|other| is_part_of(value, other))
        }),
        _ => part == whole,
    }
}

/// A made-up procfs and sysfs.
struct Host(tempfile::TempDir);

struct Bench {
    sampler: Box<dyn Sampler>,
    context: Context,
}

impl Host {
    fn new() -> Self {
        // Disks flush a file that is truncated and written anew, and this one is, thousands of times.
        let memory = tempfile::tempdir_in("/dev/shm");
        let host = Host(memory.or_else(|_| tempfile::tempdir()).unwrap());
        for device in ["vda", "loop0", "loop1", "zram0"] {
            fs::create_dir_all(host.0.path().join("block").join(device)).unwrap();
        }
        host
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn copy(&self, procfs: &Path) {
        for file in FILES
            .iter()
            .map(|(_, file)| *file)
            .chain(["pressure/memory"])
        {
            self.write(file, fs::read(procfs.join(file)).unwrap());
        }
    }

    fn open(&self, probe: &str) -> Result<Bench, ProbeError> {
        let roots = Roots {
            procfs: self.0.path().to_owned(),
            sysfs: self.0.path().to_owned(),
            rootfs: self.0.path().to_owned(),
        };
        let mut context = Context::new();
        let sampler = Probe::by_name(probe).unwrap().open(&roots, &mut context)?;
        Ok(Bench { sampler, context })
    }
}

impl Bench {
    /// The data of the report of a sample that is taken `seconds` after the last.
    fn sample(&mut self, seconds: u64) -> Result<Value, ProbeError> {
        let envelope = Envelope {
            client_id: ClientId::Number(1),
            service_name: "Service",
            stamp: Stamp::Uptime {
                seconds: 1,
                millis: None,
                age: 0,
                boot: None,
            },
            seq: 1,
        };
        self.context.now += Duration::from_secs(seconds);
        let mut buffer = vec![0; MAX_REPORT];
        let length = self
            .sampler
            .report(&mut self.context, &envelope, &mut buffer)?;
        let mut report: Value = serde_json::from_slice(&buffer[..length]).unwrap();
        assert_eq!(report["data"]["status"], 0);
        Ok(report["data"].take())
    }
}
