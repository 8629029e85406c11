//! Recorded trees of both versions, many groups, and odd ones.

mod odd;

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SECOND: Duration = Duration::from_secs(1);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// A sysfs that may be changed, and the probe on it.
struct Bench {
    folder: tempfile::TempDir,
    context: Context,
    cgroups: Option<Cgroups>,
}

type Found = BTreeMap<String, GroupData>;

impl Bench {
    /// Of version 2.
    fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm");
        let bench = Bench {
            folder: memory.or_else(|_| tempfile::tempdir()).unwrap(),
            context: Context::new(),
            cgroups: None,
        };
        bench.write("cgroup.controllers", "cpu io memory pids\n");
        bench
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("fs/cgroup").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A group of which CPU time, memory and tasks are counted.
    fn group(&self, path: &str, cpu_us: u64, memory: u64) {
        self.write(
            &format!("{path}/cpu.stat"),
            &format!("usage_usec {cpu_us}\n"),
        );
        self.write(&format!("{path}/memory.current"), &format!("{memory}\n"));
        self.write(&format!("{path}/memory.stat"), "inactive_file 0\n");
        self.write(&format!("{path}/pids.current"), "2\n");
    }

    fn open(&mut self) {
        let roots = Roots {
            sysfs: self.folder.path().to_owned(),
            rootfs: self.folder.path().to_owned(),
            ..Roots::default()
        };
        self.cgroups = Some(Cgroups::open(&roots, &mut self.context).unwrap());
    }

    fn sample(&mut self, passed: Duration) -> (Found, usize) {
        self.context.now += passed;
        let cgroups = self.cgroups.as_mut().unwrap();
        match cgroups.sample(&mut self.context) {
            Ok(items) => {
                let found = items.iter().map(|(name, data)| (name.to_owned(), *data));
                (found.collect(), items.omitted())
            }
            Err(ProbeError::NothingKnown) => Default::default(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What is said of a recorded tree, in which no time passes.
fn recorded(sysfs: &str) -> Found {
    let roots = Roots {
        sysfs: fixtures().join(sysfs),
        rootfs: fixtures().join("root"),
        ..Roots::default()
    };
    let mut context = Context::new();
    let mut cgroups = Cgroups::open(&roots, &mut context).unwrap();
    context.now += SECOND;
    let items = cgroups.sample(&mut context).unwrap();
    assert_eq!(items.omitted(), 0);
    items
        .iter()
        .map(|(name, data)| (name.to_owned(), *data))
        .collect()
}

#[test]
fn a_recorded_tree_of_version_2() {
    let all = recorded("sys");
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    let expected = [
        "docker/web",
        "init.scope",
        "machine.slice",
        "nginx.service",
        "podman/db",
        "ssh.service",
        "system.slice",
        "user-1000.slice",
        "user.slice",
        "user@1000.service",
        "user@1000.service/app.slice",
        "user@1000.service/editor.service",
    ];
    assert_eq!(names, expected);
    let nginx = GroupData {
        kind: "service",
        cpu_p: Some(0.0),
        cpu_limit_p: Some(150.0),
        throttled_p: Some(0.0),
        memory: Some(100_000_000),
        memory_limit: Some(256 << 20),
        read_bytes: Some(0.0),
        written_bytes: Some(0.0),
        tasks: Some(9),
        tasks_limit: Some(4915),
        oom_kills: Some(1),
    };
    assert_eq!(all["nginx.service"], nginx);
    let init = all["init.scope"];
    let no_limits = (
        init.cpu_limit_p,
        init.throttled_p,
        init.memory_limit,
        init.tasks_limit,
    );
    assert_eq!((init.kind, no_limits), ("scope", (None, None, None, None)));
}

#[test]
fn a_recorded_tree_of_version_1() {
    let all = recorded("cgroup1");
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["cron.service", "docker/web", "ssh.service", "system.slice"]
    );
    let web = GroupData {
        kind: "container",
        cpu_p: Some(0.0),
        cpu_limit_p: Some(50.0),
        throttled_p: Some(0.0),
        memory: Some(600_000_000),
        memory_limit: Some(1 << 30),
        read_bytes: Some(0.0),
        written_bytes: Some(0.0),
        tasks: Some(33),
        tasks_limit: None,
        oom_kills: Some(1),
    };
    assert_eq!(all["docker/web"], web);
    // Only the hierarchy of version 2 beside the others counts its CPU time.
    let ssh = GroupData {
        kind: "service",
        cpu_p: Some(0.0),
        ..GroupData::default()
    };
    assert_eq!(all["ssh.service"], ssh);
    let cron = all["cron.service"];
    assert_eq!(
        (cron.cpu_limit_p, cron.memory_limit, cron.throttled_p),
        (None, None, None)
    );
}

#[test]
fn rates_are_over_the_time_of_each_group() {
    let mut bench = Bench::new();
    bench.group("a.service", 1_000_000, 5);
    let stat = |us: u64, all: u64, held: u64| {
        format!("usage_usec {us}\nnr_periods {all}\nnr_throttled {held}\n")
    };
    bench.write("a.service/cpu.stat", &stat(1_000_000, 100, 50));
    bench.write("a.service/cpu.max", "50000 100000\n");
    bench.write("a.service/io.stat", "8:0 rbytes=1000 wbytes=0\n");
    bench.open();
    bench.write("a.service/cpu.stat", &stat(2_000_000, 140, 60));
    bench.write(
        "a.service/io.stat",
        "8:0 rbytes=1000 wbytes=10\n8:1 rbytes=5 wbytes=0\n",
    );
    let (all, omitted) = bench.sample(4 * SECOND);
    let a = all["a.service"];
    assert_eq!((a.cpu_p, a.throttled_p), (Some(25.0), Some(25.0)));
    assert_eq!((a.read_bytes, a.written_bytes), (Some(1.25), Some(2.5)));
    assert_eq!((a.tasks, omitted), (Some(2), 0));
    // Nothing ran, so that nothing was held back.
    assert_eq!(bench.sample(SECOND).0["a.service"].throttled_p, Some(0.0));
    bench.write("a.service/cpu.stat", &stat(1, 140, 60));
    assert_eq!(bench.sample(SECOND).0, Found::new(), "backwards");
    bench.write("a.service/cpu.stat", &stat(500_001, 140, 60));
    assert_eq!(bench.sample(SECOND).0["a.service"].cpu_p, Some(50.0));
}

#[test]
fn groups_come_and_go() {
    let mut bench = Bench::new();
    bench.group("a.service", 1_000_000, 5);
    bench.open();
    bench.group("b.service", 0, 5);
    assert_eq!(bench.sample(SECOND).0.len(), 1, "not looked for again yet");
    assert_eq!(
        bench.sample(LOOK_AGAIN).0.len(),
        1,
        "no rate of the new one yet"
    );
    assert_eq!(bench.sample(SECOND).0.len(), 2);
    // One that was started again is another one, even if it counts beyond the old one at once.
    fs::rename(bench.path("a.service"), bench.path("gone")).unwrap();
    bench.group("a.service", 9_000_000, 5);
    let (all, omitted) = bench.sample(SECOND);
    assert_eq!(
        (all.keys().map(String::as_str).collect::<Vec<_>>(), omitted),
        (vec!["b.service"], 0)
    );
    assert_eq!(bench.sample(SECOND).0["a.service"].cpu_p, Some(0.0));
    fs::rename(bench.path("a.service"), bench.path("gone too")).unwrap();
    assert_eq!(bench.sample(SECOND), bench.sample(SECOND));
    assert_eq!(bench.sample(LOOK_AGAIN).0.len(), 1);
}

/// 60 services of two slices: what is not reported is summed once.
#[test]
fn the_largest_are_reported_and_the_others_summed() {
    let mut bench = Bench::new();
    let service = |n: u64| format!("{}.slice/s{n}.service", ["a", "b"][n as usize % 2]);
    let all_us: u64 = (0..60).sum::<u64>() * 10_000;
    let all_bytes: u64 = (0..60).map(|n| 1000 - n).sum();
    let fill = |bench: &Bench, times: u64| {
        let (mut us, mut bytes) = ([0, 0], [0, 0]);
        for n in 0..60 {
            // Who uses much CPU time has little memory.
            let (cpu_us, memory) = (n * 10_000 * times, 1000 - n);
            bench.group(&service(n), cpu_us, memory);
            us[n as usize % 2] += cpu_us;
            bytes[n as usize % 2] += memory;
        }
        bench.group("a.slice", us[0], bytes[0]);
        bench.group("b.slice", us[1], bytes[1]);
    };
    fill(&bench, 0);
    bench.open();
    fill(&bench, 1);
    let (all, omitted) = bench.sample(SECOND);
    assert_eq!((all.len(), omitted), (MAX_REPORTED + 1, 12));
    // Both slices and 23 services for their CPU time, and 25 for their memory.
    let left_out: Vec<u64> = (0..60)
        .filter(|n| !all.contains_key(&format!("s{n}.service")))
        .collect();
    assert_eq!(left_out, (25..37).collect::<Vec<_>>());
    let others = all[OTHERS];
    assert_eq!(others.kind, "others");
    let expected: u64 = left_out.iter().sum();
    assert_eq!(others.cpu_p, Some(expected as f64));
    assert_eq!(others.memory, Some(left_out.iter().map(|n| 1000 - n).sum()));
    assert_eq!(others.tasks, Some(24));
    assert_eq!((others.memory_limit, others.oom_kills), (None, None));
    let services = all.iter().filter(|(_, it)| it.kind != "slice");
    let (cpu_p, bytes) = services.fold((0.0, 0), |(cpu, bytes), (_, it)| {
        (cpu + it.cpu_p.unwrap(), bytes + it.memory.unwrap())
    });
    assert_eq!((cpu_p, bytes), (all_us as f64 / 10_000.0, all_bytes));
}

/// A slice that is not reported is summed, and what is in it is not summed once more.
#[test]
fn what_is_in_a_group_is_not_summed_twice() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.group(&format!("s{n}.service"), 0, 1000);
    }
    bench.group("z.slice", 0, 100);
    bench.group("z.slice/z-y.slice", 0, 90);
    bench.group("z.slice/z-y.slice/x.service", 0, 80);
    bench.group("z.slice/w.service", 0, 10);
    bench.open();
    let (all, omitted) = bench.sample(SECOND);
    assert_eq!((all[OTHERS].memory, omitted), (Some(100), 4));
}

/// A service that is read after its slice may have used more than that.
#[test]
fn no_group_is_reported_without_those_that_it_is_in() {
    let mut bench = Bench::new();
    let fill = |bench: &Bench, times: u64| {
        for n in 0..24 {
            bench.group(&format!("a{n}.service"), 20_000 * times, 1);
        }
        for n in 0..25 {
            bench.group(&format!("b{n}.service"), 0, 1000);
        }
        bench.group("z.slice", 9_900 * times, 1);
        bench.group("z.slice/x.service", 10_000 * times, 1);
    };
    fill(&bench, 0);
    bench.open();
    fill(&bench, 1);
    let (all, omitted) = bench.sample(SECOND);
    assert!(all.contains_key("z.slice") && !all.contains_key("x.service"));
    assert_eq!((all[OTHERS].cpu_p, omitted), (Some(1.0), 1));
}
