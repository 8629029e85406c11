//! Sampling and encoding allocate nothing once a probe has seen its files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mote_agent::probes::{Context, MAX_REPORT, PROBES, Probe, ProbeError, Roots};
use mote_core::{ClientId, Envelope, Stamp};
use mote_test_support::allocations::{Counting, allocations};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Probes that may allocate, each with its reason.
const MAY_ALLOCATE: &[&str] = &[
    // What this host is, is asked once an hour: the list of its addresses is made anew.
    "LinuxSysInfo",
];

/// Without these the test has shown nothing.
const MUST_RUN: &[&str] = &[
    "get_linux_cpu",
    "get_memory_info",
    "GetNetworkStatus",
    "get_linux_load",
    "host_alive_check",
    "get_disk_io",
    "get_filesystem",
    "get_processes",
    "get_tcp",
    "get_temperature",
    "get_clock",
    "get_cpu_cores",
];

const ENVELOPE: Envelope<'static> = Envelope {
    client_id: ClientId::Number(1),
    service_name: "Service",
    stamp: Stamp::Clock {
        unix_ms: 1_795_339_484_886,
        boot: "0123456789abcdef",
    },
    seq: 17,
};

#[test]
fn sampling_and_encoding_allocate_nothing() {
    let mut context = Context::new();
    let mut buffer = vec![0; MAX_REPORT];
    let mut ran = Vec::new();
    for probe in PROBES {
        let name = probe.name();
        if MAY_ALLOCATE.contains(&name) {
            continue;
        }
        let sampler = probe.open(&Roots::default(), &mut context);
        let warm = sampler.and_then(|mut sampler| {
            for _ in 0..3 {
                context.now = Instant::now();
                match sampler.report(&mut context, &ENVELOPE, &mut buffer) {
                    Ok(_) | Err(ProbeError::NothingKnown) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(sampler)
        });
        let mut sampler = match warm {
            Ok(sampler) => sampler,
            Err(error) => {
                skipped(&format!("{name} on this machine: {error}"));
                continue;
            }
        };
        let mut reports = 0;
        while reports < 20 {
            let before = allocations();
            context.now = Instant::now();
            let result = sampler.report(&mut context, &ENVELOPE, &mut buffer);
            assert_eq!(allocations() - before, 0, "allocations of {name}");
            match result {
                Ok(_) => reports += 1,
                // The kernel counts the time of CPUs in ticks.
                Err(ProbeError::NothingKnown) => thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{name}: {error}"),
            }
        }
        ran.push(name);
    }
    for name in MUST_RUN {
        assert!(ran.contains(name), "{name} did not run");
    }
}

/// Interfaces that vanish, come back and do not fit, and names that are not UTF-8.
#[test]
fn changing_interfaces_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net/dev");
    fs::create_dir_all(folder.path().join("net")).unwrap();
    let many = interfaces(0..600);
    let fewer = interfaces(40..300);
    fs::write(&file, &many).unwrap();
    let roots = Roots {
        procfs: folder.path().to_owned(),
        ..Roots::default()
    };
    let mut context = Context::new();
    let mut buffer = vec![0; MAX_REPORT];
    let mut network = Probe::by_name("GetNetworkStatus")
        .unwrap()
        .open(&roots, &mut context)
        .unwrap();
    for text in [&fewer, &many, &many, &fewer] {
        fs::write(&file, text).unwrap();
        context.now = Instant::now();
        let before = allocations();
        let result = network.report(&mut context, &ENVELOPE, &mut buffer);
        assert_eq!(allocations() - before, 0);
        assert!(result.is_ok(), "{result:?}");
    }
}

/// Groups of both versions that end and come back, and files that cannot be read.
#[test]
fn control_groups_allocate_nothing() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
    for sysfs in ["sys", "cgroup1"] {
        let folder = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .args(["-r", &format!("{fixtures}/{sysfs}/fs")])
            .arg(folder.path())
            .status();
        assert!(copied.unwrap().success());
        let groups = folder.path().join("fs/cgroup");
        let service = [
            "system.slice/nginx.service",
            "pids/system.slice/cron.service",
        ]
        .map(|service| groups.join(service));
        let service = service.iter().find(|it| it.exists()).unwrap();
        let roots = Roots {
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        let mut context = Context::new();
        let mut buffer = vec![0; MAX_REPORT];
        let probe = Probe::by_name("get_cgroups").unwrap();
        let mut cgroups = probe.open(&roots, &mut context).unwrap();
        let away = folder.path().join("away");
        for step in 0..9 {
            match step {
                3 => fs::rename(service, &away).unwrap(),
                5 => fs::rename(&away, service).unwrap(),
                7 => fs::write(service.join("pids.current"), "junk").unwrap(),
                _ => {}
            }
            context.now += Duration::from_secs(1);
            let before = allocations();
            let result = cgroups.report(&mut context, &ENVELOPE, &mut buffer);
            assert_eq!(allocations() - before, 0, "{sysfs}, step {step}");
            assert!(result.is_ok(), "{result:?}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations() - before, 1);
}

fn interfaces(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut text = b"Inter-|\n face |\n".to_vec();
    for number in numbers {
        text.extend_from_slice(b"\xff");
        writeln!(
            text,
            "{number}:{} 0 0 0 0 0 0 0 9 9 9 9 0 0 0 0",
            number * 9
        )
        .unwrap();
    }
    text
}

/// Written past the test harness, which keeps what a passing test prints to itself.
#[expect(clippy::explicit_write, reason = "eprintln is captured")]
fn skipped(what: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {what}").unwrap();
}
