//! What sampling costs beyond the kernel's share, and what a push into the queue costs.
//!
//! Prints one line of JSON; `ci/bench` compares it with the budgets. The first argument that is a
//! number says how often each loop is repeated. The bare loop has one `pread` a file: on a host whose
//! tables do not fit one page of the kernel the probes read on, and the bare loop does not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that cannot go on ends"
)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use mote_agent::probes::{Context, MAX_REPORT, Probe, ProbeError, Roots, Sampler};
use mote_agent::queue::{Chore, Disk, Folder, Queue, Totals, Whose};
use mote_agent::system::clock;
use mote_core::{ClientId, Envelope, Stamp};
use mote_test_support::allocations::{self, Counting};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The built-in services of the budgets, and the file that each of them reads.
const WHOSE: Whose<'static> = Whose {
    key: 0,
    name: "LinuxCPU",
};

const SERVICES: [(&str, &str); 5] = [
    ("get_linux_cpu", "/proc/stat"),
    ("get_memory_info", "/proc/meminfo"),
    ("GetNetworkStatus", "/proc/net/dev"),
    ("get_disk_io", "/proc/diskstats"),
    ("get_linux_load", "/proc/loadavg"),
];

/// Rounds of one timed loop: long against the clock's resolution, short against what disturbs.
const ROUNDS: u32 = 200;

const REPETITIONS: usize = 101;

/// Reports of one timed loop of the queue; it keeps as many buffers for reuse.
const PUSHES: u32 = 32;

/// Of the queue, as in the settings' defaults.
const MAX_BYTES: usize = 64 << 20;
const MAX_AGE_MS: u64 = 604_800_000;

fn main() {
    // `cargo bench` adds arguments of its own.
    let repetitions = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(REPETITIONS)
        .max(1);
    let mut context = Context::new();
    let mut buffer = vec![0; MAX_REPORT];
    let mut services = SERVICES.map(|(name, path)| Service::open(name, path, &mut context));

    let all = compare(&mut services, &mut context, &mut buffer, repetitions);
    let mut each = Map::new();
    for service in &mut services {
        let name = service.name.to_owned();
        let alone = std::slice::from_mut(service);
        let cost = compare(alone, &mut context, &mut buffer, repetitions);
        each.insert(name, cost.json());
    }

    let before = allocations::allocations();
    for _ in 0..ROUNDS {
        sample(&mut services, &mut context, &mut buffer);
    }
    let allocations = allocations::allocations() - before;

    let [cpu, ..] = &mut services;
    let length = cpu.sample(&mut context, &mut buffer);
    let report = &buffer[..length];
    let line = json!({
        "repetitions": repetitions,
        "all": all.json(),
        "each": each,
        "allocations_per_round": allocations as f64 / f64::from(ROUNDS),
        "push_ns": push_ns(report, repetitions),
        "append_ns": append_ns(report, repetitions),
    });
    println!("{line}");
}

/// A service as the agent samples it, and the file below it.
struct Service {
    name: &'static str,
    file: File,
    sampler: Box<dyn Sampler>,
}

impl Service {
    fn open(name: &'static str, path: &str, context: &mut Context) -> Self {
        Service {
            name,
            file: File::open(path).unwrap_or_else(|cause| panic!("{path}: {cause}")),
            sampler: Probe::by_name(name)
                .unwrap()
                .open(&Roots::default(), context)
                .unwrap_or_else(|error| panic!("{error}")),
        }
    }

    fn sample(&mut self, context: &mut Context, buffer: &mut [u8]) -> usize {
        context.now = Instant::now();
        let envelope = Envelope {
            client_id: ClientId::Number(1),
            service_name: self.name,
            stamp: Stamp::Clock {
                unix_ms: clock::unix_ms(),
                boot: "0123456789abcdef",
            },
            seq: 17,
        };
        match self.sampler.report(context, &envelope, buffer) {
            Ok(length) => length,
            Err(ProbeError::NothingKnown) => envelope.encode(&Shares::default(), buffer).unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Stands for the report of the CPUs' time where no tick has passed: it is encoded all the same.
#[derive(serde::Serialize)]
struct Shares {
    status: i32,
    user: f64,
    nice: f64,
    system: f64,
    iowait: f64,
    steal: f64,
    idle: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Shares {
            status: 0,
            user: 12.34,
            nice: 0.0,
            system: 5.67,
            iowait: 0.12,
            steal: 0.0,
            idle: 81.87,
        }
    }
}

/// CPU time of one round, user and kernel.
struct Cost {
    bare_ns: f64,
    ours_ns: f64,
    /// Median of the ratios of neighbouring repetitions, which the same noise has met.
    ratio: f64,
}

impl Cost {
    fn json(&self) -> Value {
        json!({ "bare_ns": self.bare_ns, "ours_ns": self.ours_ns, "ratio": self.ratio })
    }
}

/// The bare reads and the samples of `services`, in turns.
fn compare(
    services: &mut [Service],
    context: &mut Context,
    buffer: &mut [u8],
    repetitions: usize,
) -> Cost {
    let mut text = [0; 16 << 10];
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first repetition warms up and does not count.
    for repetition in 0..=repetitions {
        let bare_ns = timed(ROUNDS, || {
            for service in services.iter() {
                black_box(service.file.read_at(&mut text, 0).unwrap());
            }
        });
        let ours_ns = timed(ROUNDS, || sample(services, context, buffer));
        if repetition > 0 {
            bare.push(bare_ns);
            ours.push(ours_ns);
            ratios.push(ours_ns / bare_ns);
        }
    }
    Cost {
        bare_ns: median(bare),
        ours_ns: median(ours),
        ratio: median(ratios),
    }
}

fn sample(services: &mut [Service], context: &mut Context, buffer: &mut [u8]) {
    for service in services {
        black_box(service.sample(context, buffer));
    }
}

/// What the agent's loop spends on a report that is drained between the loops.
fn push_ns(report: &[u8], repetitions: usize) -> f64 {
    let mut queue = Queue::new(MAX_BYTES, MAX_AGE_MS);
    let costs = (0..=repetitions).map(|_| {
        let cost = timed(PUSHES, || {
            queue.push(report, WHOSE, clock::uptime());
        });
        while let Some(record) = queue.take(clock::uptime(), |_| true) {
            queue.done(record);
        }
        cost
    });
    median(costs.skip(1).collect())
}

/// Until a report is on disk, with a chore for each, as long as nothing is delivered.
fn append_ns(report: &[u8], repetitions: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(Folder::new(folder.path()));
    let mut queue = Queue::on_disk(MAX_BYTES, MAX_AGE_MS, None, "bench");
    let mut chore = Chore::default();
    let mut append = |queue: &mut Queue, report: Option<&[u8]>| {
        let now = clock::uptime();
        if let Some(report) = report {
            queue.push(report, WHOSE, now);
        }
        queue.begin(&mut chore, Totals::default(), now, clock::unix_ms());
        disk.perform(&mut chore).unwrap();
        queue.finish(&mut chore, true, now);
    };
    append(&mut queue, None);
    let costs = (0..=repetitions).map(|_| {
        let cost = timed(PUSHES, || append(&mut queue, Some(report)));
        while let Some(record) = queue.take(clock::uptime(), |_| true) {
            queue.done(record);
        }
        append(&mut queue, None);
        cost
    });
    median(costs.skip(1).collect())
}

/// CPU time of this thread for one of `rounds` calls of `work`, in nanoseconds.
fn timed(rounds: u32, mut work: impl FnMut()) -> f64 {
    let before = cpu_time();
    for _ in 0..rounds {
        work();
    }
    (cpu_time() - before).as_nanos() as f64 / f64::from(rounds)
}

/// Of this thread: what other processes do in the meantime does not count.
fn cpu_time() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
