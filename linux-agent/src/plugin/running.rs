//! One run of a plugin, for a loop around poll(2): nothing here waits.
//!
//! The loop polls [`Running::pipes`] for reading and calls [`Running::on_readable`]; it wakes at
//! [`Running::deadline`] and calls [`Running::on_deadline`]; after SIGCHLD it calls
//! [`Running::try_finish`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::confine::{Confinement, OOM_SCORE_ADJ};
use super::{Account, Ended, Outcome, PluginError, Plugins, leftovers};

/// A plugin may write this much to its standard output.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// This much of a plugin's first line on standard error is kept.
pub const MAX_ERROR_BYTES: usize = 256;
/// A plugin may write this much to its standard error, though little of it is kept: reading what is thrown away
/// takes the agent's time.
pub const MAX_COMPLAINT_BYTES: usize = 1 << 20;
/// After SIGTERM a group has this long before SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_secs(2);

const CHUNK_BYTES: usize = 8 << 10;

/// A plugin at work. Dropping it kills its whole group, which is then reaped when it is gone.
#[derive(Debug)]
pub struct Running {
    slot: usize,
    child: Child,
    /// The process group, whose id is the plugin's own.
    group: Pid,
    /// `None` once it is closed: a closed pipe would wake the loop again and again.
    stdout: Option<File>,
    stderr: Option<File>,
    output: Vec<u8>,
    complaint: Vec<u8>,
    /// All that was read, kept or not.
    complaint_bytes: usize,
    time_limit: Duration,
    next_step: Option<(Instant, Step)>,
    /// Why the agent ended the run, if it did.
    stopped: Option<Stopped>,
    reaped: bool,
    /// Whether the kernel was told to end this before the agent.
    is_expendable: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Terminate,
    Kill,
}

#[derive(Clone, Copy, Debug)]
enum Stopped {
    TimedOut,
    /// More than so many bytes.
    TooMuchOutput(usize),
}

impl Running {
    /// Starts the plugin `name` if it may run, as the user `account` or as this process's. Its outcome will carry
    /// `slot`.
    pub fn start(
        plugins: &Plugins,
        account: Option<&Account>,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<Self, PluginError> {
        let path = plugins.find(name)?;
        let mut command = Command::new(&path);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir(path.parent().unwrap_or(&path))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let confinement = Confinement::new(plugins.time_limit, account.cloned());
        // SAFETY: between fork and exec, this makes system calls on what was made up before; it allocates nothing,
        // takes no lock and does not panic.
        unsafe {
            command.pre_exec(move || confinement.apply());
        }
        let start = |cause| PluginError::Start { path, cause };
        let pid = |child: &Child| Pid::from_raw(child.id().cast_signed());
        let mut child = match leftovers::with_leader(|| command.spawn(), pid) {
            Ok(child) => child,
            Err(cause) => return Err(start(cause)),
        };
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let group = pid(&child);
        let mut running = Running {
            slot,
            child,
            group,
            stdout: None,
            stderr: None,
            output: Vec::new(),
            complaint: Vec::new(),
            complaint_bytes: 0,
            time_limit: plugins.time_limit,
            next_step: now
                .checked_add(plugins.time_limit)
                .map(|at| (at, Step::Terminate)),
            stopped: None,
            reaped: false,
            // A process that becomes another user has told the kernel itself.
            is_expendable: account.is_some(),
        };
        running.make_expendable();
        // From here on an error drops `running`, which ends what was started.
        match (non_blocking(stdout), non_blocking(stderr)) {
            (Ok(stdout), Ok(stderr)) => {
                running.stdout = stdout;
                running.stderr = stderr;
                Ok(running)
            }
            (Err(cause), _) | (_, Err(cause)) => Err(start(cause)),
        }
    }

    /// What [`start`](Self::start) was given.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Its pipes that are still open, to be polled for reading. They never block.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .map(File::as_fd)
    }

    /// Reads one piece from each pipe that has something. Too much output kills the group.
    pub fn on_readable(&mut self) {
        self.make_expendable();
        self.read_stdout();
        self.read_stderr();
    }

    /// When [`on_deadline`](Self::on_deadline) is to be called, unless the run is over before.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_step.map(|(at, _)| at)
    }

    /// Sends SIGTERM once the time limit has passed, and SIGKILL [`KILL_AFTER`] later.
    pub fn on_deadline(&mut self, now: Instant) {
        let Some((_, step)) = self.next_step.filter(|(at, _)| now >= *at) else {
            return;
        };
        // `try_finish` takes a plugin that ended just in time.
        if self.reaped || !self.is_alive() {
            self.next_step = None;
            return;
        }
        match step {
            Step::Terminate => {
                self.stopped = Some(Stopped::TimedOut);
                self.signal_group(Signal::SIGTERM);
                self.next_step = now.checked_add(KILL_AFTER).map(|at| (at, Step::Kill));
            }
            Step::Kill => {
                self.signal_group(Signal::SIGKILL);
                self.next_step = None;
            }
        }
    }

    /// The outcome, once, if the plugin has ended. What its pipes hold by then counts; what is left
    /// of its group is killed, so that a process it left behind keeps nothing open.
    pub fn try_finish(&mut self) -> Option<Outcome> {
        if self.reaped || self.is_alive() {
            return None;
        }
        while self.read_stdout() {}
        while !self.complaint_is_complete() && self.read_stderr() {}
        let status = self.kill_and_reap()?;
        let ended = match (self.stopped, status) {
            (Some(Stopped::TimedOut), _) => Ended::TimedOut(self.time_limit),
            (Some(Stopped::TooMuchOutput(max_bytes)), _) => Ended::TooMuchOutput(max_bytes),
            (None, Err(cause)) => Ended::Failed(format!("its exit status was lost: {cause}")),
            (None, Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => Ended::Exited(code),
                (None, signal) => Ended::Killed(signal.unwrap_or_default()),
            },
        };
        self.stdout = None;
        self.stderr = None;
        self.next_step = None;
        Some(Outcome {
            slot: self.slot,
            ended,
            output: std::mem::take(&mut self.output),
            complaint: first_line(&self.complaint),
        })
    }

    /// Whether the plugin itself, the leader of its group, still runs.
    fn is_alive(&self) -> bool {
        self.look() == Ok(WaitStatus::StillAlive)
    }

    /// The state of the leader, which is not reaped by this.
    fn look(&self) -> Result<WaitStatus, Errno> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.group), flags)
    }

    /// Kills the group, then reaps its leader if it has ended. In this order: until the leader is
    /// reaped, no other group can have this id.
    fn kill_and_reap(&mut self) -> Option<io::Result<ExitStatus>> {
        self.signal_group(Signal::SIGKILL);
        let status = self.child.try_wait().transpose()?;
        self.reaped = true;
        leftovers::ended(self.group);
        Some(status)
    }

    fn signal_group(&self, signal: Signal) {
        // If somebody else reaped the leader, another group may have its id by now.
        if self.look() != Err(Errno::ECHILD) {
            // Fails only for processes of another user, such as a setuid program.
            let _ = killpg(self.group, signal);
        }
    }

    /// Whether there may be more.
    fn read_stdout(&mut self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        let piece = read_piece(&mut self.stdout, &mut chunk);
        self.output.extend_from_slice(piece);
        if self.output.len() > MAX_OUTPUT_BYTES {
            self.stdout = None;
            self.stop_printing(MAX_OUTPUT_BYTES);
            return false;
        }
        !piece.is_empty()
    }

    fn stop_printing(&mut self, max_bytes: usize) {
        self.stopped
            .get_or_insert(Stopped::TooMuchOutput(max_bytes));
        self.next_step = None;
        self.signal_group(Signal::SIGKILL);
    }

    /// Returns whether there may be more. All of it is read, or the plugin would wait for room in the pipe.
    fn read_stderr(&mut self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        let piece = read_piece(&mut self.stderr, &mut chunk);
        let room = MAX_ERROR_BYTES.saturating_sub(self.complaint.len());
        self.complaint.extend(piece.iter().take(room));
        self.complaint_bytes = self.complaint_bytes.saturating_add(piece.len());
        if self.complaint_bytes > MAX_COMPLAINT_BYTES {
            self.stderr = None;
            self.stop_printing(MAX_COMPLAINT_BYTES);
            return false;
        }
        !piece.is_empty()
    }

    /// Tells the kernel to end this before the agent when memory is short. Until the new process has executed its
    /// program, the file may belong to root.
    fn make_expendable(&mut self) {
        if !self.is_expendable && !self.reaped {
            let file = format!("/proc/{}/oom_score_adj", self.group);
            self.is_expendable = match fs::write(file, OOM_SCORE_ADJ) {
                Ok(()) => true,
                Err(error) => error.kind() != ErrorKind::PermissionDenied,
            };
        }
    }

    fn complaint_is_complete(&self) -> bool {
        self.complaint.len() >= MAX_ERROR_BYTES
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A killed process ends within moments, unless the kernel holds it, for instance on a dead
        // network disk. None is waited for here.
        if !self.reaped && self.kill_and_reap().is_none() {
            leftovers::abandon(self.group);
        }
    }
}

fn non_blocking(pipe: Option<OwnedFd>) -> io::Result<Option<File>> {
    if let Some(pipe) = &pipe {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(pipe.map(File::from))
}

/// Reads one piece, and closes the pipe at its end. Empty if there is nothing yet.
fn read_piece<'c>(pipe: &mut Option<File>, chunk: &'c mut [u8]) -> &'c [u8] {
    let Some(file) = pipe else { return &[] };
    match file.read(chunk) {
        Ok(0) => *pipe = None,
        Ok(count) => return chunk.get(..count).unwrap_or_default(),
        Err(error) if is_for_later(&error) => {}
        Err(_) => *pipe = None,
    }
    &[]
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The first line that is not empty, fit for a log.
fn first_line(text: &[u8]) -> String {
    let line = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
    fn finish(running: &mut Running) -> Outcome {
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
        let bench = Bench::new(
            r#"echo '{"a": 1}'; echo >&2; echo ' disk is full' >&2; echo more >&2; exit 3"#,
        );
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
            for pipe in [&running.stdout, &running.stderr].into_iter().flatten() {
                pipes.push(format!("pipe:[{}]", pipe.metadata().unwrap().ino()));
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
}
