//! File systems, sockets and processes are those of `df`, `ss` and `ps`.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};

use serde_json::Value;

use crate::bench::Bench;
use crate::tools::{agree, between, output};

/// Number by name by item, such as bytes by column by mount point.
type Numbers = BTreeMap<String, BTreeMap<String, u64>>;

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

/// Tolerance: none for sizes, 1 MiB for bytes in use, 64 for inodes in use. A mount that comes or goes between the two
/// answers is not compared.
#[test]
fn filesystems_are_those_of_df() {
    let mut agent = Bench::open("get_filesystem");
    if df().is_none() {
        return;
    }
    agree("file systems", || {
        let before = df().unwrap();
        let data = agent.sample();
        let after = df().unwrap();
        assert!(before.contains_key("/"), "no root file system: {before:?}");
        assert_eq!(data["status"], 0);
        assert_eq!(data["omitted"], Value::Null);
        let found = data["data"].as_object().unwrap();
        for (point, row) in &before {
            // The number of inodes there is grows with the memory of a tmpfs, or the blocks of an xfs.
            let Some(after) = after.get(point) else {
                continue;
            };
            let found = found
                .get(point)
                .ok_or_else(|| format!("{point} is not in {data}"))?;
            for (name, number) in row {
                let tolerance = match name.as_str() {
                    "size" => 0.0,
                    "used" | "available" => f64::from(1 << 20),
                    _ => 64.0,
                };
                let Some(after) = after.get(name) else {
                    continue;
                };
                let value = found[name].as_u64();
                if name.starts_with("inodes") && *number == 0 {
                    assert_eq!(value.unwrap_or(0), 0, "{point} {name}");
                    continue;
                }
                let value = value.unwrap_or_else(|| panic!("{point} has no {name}: {found}"));
                let what = format!("{point} {name}");
                let theirs = [*number as f64, *after as f64];
                between(&what, value as f64, theirs, tolerance)?;
            }
        }
        for (point, found) in found {
            let known = before.contains_key(point) || after.contains_key(point);
            let answered = found.get("size").is_some();
            if !known && answered && !has_btrfs() {
                return Err(format!("{point} is not in df's table"));
            }
        }
        Ok(())
    });
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

/// Tolerance: 20 sockets a state, for other programs go on; this test has more than that in each of the states that it
/// makes.
#[test]
fn sockets_are_those_of_ss() {
    if ss().is_none() {
        return;
    }
    let mut agent = Bench::open("get_tcp");
    // Anew each time: what is closed is gone after a minute, and what is sent may still be under way.
    agree("sockets", || {
        let made = Sockets::new();
        let listeners = made.listeners.len() as u64;
        let before = ss().unwrap();
        let data = agent.sample();
        let after = ss().unwrap();
        assert_eq!(data["status"], 0);
        let count = |state: &str| data[state].as_u64().unwrap();
        for (state, number) in &before {
            let theirs = [*number as f64, after[state] as f64];
            between(state, count(state) as f64, theirs, 20.0)?;
        }
        let made = ["listen", "fin_wait2", "close_wait", "time_wait"].map(|it| (it, listeners));
        for (state, at_least) in [&made[..], &[("established", 2 * listeners)]].concat() {
            if count(state) < at_least {
                return Err(format!("{state} in {data}"));
            }
        }
        for field in ["retransmits", "listen_overflows"] {
            assert!(data[field].as_f64().is_some(), "{field} in {data}");
        }
        Ok(())
    });
}

/// Forty of each kind, for each version of IP.
struct Sockets {
    listeners: Vec<TcpListener>,
    _streams: Vec<(TcpStream, TcpStream)>,
}

impl Sockets {
    fn new() -> Sockets {
        const EACH: usize = 40;
        let mut listeners = Vec::new();
        let mut streams = Vec::new();
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
                let (client, server) = connect();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                streams.push((client, server));
                // Both sides close: TIME-WAIT.
                drop(connect());
                listeners.push(listener);
            }
        }
        assert!(listeners.len() >= EACH);
        Sockets {
            listeners,
            _streams: streams,
        }
    }
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
    if ps().is_none() {
        return;
    }
    let mut agent = Bench::open("get_processes");
    let made = Processes::new();
    let mut forks = 0.0;
    // What was just started, stopped or killed takes its time to be so.
    agree("processes", || {
        let before = ps().unwrap();
        let (data, window) = agent.sample_over();
        let after = ps().unwrap();
        assert_eq!(data["status"], 0);
        forks += data["forks"].as_f64().unwrap() * window.as_secs_f64();
        for (name, number) in &before {
            let tolerance = if *name == "total" { 30.0 } else { 15.0 };
            let theirs = [*number as f64, after[name] as f64];
            between(name, data[name].as_u64().unwrap() as f64, theirs, tolerance)?;
        }
        for (name, at_least) in [("sleeping", 40), ("stopped", 20), ("zombie", 20)] {
            if data[name].as_u64().unwrap() < at_least {
                return Err(format!("{name} in {data}"));
            }
        }
        assert!(data["context_switches"].as_f64().unwrap() > 0.0, "{data}");
        Ok(())
    });
    assert!(forks >= made.0.len() as f64 - 1.0, "{forks}");
}

/// They are gone with this.
struct Processes(Vec<Child>);

impl Processes {
    fn new() -> Processes {
        let sleep = |_| Command::new("sleep").arg("600").spawn().unwrap();
        let mut all: Vec<_> = (0..80).map(sleep).collect();
        let (stopped, rest) = all.split_at_mut(20);
        for child in stopped {
            let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        }
        for child in &mut rest[..20] {
            child.kill().unwrap();
        }
        Processes(all)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
