//! Runs of real plugins, which are shell scripts.

use super::super::limits::{MAX_ERROR_BYTES, MAX_OUTPUT_BYTES};
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with one plugin, `check`: a shell script.
struct Bench {
    folder: TempDir,
    plugins: Plugins,
}

impl Bench {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("check");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let plugins = Plugins {
            folder: folder.path().to_owned(),
            allowed: vec!["check".to_owned()],
            commands: vec![],
            time_limit: Duration::from_secs(60),
        };
        Bench { folder, plugins }
    }

    fn start(&self) -> Running {
        loop {
            match Running::start(&self.plugins, None, "check", 7, Instant::now()) {
                // A child that another test forks holds the script open until it executes.
                Err(PluginError::Start { cause, .. })
                    if cause.kind() == ErrorKind::ExecutableFileBusy => {}
                started => return started.unwrap(),
            }
        }
    }

    fn data(&self) -> Value {
        let outcome = finish(&mut self.start());
        assert_eq!(outcome.slot, 7);
        serde_json::to_value(outcome.data()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

/// A small version of the agent's loop. SIGCHLD belongs to the whole test process, so this one
/// looks every few milliseconds instead.
fn finish(running: &mut Running) -> RunOutcome {
    loop {
        turn(running);
        if let Some(outcome) = running.try_finish() {
            assert_eq!(running.deadline(), None);
            assert_eq!(running.pipes().count(), 0);
            assert!(running.try_finish().is_none());
            return outcome;
        }
    }
}

fn turn(running: &mut Running) {
    let mut fds: Vec<_> = running
        .pipes()
        .map(|pipe| PollFd::new(pipe, PollFlags::POLLIN))
        .collect();
    let ready = poll(&mut fds, PollTimeout::from(5u8)).unwrap();
    drop(fds);
    if ready > 0 {
        running.on_readable();
    }
    if running.deadline().is_some_and(|at| at <= Instant::now()) {
        running.on_deadline(Instant::now());
    }
}

/// Reads the pid that a script wrote, once the whole line is there.
fn pid_in(bench: &Bench, name: &str, running: &mut Running) -> Pid {
    let path = bench.folder.path().join(name);
    loop {
        turn(running);
        if let Ok(text) = fs::read_to_string(&path)
            && let Some(line) = text.strip_suffix('\n')
        {
            return Pid::from_raw(line.parse().unwrap());
        }
    }
}

/// Waits until a plugin is no longer a child of this process. Something else reaps it.
fn wait_until_reaped(pid: Pid) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    for _ in 0..30_000 {
        leftovers::reap_abandoned();
        if waitid(Id::Pid(pid), flags) == Err(Errno::ECHILD) {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("process {pid} was not reaped");
}

/// Waits until a process is gone or a zombie. Gives up after a while, since a process that was missed sleeps
/// for an hour.
fn wait_until_dead(pid: Pid) {
    for _ in 0..30_000 {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => thread::sleep(Duration::from_millis(2)),
            _ => return,
        }
    }
    panic!("process {pid} was left alive");
}

#[test]
fn flat_output() {
    let bench = Bench::new(r#"echo '{"a": 1.5, "b": "x"}'"#);
    assert_eq!(bench.data(), json!({"status": 0, "a": 1.5, "b": "x"}));
}

#[test]
fn output_per_item() {
    let bench = Bench::new(r#"echo '{"data": {"sda": {"r": 1}, "sdb": {"r": 2}}}'"#);
    assert_eq!(
        bench.data(),
        json!({"status": 0, "data": {"sda": {"r": 1}, "sdb": {"r": 2}}})
    );
}

#[test]
fn an_exit_status_with_and_without_output() {
    let bench =
        Bench::new(r#"echo '{"a": 1}'; echo >&2; echo ' disk is full' >&2; echo more >&2; exit 3"#);
    assert_eq!(
        bench.data(),
        json!({"status": 3, "a": 1, "error": "disk is full"})
    );
    assert_eq!(
        Bench::new("exit 3").data(),
        json!({"status": 3, "error": "exit status 3"})
    );
}

#[test]
fn a_long_complaint_is_cut_and_does_not_stall_the_plugin() {
    let bench = Bench::new("head -c 1000000 /dev/zero | tr '\\0' e >&2; exit 4");
    assert_eq!(
        bench.data(),
        json!({"status": 4, "error": "e".repeat(MAX_ERROR_BYTES)})
    );
}

#[test]
fn output_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let padded = |bytes: usize| {
        let fill = bytes - r#"{"a":""}"#.len();
        format!(r#"printf '{{"a":"'; head -c {fill} /dev/zero | tr '\0' a; printf '"}}'"#)
    };
    let data = Bench::new(&padded(MAX_OUTPUT_BYTES)).data();
    assert_eq!(data["status"], 0);
    assert_eq!(data["a"].as_str().unwrap().len(), MAX_OUTPUT_BYTES - 8);
    assert_eq!(
        Bench::new(&padded(MAX_OUTPUT_BYTES + 1)).data(),
        json!({"status": 1, "error": "printed more than 64 KiB"})
    );
}

#[test]
fn a_plugin_that_complains_without_end_is_killed() {
    let bench = Bench::new("trap '' PIPE TERM; while :; do echo 0123456789abcdef >&2; done");
    assert_eq!(
        bench.data(),
        json!({"status": 1, "error": "printed more than 1024 KiB"})
    );
}

#[test]
fn a_plugin_that_prints_without_end_is_killed() {
    let bench = Bench::new("trap '' PIPE TERM; while :; do echo 0123456789abcdef; done");
    assert_eq!(
        bench.data(),
        json!({"status": 1, "error": "printed more than 64 KiB"})
    );
}

#[test]
fn the_time_limit_asks_first() {
    let bench = Bench::new(
        "trap 'echo asked > asked; exit 0' TERM
             echo $$ > pid; while :; do sleep 0.01; done",
    );
    let mut running = bench.start();
    pid_in(&bench, "pid", &mut running);
    running.on_deadline(running.deadline().unwrap());
    assert_eq!(
        serde_json::to_value(finish(&mut running).data()).unwrap(),
        json!({"status": 124, "error": "stopped after its time limit of 60 s"})
    );
    assert_eq!(bench.read("asked"), "asked\n");
}

#[test]
fn the_loop_ends_what_takes_too_long() {
    let mut bench = Bench::new("while :; do sleep 0.01; done");
    bench.plugins.time_limit = Duration::from_millis(100);
    assert_eq!(
        bench.data(),
        json!({"status": 124, "error": "stopped after its time limit of 0.1 s"})
    );
}

#[test]
fn the_time_limit_kills_what_ignores_the_question() {
    let bench = Bench::new("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done");
    let mut running = bench.start();
    pid_in(&bench, "pid", &mut running);
    let limit = running.deadline().unwrap();
    running.on_deadline(limit - Duration::from_millis(1));
    assert_eq!(running.deadline(), Some(limit));
    running.on_deadline(limit);
    assert_eq!(running.deadline(), Some(limit + KILL_AFTER));
    thread::sleep(Duration::from_millis(50));
    assert!(running.try_finish().is_none());
    running.on_deadline(limit + KILL_AFTER);
    assert_eq!(running.deadline(), None);
    assert_eq!(
        serde_json::to_value(finish(&mut running).data()).unwrap(),
        json!({"status": 124, "error": "stopped after its time limit of 60 s"})
    );
}

#[test]
fn a_plugin_that_ended_just_before_its_limit_has_not_failed() {
    let bench = Bench::new("echo '{}'");
    let mut running = bench.start();
    while running.is_alive() {
        thread::sleep(Duration::from_millis(2));
    }
    running.on_deadline(running.deadline().unwrap());
    assert_eq!(
        serde_json::to_value(finish(&mut running).data()).unwrap(),
        json!({"status": 0})
    );
}

#[test]
fn a_grandchild_that_holds_the_pipe_neither_delays_nor_survives() {
    let bench = Bench::new(r#"trap '' HUP TERM; sleep 3600 & echo $! > pid; echo '{"a": 1}'"#);
    // If the agent waited for it, the time limit would make this status 124.
    assert_eq!(bench.data(), json!({"status": 0, "a": 1}));
    let grandchild: i32 = bench.read("pid").trim().parse().unwrap();
    wait_until_dead(Pid::from_raw(grandchild));
}

#[test]
fn nothing_printed() {
    assert_eq!(
        Bench::new(":").data(),
        json!({"status": 1, "error": "printed nothing where one JSON object is due"})
    );
}

#[test]
fn closed_pipes_are_no_longer_polled_while_the_plugin_goes_on() {
    let bench =
        Bench::new(r#"echo '{"a": 1}'; exec >&- 2>&-; while [ ! -e go ]; do sleep 0.01; done"#);
    let mut running = bench.start();
    while running.pipes().count() > 0 {
        turn(&mut running);
    }
    assert!(running.try_finish().is_none());
    fs::write(bench.folder.path().join("go"), "").unwrap();
    assert_eq!(
        serde_json::to_value(finish(&mut running).data()).unwrap(),
        json!({"status": 0, "a": 1})
    );
}

#[test]
fn a_plugin_killed_by_a_signal() {
    assert_eq!(
        Bench::new("kill -KILL $$").data(),
        json!({"status": 137, "error": "killed by SIGKILL"})
    );
    // A signal that has a number but no name.
    assert_eq!(
        Bench::new("kill -40 $$").data(),
        json!({"status": 168, "error": "killed by signal 40"})
    );
}

#[test]
fn dropping_a_run_kills_its_group() {
    let bench = Bench::new("trap '' TERM; sleep 3600 & echo $! > pid; wait");
    let mut running = bench.start();
    let grandchild = pid_in(&bench, "pid", &mut running);
    let leader = running.group;
    drop(running);
    wait_until_reaped(leader);
    wait_until_dead(grandchild);
}

#[test]
fn a_plugin_s_surroundings_are_bare() {
    // The signals first, and without a command: a shell changes them around its forks.
    let bench = Bench::new(
        "while read -r line; do
                 case $line in SigBlk:*) echo \"$line\" ;; esac
             done < /proc/$$/status > blocked
             tr '\\0' '\\n' < /proc/$$/environ > environ
             pwd > folder; echo $# > arguments; cat > input
             cut -d ' ' -f 1,5 /proc/$$/stat > group
             readlink /proc/$$/fd/* > descriptors; echo '{}'",
    );
    let open = tempfile::NamedTempFile::new().unwrap();
    let blocked = SigSet::from(Signal::SIGTERM);
    blocked.thread_block().unwrap();
    let data = bench.data();
    blocked.thread_unblock().unwrap();

    assert_eq!(data, json!({"status": 0}));
    let environ = bench.read("environ");
    let mut environ: Vec<_> = environ.lines().collect();
    environ.sort_unstable();
    assert_eq!(environ, ["LC_ALL=C", "PATH=/usr/bin:/bin"]);
    let folder = bench.folder.path().canonicalize().unwrap();
    assert_eq!(bench.read("folder").trim(), folder.to_str().unwrap());
    assert_eq!(bench.read("arguments"), "0\n");
    assert_eq!(bench.read("input"), "");
    assert_eq!(bench.read("blocked"), "SigBlk:\t0000000000000000\n");
    let group = bench.read("group");
    let (pid, group) = group.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
    let descriptors = bench.read("descriptors");
    assert!(
        !descriptors.contains(open.path().to_str().unwrap()),
        "{descriptors}"
    );
}

#[test]
fn a_program_that_the_system_cannot_run_is_named() {
    let bench = Bench::new("");
    fs::write(bench.folder.path().join("check"), "#!/no/such/shell\n").unwrap();
    let error = Running::start(&bench.plugins, None, "check", 0, Instant::now()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("/check could not be started: "), "{error}");
}

#[test]
fn many_runs_leave_no_zombie_and_no_open_descriptor() {
    let bench = Bench::new(r#"echo '{"a": 1}'"#);
    let mut pids = Vec::new();
    let mut pipes = Vec::new();
    for run in 0..200 {
        let mut running = bench.start();
        pids.push(running.group);
        // A pipe is known by its inode: other tests have descriptors of their own.
        for pipe in running.pipes() {
            let facts = nix::sys::stat::fstat(pipe).unwrap();
            pipes.push(format!("pipe:[{}]", facts.st_ino));
        }
        // Every other one is abandoned.
        if run % 2 == 0 {
            finish(&mut running);
        }
    }
    assert_eq!(pipes.len(), 400);
    for pid in pids {
        wait_until_reaped(pid);
    }
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        if let Ok(target) = fs::read_link(entry.unwrap().path()) {
            let target = target.to_string_lossy().into_owned();
            assert!(!pipes.contains(&target), "{target} is still open");
        }
    }
}
