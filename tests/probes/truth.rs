//! The probes say of this machine, in the same window, what its own tools say.
//!
//! Where a tool is missing the test fails and says how to install it; with `MOTE_ALLOW_SKIP` set it
//! passes, and says that it was skipped.

use std::collections::HashMap;
use std::io::{ErrorKind, Seek, Write};
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Points of percent of all CPUs. The two windows of three seconds differ by some ten milliseconds.
const CPU_TOLERANCE: f64 = 4.0;

/// Of the larger value, and what may be added to it, in KiB/s or packets/s.
const NETWORK_TOLERANCE: (f64, f64) = (0.05, 20.0);

/// The same of disks, in KiB/s. Others write in bursts, on either side of a window's edge.
const DISK_TOLERANCE: (f64, f64) = (0.25, 512.0);

/// Of all memory: other programs allocate between the two readings.
const MEMORY_TOLERANCE: f64 = 0.02;

#[test]
fn cpu_and_network_against_sar() {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| compute(&stop));
        scope.spawn(|| talk_to_myself(&stop));
        let mut cpu = Bench::open("get_linux_cpu");
        let mut network = Bench::open("GetNetworkStatus");
        let sar = ["-u", "ALL", "-n", "DEV", "1", "3"];
        let Some(sar) = output("sar", "sysstat", &sar) else {
            return;
        };
        let (cpu, network) = (cpu.sample(), network.sample());
        check_cpu(&cpu, &sar);
        check_network(&network, &sar);
    });
}

fn check_cpu(ours: &Value, sar: &str) {
    let theirs = &averages(sar, "CPU")["all"];
    let pairs: [(&str, &[&str]); 6] = [
        ("user", &["%usr", "%guest"]),
        ("nice", &["%nice", "%gnice"]),
        ("system", &["%sys", "%irq", "%soft"]),
        ("iowait", &["%iowait"]),
        ("steal", &["%steal"]),
        ("idle", &["%idle"]),
    ];
    for (field, columns) in pairs {
        let theirs: f64 = columns.iter().map(|column| theirs[*column]).sum();
        // A counter that went backwards has no share; of these only iowait ever does.
        let Some(ours) = ours[field].as_f64() else {
            assert_eq!(field, "iowait");
            continue;
        };
        said(field, ours, theirs);
        assert!(
            (ours - theirs).abs() <= CPU_TOLERANCE,
            "{field}: {ours}, sar: {theirs}"
        );
    }
    assert!(ours["idle"].as_f64().unwrap() < 99.0, "no load was made");
}

fn check_network(ours: &Value, sar: &str) {
    let theirs = averages(sar, "IFACE");
    let ours = ours["data"].as_object().unwrap();
    let mut names: Vec<_> = ours.keys().collect();
    let mut their_names: Vec<_> = theirs.keys().collect();
    names.sort();
    their_names.sort();
    assert_eq!(names, their_names);
    let pairs = [
        ("t_in", "rxkB/s"),
        ("t_out", "txkB/s"),
        ("packets_in", "rxpck/s"),
        ("packets_out", "txpck/s"),
    ];
    for (name, interface) in ours {
        for (field, column) in pairs {
            let ours = interface[field].as_f64().unwrap();
            let theirs = theirs[name][column];
            said(&format!("{name} {field}"), ours, theirs);
            let (share, more) = NETWORK_TOLERANCE;
            let tolerance = ours.max(theirs) * share + more;
            let close = (ours - theirs).abs() <= tolerance;
            // Only the loopback interface carries nobody else's bursts.
            assert!(
                close || name != "lo",
                "{name} {field}: {ours}, sar: {theirs}"
            );
        }
    }
    assert!(
        ours["lo"]["t_in"].as_f64().unwrap() > 500.0,
        "no traffic was made"
    );
}

#[test]
fn disks_against_sar() {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| write_to_disk(&stop));
        let mut disk_io = Bench::open("get_disk_io");
        let Some(sar) = output("sar", "sysstat", &["-d", "1", "3"]) else {
            return;
        };
        let ours = disk_io.sample();
        let theirs = averages(&sar, "DEV");
        let mut written = 0.0;
        for (name, device) in ours["data"].as_object().unwrap() {
            // It leaves out devices that never did anything.
            let Some(theirs) = theirs.get(name) else {
                assert_eq!(device["reads"], 0.0, "{name}");
                assert_eq!(device["writes"], 0.0, "{name}");
                continue;
            };
            for (field, column) in [("read_bytes", "rkB/s"), ("written_bytes", "wkB/s")] {
                let ours = device[field].as_f64().unwrap() / 1024.0;
                let theirs = theirs[column];
                said(&format!("{name} {field} / 1024"), ours, theirs);
                let (share, more) = DISK_TOLERANCE;
                let tolerance = ours.max(theirs) * share + more;
                assert!(
                    (ours - theirs).abs() <= tolerance,
                    "{name} {field}: {ours}, sar: {theirs}"
                );
            }
            // Rounding of the kernel's clock; sar gives a share of 100 where the kernel counts more.
            let (busy, theirs_busy) = (device["busy_p"].as_f64().unwrap(), theirs["%util"]);
            said(&format!("{name} busy_p"), busy, theirs_busy);
            assert!(
                (busy - theirs_busy).abs() <= 10.0,
                "{busy}, sar: {theirs_busy}"
            );
            written += device["written_bytes"].as_f64().unwrap();
        }
        if written < 1e6 {
            tell("SKIPPED: rates of disks: the build folder is not on one");
        }
    });
}

#[test]
fn memory_against_free() {
    let Some(free) = output("free", "procps", &["-k", "-w"]) else {
        return;
    };
    let ours = Bench::open("get_memory_info").sample();
    let mut lines = free.lines();
    let names = lines.next().unwrap().split_whitespace();
    let rows: HashMap<_, Vec<f64>> = lines
        .map(|line| {
            let (name, values) = line.split_once(':').unwrap();
            (name, values.split_whitespace().map(number).collect())
        })
        .collect();
    let memory: HashMap<_, _> = names.zip(rows["Mem"].iter().copied()).collect();
    let total = ours["MemTotal"].as_f64().unwrap();
    assert_eq!(total, memory["total"]);
    let pairs = [
        ("MemFree", "free"),
        ("MemAvailable", "available"),
        ("Buffers", "buffers"),
    ];
    for (field, column) in pairs {
        let (ours, theirs) = (ours[field].as_f64().unwrap(), memory[column]);
        said(field, ours, theirs);
        let close = (ours - theirs).abs() <= total * MEMORY_TOLERANCE;
        assert!(close, "{field}: {ours}, free: {theirs}");
    }
    let [swap_total, swap_used, swap_free] = rows["Swap"][..] else {
        panic!("{free}");
    };
    assert_eq!(ours["SwapTotal"].as_f64(), Some(swap_total));
    for (field, theirs) in [("SwapFree", swap_free), ("SwapUsage", swap_used)] {
        let ours = ours[field].as_f64().unwrap();
        said(field, ours, theirs);
        let close = (ours - theirs).abs() <= swap_total * MEMORY_TOLERANCE;
        assert!(close, "{field}: {ours}, free: {theirs}");
    }
}

#[test]
fn load_against_uptime_and_ps() {
    let Some(uptime) = output("uptime", "procps", &[]) else {
        return;
    };
    let Some(ps) = output("ps", "procps", &["-eL", "--no-headers"]) else {
        return;
    };
    let ours = Bench::open("get_linux_load").sample();
    let (_, theirs) = uptime.trim().rsplit_once("load average: ").unwrap();
    // The averages move every five seconds, the first by up to 8 % of what runs.
    for (field, theirs) in ["load1", "load5", "load15"].iter().zip(theirs.split(", ")) {
        let (ours, theirs) = (ours[field].as_f64().unwrap(), number(theirs));
        said(field, ours, theirs);
        assert!(
            (ours - theirs).abs() <= 0.5,
            "{field}: {ours}, uptime: {theirs}"
        );
    }
    let (total, theirs) = (ours["total"].as_f64().unwrap(), ps.lines().count() as f64);
    said("total", total, theirs);
    assert!(
        (total - theirs).abs() <= 20.0 + theirs * 0.2,
        "{total}, ps: {theirs}"
    );
    assert!(
        (1.0..=total).contains(&ours["running"].as_f64().unwrap()),
        "{ours}"
    );
}

#[test]
fn uptime_against_the_clock() {
    let boot_clock = || Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    let mut alive = Bench::open("host_alive_check");
    let before = boot_clock().as_secs_f64();
    let ours = alive.sample()["uptime"].as_f64().unwrap();
    let after = boot_clock().as_secs_f64();
    said("uptime", ours, before);
    // The file has two decimals, cut off.
    assert!(
        (before - 0.01..=after).contains(&ours),
        "{before} ≤ {ours} ≤ {after}"
    );
}

/// The rows of sar's averages in the table whose second column is `key`: name, column, value.
fn averages(sar: &str, key: &str) -> HashMap<String, HashMap<String, f64>> {
    let mut columns: Vec<&str> = Vec::new();
    let mut rows = HashMap::new();
    for line in sar.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, head, names @ ..] if *head == key => columns = names.to_vec(),
            ["Average:", name, values @ ..] if values.len() == columns.len() => {
                let values = values.iter().map(|value| number(value));
                let row = columns.iter().map(|name| (*name).to_owned()).zip(values);
                rows.insert((*name).to_owned(), row.collect());
            }
            // The next table follows.
            [] => columns.clear(),
            _ => {}
        }
    }
    assert!(!rows.is_empty(), "no {key} in {sar}");
    rows
}

fn number(text: &str) -> f64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// What a tool prints; `None` if it is missing and that is allowed.
fn output(tool: &str, package: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(tool)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(Output { status, stdout, .. }) => {
            assert!(status.success(), "{tool}: {status}");
            Some(String::from_utf8(stdout).unwrap())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = format!("{tool} is not installed; its package is called {package}");
            tell(&format!("SKIPPED: {advice}"));
            let allowed = std::env::var_os("MOTE_ALLOW_SKIP").is_some();
            assert!(allowed, "{advice}; set MOTE_ALLOW_SKIP to do without");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

/// For those who read along with `--nocapture`.
fn said(what: &str, ours: f64, theirs: f64) {
    println!("{what}: {ours}, tool: {theirs}");
}

/// Written past the test harness, which keeps what a passing test prints to itself.
#[expect(clippy::explicit_write, reason = "eprintln is captured")]
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// Half of one CPU, in slices that are short against the window.
fn compute(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            std::hint::black_box(start);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// About 4 MiB/s over the loopback interface, at a steady pace.
fn talk_to_myself(stop: &AtomicBool) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let myself = socket.local_addr().unwrap();
    let mut datagram = [0; 8192];
    let pace = Duration::from_millis(2);
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        socket.send_to(&datagram, myself).unwrap();
        socket.recv_from(&mut datagram).unwrap();
        next += pace;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// About 4 MiB/s, each piece on the disk before the next.
fn write_to_disk(stop: &AtomicBool) {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let pace = Duration::from_millis(20);
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        file.rewind().unwrap();
        file.write_all(&[7; 80 << 10]).unwrap();
        file.sync_data().unwrap();
        next += pace;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Also when a test fails: a scope waits for its threads.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
