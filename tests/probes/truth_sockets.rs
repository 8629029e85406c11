//! File systems, sockets and processes as the agent reports them, against what `df`, `ss` and `ps`
//! say of this machine in the same moment.
//!
//! Each tool is run before and after the agent's sample, and every number must lie between its two
//! answers, give or take the tolerance that is stated with each test: other programs go on meanwhile.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use serde_json::Value;

/// Number by name by item, such as bytes by column by mount point.
type Numbers = BTreeMap<String, BTreeMap<String, u64>>;

/// What a tool prints, or `None` if it is missing and that is allowed.
fn output(package: &str, tool: &str, arguments: &[&str]) -> Option<String> {
    let run = Command::new(tool)
        .args(arguments)
        .env("LC_ALL", "C")
        .output();
    match run {
        // Its exit code is no help: df fails if it may not ask one of many file systems.
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(cause) => {
            let how = format!(
                "{tool}: {cause}; install the package {package} (apt-get install {package})"
            );
            assert!(std::env::var_os("MOTE_ALLOW_SKIP").is_some(), "{how}");
            // Not by eprintln: the test harness would keep that to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {how}");
            None
        }
    }
}

/// Whether `value` lies between two answers of a tool, give or take `tolerance`.
fn between(value: u64, before: u64, after: u64, tolerance: u64) -> bool {
    let low = before.min(after).saturating_sub(tolerance);
    (low..=before.max(after) + tolerance).contains(&value)
}

fn df() -> Option<Numbers> {
    let arguments = ["-B1", "--output=size,used,avail,itotal,iused,fstype,target"];
    let text = output("coreutils", "df", &arguments)?;
    let mut table = Numbers::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        let mut row = BTreeMap::new();
        for name in ["size", "used", "available", "inodes", "inodes_used"] {
            // A `-` stands for a number that the file system does not have.
            if let Ok(number) = words.next().unwrap().parse() {
                row.insert(name.to_owned(), number);
            }
        }
        // df shows each volume of a btrfs, the agent each btrfs.
        if words.next() != Some("btrfs") {
            let point = words.collect::<Vec<_>>().join(" ");
            table.insert(point, row);
        }
    }
    Some(table)
}

/// Tolerance: none for sizes, 64 MiB for bytes in use, 8192 for inodes in use. A mount that comes or
/// goes between the two answers is not compared.
#[test]
fn filesystems_are_those_of_df() {
    let mut agent = Bench::open("get_filesystem");
    let Some(before) = df() else { return };
    let data = agent.sample();
    let after = df().unwrap();
    assert!(
        before.contains_key("/"),
        "df shows no root file system: {before:?}"
    );
    assert_eq!(data["status"], 0);
    assert_eq!(data["omitted"], Value::Null);
    let found = data["data"].as_object().unwrap();
    let stayed = before
        .iter()
        .filter(|(point, _)| after.contains_key(*point));
    for (point, row) in stayed {
        let found = found
            .get(point)
            .unwrap_or_else(|| panic!("{point} is not in {data}"));
        for (name, number) in row {
            let tolerance = match name.as_str() {
                "size" => 0,
                "used" | "available" => 64 << 20,
                _ => 8192,
            };
            // The number of inodes there is grows with the memory of a tmpfs, or the blocks of an xfs.
            let Some(after) = after[point].get(name) else {
                continue;
            };
            let value = found[name].as_u64();
            if name.starts_with("inodes") && *number == 0 {
                assert_eq!(value.unwrap_or(0), 0, "{point} {name}");
                continue;
            }
            let value = value.unwrap_or_else(|| panic!("{point} has no {name}: {found}"));
            assert!(
                between(value, *number, *after, tolerance),
                "{point} {name}: {value}, but df says {number}, then {after}"
            );
        }
    }
    for (point, found) in found {
        let known = before.contains_key(point) || after.contains_key(point);
        let answered = found.get("size").is_some();
        assert!(
            known || !answered || has_btrfs(),
            "{point} is not in df's table"
        );
    }
}

fn has_btrfs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(" btrfs ")
}

/// Sockets by the agent's names for their states.
fn ss() -> Option<BTreeMap<String, u64>> {
    let names = [
        ("ESTAB", "established"),
        ("SYN-SENT", "syn_sent"),
        ("SYN-RECV", "syn_recv"),
        ("FIN-WAIT-1", "fin_wait1"),
        ("FIN-WAIT-2", "fin_wait2"),
        ("TIME-WAIT", "time_wait"),
        ("UNCONN", "close"),
        ("CLOSE-WAIT", "close_wait"),
        ("LAST-ACK", "last_ack"),
        ("LISTEN", "listen"),
        ("CLOSING", "closing"),
    ];
    let text = output("iproute2", "ss", &["-tan"])?;
    let mut counts: BTreeMap<_, _> = names
        .iter()
        .map(|(_, name)| (name.to_string(), 0))
        .collect();
    for line in text.lines().skip(1) {
        let state = line.split_whitespace().next().unwrap();
        let (_, name) = names.iter().find(|(theirs, _)| *theirs == state).unwrap();
        *counts.get_mut(*name).unwrap() += 1;
    }
    Some(counts)
}

/// Tolerance: 20 sockets a state, for other programs go on; this test has more than that in each of
/// the states that it makes.
#[test]
fn sockets_are_those_of_ss() {
    const EACH: usize = 40;
    let mut agent = Bench::open("get_tcp");
    let mut listeners = Vec::new();
    let mut streams = Vec::new();
    let mut half_closed = Vec::new();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for _ in 0..EACH {
            let listener = match TcpListener::bind(address) {
                Ok(listener) => listener,
                // IPv6 is off: the table of IPv4 alone is compared.
                Err(_) if address.starts_with('[') => break,
                Err(cause) => panic!("{address}: {cause}"),
            };
            let to = listener.local_addr().unwrap();
            let connect = || {
                let client = TcpStream::connect(to).unwrap();
                (client, listener.accept().unwrap().0)
            };
            streams.push(connect());
            // One side closes, the other does not: FIN-WAIT-2 and CLOSE-WAIT.
            half_closed.push({
                let (client, server) = connect();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                (client, server)
            });
            // Both sides close: TIME-WAIT.
            drop(connect());
            listeners.push(listener);
        }
    }
    assert!(listeners.len() >= EACH);
    // The last segments are still under way.
    std::thread::sleep(Duration::from_millis(200));

    let Some(before) = ss() else { return };
    let data = agent.sample();
    let after = ss().unwrap();
    assert_eq!(data["status"], 0);
    for (state, number) in &before {
        let value = data[state].as_u64().unwrap();
        assert!(
            between(value, *number, after[state], 20),
            "{state}: {value}, but ss says {number}, then {}",
            after[state]
        );
    }
    for state in ["listen", "fin_wait2", "close_wait", "time_wait"] {
        assert!(
            data[state].as_u64().unwrap() >= listeners.len() as u64,
            "{state} in {data}"
        );
    }
    assert!(
        data["established"].as_u64().unwrap() >= 2 * listeners.len() as u64,
        "{data}"
    );
    assert!(data["retransmits"].as_f64().is_some() && data["listen_overflows"].as_f64().is_some());
}

fn ps() -> Option<BTreeMap<&'static str, u64>> {
    let text = output("procps", "ps", &["-e", "-o", "stat="])?;
    let mut counts = BTreeMap::from(
        [
            "running", "sleeping", "blocked", "stopped", "zombie", "total",
        ]
        .map(|name| (name, 0)),
    );
    for line in text.lines() {
        let name = match line.chars().next().unwrap() {
            'R' => "running",
            'S' | 'I' => "sleeping",
            'D' => "blocked",
            'T' | 't' => "stopped",
            'Z' => "zombie",
            _ => continue,
        };
        *counts.get_mut(name).unwrap() += 1;
        *counts.get_mut("total").unwrap() += 1;
    }
    Some(counts)
}

/// Tolerance: 15 processes a state, 30 in all; this test has 40 asleep, 20 stopped and 20 zombies.
#[test]
fn processes_are_those_of_ps() {
    let opened = Instant::now();
    let mut agent = Bench::open("get_processes");
    let sleep = || Command::new("sleep").arg("600").spawn().unwrap();
    let mut asleep: Vec<_> = (0..40).map(|_| sleep()).collect();
    let mut stopped: Vec<_> = (0..20).map(|_| sleep()).collect();
    let mut zombies: Vec<_> = (0..20).map(|_| sleep()).collect();
    for child in &stopped {
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    }
    for child in &mut zombies {
        child.kill().unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));

    let before = ps();
    let data = agent.sample();
    let since_open = opened.elapsed();
    let after = ps();
    for child in asleep.iter_mut().chain(&mut stopped).chain(&mut zombies) {
        let _ = child.kill();
        child.wait().unwrap();
    }
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    assert_eq!(data["status"], 0);
    for (name, number) in &before {
        let tolerance = if *name == "total" { 30 } else { 15 };
        let value = data[name].as_u64().unwrap();
        assert!(
            between(value, *number, after[name], tolerance),
            "{name}: {value}, but ps says {number}, then {}",
            after[name]
        );
    }
    for (name, at_least) in [("sleeping", 40), ("stopped", 20), ("zombie", 20)] {
        assert!(data[name].as_u64().unwrap() >= at_least, "{name} in {data}");
    }
    let forks = data["forks"].as_f64().unwrap() * since_open.as_secs_f64();
    assert!(
        forks >= 80.0,
        "{forks} processes since the agent took its baseline"
    );
    assert!(data["context_switches"].as_f64().unwrap() > 0.0, "{data}");
}
