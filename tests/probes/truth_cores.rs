//! What each CPU does, against `mpstat`, whose window lies within the probe's: what a CPU was busy and idle in it is no
//! more than what the probe counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::bench::Bench;
use crate::tools::output;

/// How long mpstat looks, at least.
const WINDOW_S: f64 = 2.0;

/// A tick of the kernel is 10 ms at most; one is lost at each end, and the kernel may take back one.
const TICKS_S: f64 = 0.03;

/// So much time of a CPU is told from what is lost to ticks.
const ENOUGH: Duration = Duration::from_millis(300);

#[test]
fn cores_against_mpstat() {
    if output("sysstat", "mpstat", &["-V"]).is_none() {
        return;
    }
    let is_over = AtomicBool::new(false);
    let (ours, window_s, theirs, worked, core) = thread::scope(|scope| {
        let mut bench = Bench::open("get_cpu_cores");
        let load = scope.spawn(|| load(&is_over));
        let theirs = output("sysstat", "mpstat", &["-P", "ALL", "-o", "JSON", "2", "1"]);
        is_over.store(true, Ordering::Relaxed);
        let (core, worked) = load.join().unwrap();
        let (ours, window) = bench.sample_over();
        (ours, window.as_secs_f64(), theirs.unwrap(), worked, core)
    });
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let rows = &theirs["sysstat"]["hosts"][0]["statistics"][0]["cpu-load"];
    let mut compared = 0;
    for row in rows.as_array().unwrap() {
        let cpu = row["cpu"].as_str().unwrap();
        if cpu == "all" {
            continue;
        }
        let core = &ours["data"][format!("cpu{cpu}")];
        let percent = |field: &str| core[field].as_f64().unwrap();
        let share = |names: &[&str]| {
            names
                .iter()
                .map(|it| row[it].as_f64().unwrap())
                .sum::<f64>()
        };
        let busy = share(&[
            "usr", "nice", "sys", "irq", "soft", "steal", "guest", "gnice",
        ]);
        let rounding_s = 0.0005 * window_s;
        for (what, ours, theirs) in [
            ("busy", percent("busy_p"), busy),
            (
                "idle",
                100.0 - percent("busy_p"),
                share(&["idle", "iowait"]),
            ),
            ("stolen", percent("steal_p"), share(&["steal"])),
        ] {
            let (ours_s, theirs_s) = (ours / 100.0 * window_s, theirs / 100.0 * WINDOW_S);
            assert!(
                ours_s >= theirs_s - TICKS_S - rounding_s,
                "cpu{cpu} {what}: {ours_s} s of {window_s} s, mpstat: {theirs_s} s of {WINDOW_S} s"
            );
        }
        compared += 1;
    }
    assert_eq!(ours["data"].as_object().unwrap().len(), compared, "{ours}");
    // The one that this test kept busy was as busy as the kernel says of the thread.
    let busy_s = ours["data"][format!("cpu{core}")]["busy_p"]
        .as_f64()
        .unwrap()
        / 100.0
        * window_s;
    assert!(
        busy_s >= worked.as_secs_f64() - TICKS_S,
        "{busy_s} s of {worked:?}"
    );
}

/// Keeps one CPU busy until it is over, and for long enough to be seen beside any other load; gives which CPU, and how
/// much time it had there.
fn load(is_over: &AtomicBool) -> (usize, Duration) {
    let allowed = sched_getaffinity(None).unwrap();
    let core = (0..CpuSet::MAX_CPU)
        .rfind(|it| allowed.is_set(*it))
        .unwrap();
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).unwrap();
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let begin = used();
    while !is_over.load(Ordering::Relaxed) || used() - begin < ENOUGH {
        std::hint::spin_loop();
    }
    (core, used() - begin)
}
