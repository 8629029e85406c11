//! What a control group uses, against what its processes say of themselves, `dd`, and what the kernel was told. The group
//! is this test's own, and gone afterwards.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mote_agent::probes::Roots;
use mote_test_support::namespace::run_in_namespace;
use mote_test_support::{DEADLINE, need, wait_for};
use nix::mount::{MsFlags, mount};

use crate::bench::Bench;
use crate::tools::tell;

const MIB: f64 = 1024.0 * 1024.0;

/// Takes 64 MiB and has three processes that sleep. At each line it is given it is busy for so many seconds of CPU time,
/// or does what else it is told, and says what it used so far.
const LOAD: &str = r#"
import os, resource, subprocess, sys
memory = bytearray(os.urandom(4096) * (64 << 8))
sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
def used():
    it = resource.getrusage(resource.RUSAGE_SELF)
    return it.ru_utime + it.ru_stime
print(used(), flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "write":
        subprocess.run(["dd", "if=/dev/zero", "of=" + sys.argv[1], "bs=1M", "count=8", "oflag=direct"], stderr=2)
    elif word == "die":
        grow = "x = bytearray(os.urandom(4096) * (512 << 8))"
        print(subprocess.run([sys.executable, "-c", "import os\n" + grow]).returncode, flush=True)
        continue
    else:
        until = used() + float(word)
        while used() < until:
            pass
    print(used(), flush=True)
for it in sleepers:
    it.kill()
    it.wait()
"#;

#[test]
fn a_group_against_its_own_processes() {
    let Some(group) = need("groups", Group::new()) else {
        return;
    };
    group.set(["cpu", "cpu.cfs_quota_us", "-1"], ["cpu.max", "max 100000"]);
    group.set(
        ["memory", "memory.limit_in_bytes", "268435456"],
        ["memory.max", "268435456"],
    );
    group.set(["pids", "pids.max", "50"], ["pids.max", "50"]);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut load = Load::start(&group, &scratch.path().join("written"));
    let mut bench = Bench::open("get_cgroups");

    // CPU time is what the process says of its own.
    let (before_s, after_s) = (load.last(), load.tell("1"));
    let (data, window) = bench.sample_over();
    let ours = &data["data"][&group.name];
    let number = |field: &str| {
        ours[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field}: {ours}"))
    };
    let used_s = number("cpu_p") / 100.0 * window.as_secs_f64();
    let told_s = after_s - before_s;
    // A tick at either end, and what the others took.
    assert!(
        (told_s - 0.02..told_s + 0.5).contains(&used_s),
        "{used_s} s, told: {told_s} s"
    );
    // 64 MiB, four processes and their stacks.
    assert!(
        (64.0 * MIB..120.0 * MIB).contains(&number("memory")),
        "{ours}"
    );
    assert_eq!(
        (ours["tasks"].as_u64(), ours["kind"].as_str()),
        (Some(4), Some("service"))
    );
    assert_eq!(
        (&ours["memory_limit"], &ours["tasks_limit"]),
        (&(256u64 << 20).into(), &50.into())
    );
    assert_eq!(
        (ours.get("cpu_limit_p"), ours.get("throttled_p")),
        (None, None),
        "{ours}"
    );
    assert_eq!(ours["oom_kills"], 0);

    // A limit of CPU time is kept, and seen to be reached.
    group.set(
        ["cpu", "cpu.cfs_quota_us", "30000"],
        ["cpu.max", "30000 100000"],
    );
    bench.sample();
    // On a busy machine it may come by less than that for a while.
    let ours = wait_for("a group that is held back", DEADLINE, || {
        load.tell("0.5");
        let ours = bench.sample()["data"][&group.name].take();
        (ours["throttled_p"].as_f64()? > 10.0).then_some(ours)
    });
    assert_eq!(ours["cpu_limit_p"], 30.0, "{ours}");
    assert!(ours["cpu_p"].as_f64().unwrap() < 50.0, "{ours}");
    group.set(["cpu", "cpu.cfs_quota_us", "-1"], ["cpu.max", "max 100000"]);

    load.tell("write");
    let (data, window) = bench.sample_over();
    let is_done = fs::metadata(scratch.path().join("written")).is_ok_and(|it| it.len() == 8 << 20);
    match data["data"][&group.name]["written_bytes"].as_f64() {
        _ if !is_done => tell("SKIPPED: what a group writes: the build folder is not on a disk"),
        Some(rate) => {
            let written = rate * window.as_secs_f64();
            assert!((8.0 * MIB - 1.0..9.0 * MIB).contains(&written), "{data}");
        }
        // Newer kernels count it in version 1 only where it is limited.
        None if !group.is_unified => {
            tell("SKIPPED: what a group writes: this kernel does not count it")
        }
        None => panic!("{data}"),
    }

    // Killed by the kernel: -9.
    assert_eq!(load.tell("die"), -9.0);
    assert_eq!(bench.sample()["data"][&group.name]["oom_kills"], 1);
    drop(load);
    let name = group.name.clone();
    drop(group);
    // Others may have made groups meanwhile.
    let data = bench.sample();
    assert_eq!(data["data"].get(&name), None, "{data}");
}

/// Version 2 is mounted here, and whichever of its controllers version 1 does not hold counts in it; CPU time always.
#[test]
fn version_2_where_it_is_mounted_beside_version_1() {
    let name = "truth_cgroups::version_2_where_it_is_mounted_beside_version_1";
    run_in_namespace(name, || {
        let sysfs = tempfile::tempdir().unwrap();
        let root = sysfs.path().join("fs/cgroup");
        fs::create_dir_all(&root).unwrap();
        let none: Option<&str> = None;
        mount(
            Some("mote-test"),
            &root,
            Some("cgroup2"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        let group = Group::below(
            &[root],
            &format!("mote-test-two-{}.slice", std::process::id()),
        )
        .unwrap();
        let mut load = Load::start(&group, &sysfs.path().join("written"));
        let roots = Roots {
            sysfs: sysfs.path().to_owned(),
            ..Roots::default()
        };
        let mut bench = Bench::on(&roots, "get_cgroups");
        let (before_s, after_s) = (load.last(), load.tell("0.5"));
        let (data, window) = bench.sample_over();
        let ours = &data["data"][&group.name];
        let used_s = ours["cpu_p"].as_f64().unwrap() / 100.0 * window.as_secs_f64();
        let told_s = after_s - before_s;
        assert!(
            (told_s - 0.02..told_s + 0.5).contains(&used_s),
            "{used_s} s, told: {told_s} s"
        );
        assert_eq!(ours["kind"], "slice");
    });
}

/// A group in each hierarchy that can be written.
struct Group {
    name: String,
    folders: Vec<PathBuf>,
    is_unified: bool,
}

impl Group {
    fn new() -> Result<Group, String> {
        let base = Path::new("/sys/fs/cgroup");
        let name = format!("mote-test-{}.service", std::process::id());
        let is_unified = base.join("cgroup.controllers").exists();
        let roots = match is_unified {
            true => {
                let enabled = fs::read_to_string(base.join("cgroup.subtree_control"));
                let enabled = enabled.unwrap_or_default();
                let all = ["cpu", "memory", "pids", "io"];
                if !all
                    .iter()
                    .all(|it| enabled.split_whitespace().any(|word| word == *it))
                {
                    return Err(format!("{base:?}: {enabled} are enabled, and not {all:?}"));
                }
                vec![base.to_owned()]
            }
            false => ["cpuacct", "cpu", "memory", "pids", "blkio"]
                .map(|it| base.join(it))
                .to_vec(),
        };
        let mut group = Group::below(&roots, &name)?;
        group.is_unified = is_unified;
        Ok(group)
    }

    fn below(roots: &[PathBuf], name: &str) -> Result<Group, String> {
        let mut group = Group {
            name: name.to_owned(),
            folders: Vec::new(),
            is_unified: true,
        };
        for root in roots {
            let folder = root.join(name);
            match fs::create_dir(&folder) {
                Ok(()) => group.folders.push(folder),
                // `cpu` and `cpuacct` may be the same.
                Err(_) if folder.exists() => {}
                Err(cause) => return Err(format!("{}: {cause}; run as root", folder.display())),
            }
        }
        Ok(group)
    }

    /// Writes a file of version 1, with its hierarchy, or of version 2.
    fn set(&self, [hierarchy, legacy, legacy_value]: [&str; 3], [file, value]: [&str; 2]) {
        let (path, value) = match self.is_unified {
            true => (self.folders[0].join(file), value),
            false => {
                let folder = Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.name);
                (folder.join(legacy), legacy_value)
            }
        };
        fs::write(&path, value).unwrap_or_else(|cause| panic!("{path:?}: {cause}"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The kernel lets go of a process a moment after it ended.
            wait_for("an empty group", DEADLINE, || {
                match fs::remove_dir(folder) {
                    Err(cause) if folder.exists() => {
                        tell(&format!("{}: {cause}", folder.display()));
                        None
                    }
                    _ => Some(()),
                }
            });
        }
    }
}

/// The processes in the group.
struct Load {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    said: f64,
}

impl Load {
    fn start(group: &Group, file: &Path) -> Load {
        let enter: String = (group.folders.iter())
            .map(|folder| format!("echo $$ > {}/cgroup.procs && ", folder.display()))
            .collect();
        let mut child = Command::new("sh")
            .args(["-c", &format!("{enter}exec python3 -c \"$0\" \"$@\"")])
            .arg(LOAD)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut load = Load {
            child,
            input,
            output: BufReader::new(output),
            said: 0.0,
        };
        load.listen();
        load
    }

    fn last(&self) -> f64 {
        self.said
    }

    /// Has it do something, and waits until it is done.
    fn tell(&mut self, word: &str) -> f64 {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
        self.listen();
        self.said
    }

    fn listen(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        self.said = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("it said {line:?}"));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
