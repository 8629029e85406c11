//! The probes say of this machine what its own tools say.

use std::collections::HashMap;
use std::fs;
use std::io::{Seek, Write};
use std::net::UdpSocket;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::bench::Bench;
use crate::tools::{Counters, Watched, agree, between, output, tell};

/// What this test adds to what else goes on here.
const WORK: Duration = Duration::from_secs(1);
const DATAGRAMS: usize = 1000;
const DATAGRAM_BYTES: usize = 8192;
const WRITTEN_BYTES: usize = 8 << 20;

#[test]
fn cpu_against_vmstat() {
    let Some(watched) = Watched::new("get_linux_cpu", ticks, || {
        let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let begin = used();
        while used() - begin < WORK {}
    }) else {
        return;
    };
    let fields: [(&str, &[&str]); 6] = [
        ("user", &["non-nice user"]),
        ("nice", &["nice user"]),
        ("system", &["system", "IRQ", "softirq"]),
        ("iowait", &["IO-wait"]),
        ("steal", &["stolen"]),
        ("idle", &["idle"]),
    ];
    let growth = |names: &[&str]| {
        let growths = names.iter().map(|name| watched.growth(name).unwrap());
        growths.fold((0.0, 0.0), |(least, most), it| {
            (least + it.start(), most + it.end())
        })
    };
    for (field, names) in fields {
        // A counter that went backwards has no share; of these only iowait ever does.
        let Some(share) = watched.data[field].as_f64() else {
            assert_eq!(field, "iowait");
            continue;
        };
        let others: Vec<&str> = fields
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let others: Vec<&str> = others
            .into_iter()
            .filter(|it| !names.contains(it))
            .collect();
        let (least, most) = growth(names);
        let (others_least, others_most) = growth(&others);
        // The kernel may take back a tick of a processor that sleeps.
        let low = 100.0 * (least - 2.0).max(0.0) / (least + others_most).max(1.0) - 0.01;
        let high = 100.0 * (most + 2.0) / (most + others_least).max(1.0) + 0.01;
        assert!(
            (low..=high).contains(&share),
            "{field}: {share}, vmstat: {low} to {high}"
        );
    }
    let busy = watched.data["user"].as_f64().unwrap() + watched.data["nice"].as_f64().unwrap();
    let (_, all) = growth(&fields.map(|(_, names)| names).concat());
    // A tick is 10 ms.
    assert!(
        busy / 100.0 * all >= 80.0,
        "{busy} % of {all} ticks: no load was made"
    );
}

/// Ticks of all CPUs since the start of this machine, by their names.
fn ticks() -> Option<Counters> {
    let text = output("procps", "vmstat", &["-s"])?;
    let rows = text.lines().filter_map(|line| {
        let (count, name) = line.trim().split_once(' ')?;
        let name = name.trim().strip_suffix(" cpu ticks")?;
        Some((name.to_owned(), number(count)))
    });
    Some(rows.collect())
}

#[test]
fn network_against_ip() {
    let Some(watched) = Watched::new("GetNetworkStatus", links, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let myself = socket.local_addr().unwrap();
        let mut datagram = [0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS {
            socket.send_to(&datagram, myself).unwrap();
            socket.recv_from(&mut datagram).unwrap();
        }
    }) else {
        return;
    };
    let ours = watched.data["data"].as_object().unwrap();
    for (name, interface) in ours {
        assert!(watched.knows(&format!("{name} rx KiB")), "{name}");
        for (field, counter) in [
            ("t_in", "rx KiB"),
            ("t_out", "tx KiB"),
            ("packets_in", "rx packets"),
            ("packets_out", "tx packets"),
        ] {
            let rate = interface[field].as_f64().unwrap();
            watched.assert_rate(
                &format!("{name} {field}"),
                rate,
                &format!("{name} {counter}"),
            );
        }
    }
    for name in links()
        .unwrap()
        .keys()
        .filter_map(|it| it.strip_suffix(" rx KiB"))
    {
        let stayed = watched.growth(&format!("{name} rx KiB")).is_some();
        assert!(
            !stayed || ours.contains_key(name),
            "{name} is missing in {ours:?}"
        );
    }
    let received_kib = ours["lo"]["t_in"].as_f64().unwrap() * watched.window.as_secs_f64();
    assert!(
        received_kib > (DATAGRAMS * DATAGRAM_BYTES / 1024) as f64,
        "{received_kib}"
    );
}

/// What went through each interface since it is there.
fn links() -> Option<Counters> {
    let text = output("iproute2", "ip", &["-s", "-j", "link"])?;
    let links: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut counters = Counters::new();
    for link in &links {
        let name = link["ifname"].as_str().unwrap();
        for direction in ["rx", "tx"] {
            let counter = |key: &str| link["stats64"][direction][key].as_f64().unwrap();
            counters.insert(format!("{name} {direction} KiB"), counter("bytes") / 1024.0);
            counters.insert(format!("{name} {direction} packets"), counter("packets"));
        }
    }
    Some(counters)
}

#[test]
fn disks_against_iostat() {
    let Some(watched) = Watched::new("get_disk_io", disks, || {
        let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for _ in 0..8 {
            file.rewind().unwrap();
            file.write_all(&vec![7; WRITTEN_BYTES / 8]).unwrap();
            file.sync_data().unwrap();
        }
    }) else {
        return;
    };
    let mut written_bytes = 0.0;
    for (name, device) in watched.data["data"].as_object().unwrap() {
        // It leaves out devices that never did anything.
        if !watched.knows(&format!("{name} read KiB")) {
            assert_eq!(device["reads"], 0.0, "{name}");
            assert_eq!(device["writes"], 0.0, "{name}");
            continue;
        }
        for (field, counter) in [("read_bytes", "read KiB"), ("written_bytes", "written KiB")] {
            let rate = device[field].as_f64().unwrap() / 1024.0;
            watched.assert_rate(
                &format!("{name} {field}"),
                rate,
                &format!("{name} {counter}"),
            );
        }
        let busy_ms = device["busy_p"].as_f64().unwrap() * 10.0;
        // A share of more than all is none, and the kernel's clock ticks every 1 to 10 ms.
        let growth = watched.growth(&format!("{name} busy ms"));
        let window_ms = watched.window.as_secs_f64() * 1000.0;
        if let Some(growth) = growth {
            let ours = busy_ms * watched.window.as_secs_f64();
            let low = growth.start().min(window_ms) - 20.0;
            assert!(
                (low..=growth.end() + 20.0).contains(&ours),
                "{name}: {ours}, {growth:?}"
            );
        }
        written_bytes += device["written_bytes"].as_f64().unwrap() * watched.window.as_secs_f64();
    }
    if written_bytes < WRITTEN_BYTES as f64 {
        tell("SKIPPED: rates of disks: the build folder is not on one");
    }
}

/// What each device did since the start of this machine.
fn disks() -> Option<Counters> {
    let text = output("sysstat", "iostat", &["-dk", "-p", "ALL"])?;
    let mut counters = Counters::new();
    let mut rows = text.lines().map(|line| line.split_whitespace().collect());
    let head: Vec<&str> = rows
        .find(|row: &Vec<&str>| row.first() == Some(&"Device"))
        .unwrap();
    let column = |name: &str| head.iter().position(|it| *it == name).unwrap();
    let (read, written) = (column("kB_read"), column("kB_wrtn"));
    for row in rows.filter(|row| row.len() == head.len()) {
        let name = row[0];
        counters.insert(format!("{name} read KiB"), number(row[read]));
        counters.insert(format!("{name} written KiB"), number(row[written]));
        // Linux, Documentation/block/stat.rst: the tenth is how long it was busy.
        let stat = fs::read_to_string(format!("/sys/class/block/{name}/stat")).unwrap_or_default();
        if let Some(busy_ms) = stat.split_whitespace().nth(9) {
            counters.insert(format!("{name} busy ms"), number(busy_ms));
        }
    }
    assert!(!counters.is_empty(), "{text}");
    Some(counters)
}

/// 1 % of all memory is what others may take and give back in an instant.
#[test]
fn memory_against_free() {
    if free().is_none() {
        return;
    }
    let mut bench = Bench::open("get_memory_info");
    agree("memory", || {
        let before = free().unwrap();
        let ours = bench.sample();
        let after = free().unwrap();
        for (field, row, column) in [
            ("MemTotal", "Mem", "total"),
            ("MemFree", "Mem", "free"),
            ("MemAvailable", "Mem", "available"),
            ("Buffers", "Mem", "buffers"),
            ("SwapTotal", "Swap", "total"),
            ("SwapFree", "Swap", "free"),
            ("SwapUsage", "Swap", "used"),
        ] {
            let tolerance = match column {
                "total" => 0.0,
                _ => before[row]["total"] * 0.01,
            };
            let theirs = [before[row][column], after[row][column]];
            between(field, ours[field].as_f64().unwrap(), theirs, tolerance)?;
        }
        Ok(())
    });
}

/// KiB by row and column.
fn free() -> Option<HashMap<String, HashMap<String, f64>>> {
    let text = output("procps", "free", &["-k", "-w"])?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let rows = lines.map(|line| {
        let (row, values) = line.split_once(':').unwrap();
        let values = values.split_whitespace().map(number);
        let columns = names.iter().map(|it| (*it).to_owned()).zip(values);
        (row.to_owned(), columns.collect())
    });
    Some(rows.collect())
}

/// The averages move every five seconds, and stand still between.
#[test]
fn load_against_uptime_and_ps() {
    let averages = || -> Option<[f64; 3]> {
        let text = output("procps", "uptime", &[])?;
        let (_, averages) = text.trim().rsplit_once("load average: ").unwrap();
        let averages: Vec<f64> = averages.split(", ").map(number).collect();
        Some(averages.try_into().unwrap())
    };
    let threads = || -> Option<f64> {
        let text = output("procps", "ps", &["-eL", "--no-headers"])?;
        Some(text.lines().count() as f64)
    };
    if averages().is_none() || threads().is_none() {
        return;
    }
    let mut bench = Bench::open("get_linux_load");
    agree("load", || {
        let before = averages().unwrap();
        let ours = bench.sample();
        let after = averages().unwrap();
        for (n, field) in ["load1", "load5", "load15"].iter().enumerate() {
            between(
                field,
                ours[field].as_f64().unwrap(),
                [before[n], after[n]],
                0.0,
            )?;
        }
        Ok(())
    });
    agree("threads", || {
        let before = threads().unwrap();
        let ours = bench.sample();
        let after = threads().unwrap();
        let total = ours["total"].as_f64().unwrap();
        let running = ours["running"].as_f64().unwrap();
        assert!((1.0..=total).contains(&running), "{ours}");
        // `ps` is one itself.
        between("total", total, [before, after], 5.0)
    });
}

#[test]
fn uptime_against_the_clock() {
    let boot_clock = || Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    let mut alive = Bench::open("host_alive_check");
    let before = boot_clock().as_secs_f64();
    let ours = alive.sample()["uptime"].as_f64().unwrap();
    let after = boot_clock().as_secs_f64();
    // The file has two decimals, cut off.
    assert!(
        (before - 0.01..=after).contains(&ours),
        "{before} ≤ {ours} ≤ {after}"
    );
}

fn number(text: &str) -> f64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}
