//! One run of a plugin, for a loop around poll(2): nothing here waits.
//!
//! The loop polls [`Running::pipes`] for reading and calls [`Running::on_readable`]; it wakes at
//! [`Running::deadline`] and calls [`Running::on_deadline`]; after SIGCHLD it calls
//! [`Running::try_finish`].

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::confine::{Confinement, OOM_SCORE_ADJ};
use super::leftovers;
use super::limits::KILL_AFTER;
use super::listed::{Format, PluginError, Plugins};
use super::output::{Ended, RunOutcome};
use super::printed::{Printed, TooMuch};
use super::user::PluginUser;

/// A plugin at work. Dropping it kills its whole group, which is then reaped when it is gone.
#[derive(Debug)]
pub struct Running {
    slot: usize,
    format: Format,
    child: Child,
    /// The process group, whose id is the plugin's own.
    group: Pid,
    printed: Printed,
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
    /// More than this many bytes came.
    TooMuchOutput(usize),
}

impl Running {
    /// Starts the plugin `name` if it may run, as the user `account` or as this process's. Its outcome will carry
    /// `slot`.
    pub fn start(
        plugins: &Plugins,
        account: Option<&PluginUser>,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<Self, PluginError> {
        let path = plugins.find(name)?;
        let command = plugins.command(name);
        let format = command.map_or(Format::Json, |it| it.format);
        let arguments = command
            .map(|it| it.arguments.as_slice())
            .unwrap_or_default();
        let mut command = Command::new(&path);
        command
            .args(arguments)
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
        let pipes = (child.stdout.take(), child.stderr.take());
        let group = pid(&child);
        let mut running = Running {
            slot,
            format,
            child,
            group,
            printed: Printed::default(),
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
        running.printed = Printed::new(pipes.0, pipes.1).map_err(start)?;
        Ok(running)
    }

    /// What [`start`](Self::start) was given.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Its pipes that are still open, to be polled for reading. They never block.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.printed.pipes()
    }

    /// Reads one piece from each pipe that has something. Too much output kills the group.
    pub fn on_readable(&mut self) {
        self.make_expendable();
        self.read_output();
        self.read_complaint();
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
    pub fn try_finish(&mut self) -> Option<RunOutcome> {
        if self.reaped || self.is_alive() {
            return None;
        }
        while self.read_output() {}
        while !self.printed.complaint_is_complete() && self.read_complaint() {}
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
        self.next_step = None;
        let (output, complaint) = self.printed.take();
        Some(RunOutcome {
            format: self.format,
            slot: self.slot,
            ended,
            output,
            complaint,
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
    fn read_output(&mut self) -> bool {
        let read = self.printed.read_output();
        self.has_more(read)
    }

    fn read_complaint(&mut self) -> bool {
        let read = self.printed.read_complaint();
        self.has_more(read)
    }

    /// Ends a plugin that has printed too much.
    fn has_more(&mut self, read: Result<bool, TooMuch>) -> bool {
        read.unwrap_or_else(|TooMuch(max_bytes)| {
            self.stopped
                .get_or_insert(Stopped::TooMuchOutput(max_bytes));
            self.next_step = None;
            self.signal_group(Signal::SIGKILL);
            false
        })
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

#[cfg(test)]
mod tests;
