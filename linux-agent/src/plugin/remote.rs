//! The agent's side of a runner: what it was asked to run, and the outcomes. Only start and end wait for the
//! runner.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use thiserror::Error;

use super::limits::{KILL_AFTER, MAX_RUNNING};
use super::listed::{Format, Plugins};
use super::output::RunOutcome;
use super::wire::{MAX_ANSWER_BYTES, READY, Request, decode_answer};
use crate::system::sandbox::close_on_exec;

/// A runner has this long to begin.
const START_TIME: Duration = Duration::from_secs(10);

/// A run that has no outcome this long after its time limit is given up. The kernel needs less to end a process.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

const ENDED: &str =
    "the process that runs plugins was ended by somebody: start the agent anew with mote restart";
const SILENT: &str = "the process that runs plugins has not answered";
const FULL: &str = "the process that runs plugins takes no more orders";

/// A runner, from the agent that started it.
#[derive(Debug)]
pub struct Remote {
    process: Child,
    /// `None` once the runner is gone.
    socket: Option<OwnedFd>,
    asked: Vec<Asked>,
    next_id: usize,
    buffer: Vec<u8>,
}

/// Why there is no runner.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The system did not start it.
    #[error("starting the process that runs plugins: {0}")]
    Start(io::Error),
    /// It ended, or did not answer.
    #[error("the process that runs plugins did not begin its work")]
    Silent,
    /// Its own sentence.
    #[error("{0}")]
    Refused(String),
}

/// A run that has not been answered.
#[derive(Debug)]
struct Asked {
    id: usize,
    format: Format,
    slot: usize,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    /// An answer is due by then.
    Running(Instant),
    /// It was reported as a failure, but still counts as running.
    GivenUp,
    /// It is to be stopped, as soon as the socket takes the request.
    Stopping,
}

impl Remote {
    /// Starts a runner that runs plugins as the user `plugin_user`.
    pub fn start(plugin_user: &str) -> Result<Self, RunnerError> {
        // The runner gets none of this process's descriptors.
        close_on_exec();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|errno| RunnerError::Start(errno.into()))?;
        let process = Command::new("/proc/self/exe")
            .arg0("mote")
            .args(["plugin-runner", plugin_user])
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(RunnerError::Start)?;
        let mut remote = Remote {
            process,
            socket: Some(socket),
            asked: Vec::new(),
            next_id: 0,
            buffer: vec![0; MAX_ANSWER_BYTES],
        };
        match remote.first_message() {
            Some(READY) => Ok(remote),
            Some(sentence) => Err(RunnerError::Refused(
                String::from_utf8_lossy(sentence).into_owned(),
            )),
            None => Err(RunnerError::Silent),
        }
    }

    /// As [`PluginRuns::start`](super::PluginRuns::start).
    pub fn start_run(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        // The runner does not know which plugins are listed, so that is checked here. It checks the file, which
        // this user may not be able to see.
        plugins
            .check_name(name)
            .map_err(|error| error.to_string())?;
        let id = self.next_id;
        let request = Request::Run {
            id,
            folder: plugins.folder.clone(),
            name: name.to_owned(),
            command: plugins.command(name).cloned(),
            time_limit: plugins.time_limit,
        };
        self.send(&request)?;
        self.next_id = id.wrapping_add(1);
        let by = now + plugins.time_limit + KILL_AFTER + ANSWER_TIME;
        self.asked.push(Asked {
            id,
            format: plugins.command(name).map_or(Format::Json, |it| it.format),
            slot,
            state: State::Running(by),
        });
        Ok(())
    }

    /// As [`PluginRuns::is_running`](super::PluginRuns::is_running).
    pub fn is_running(&self, slot: usize) -> bool {
        self.asked
            .iter()
            .any(|run| run.slot == slot && run.state != State::Stopping)
    }

    /// How many count as running.
    pub fn count(&self) -> usize {
        self.asked.len()
    }

    /// As [`PluginRuns::stop`](super::PluginRuns::stop).
    pub fn stop(&mut self, slot: usize) {
        for run in self.asked.iter_mut().filter(|run| run.slot == slot) {
            run.state = State::Stopping;
        }
        self.send_stops();
    }

    /// Its socket, while the runner is there.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::POLLIN;
        if self.asked.iter().any(|run| run.state == State::Stopping) {
            flags |= PollFlags::POLLOUT;
        }
        self.socket.as_ref().map(|socket| (socket.as_fd(), flags))
    }

    /// When an answer is overdue.
    pub fn deadline(&self) -> Option<Instant> {
        let due = |run: &Asked| match run.state {
            // The runs of a runner that is gone have failed already.
            State::Running(by) if self.socket.is_some() => Some(by),
            State::Running(_) => Some(Instant::now()),
            State::GivenUp | State::Stopping => None,
        };
        self.asked.iter().filter_map(due).min()
    }

    /// As [`PluginRuns::attend`](super::PluginRuns::attend).
    pub fn attend(&mut self, now: Instant) -> Vec<RunOutcome> {
        self.send_stops();
        let mut outcomes = Vec::new();
        for _ in 0..MAX_RUNNING {
            let Some(answer) = self.receive() else { break };
            let asked = self.asked.iter().position(|run| run.id == answer.slot);
            // A run that was stopped may have ended just before.
            if let Some(asked) = asked.map(|index| self.asked.swap_remove(index))
                && let State::Running(_) = asked.state
            {
                outcomes.push(RunOutcome {
                    format: asked.format,
                    slot: asked.slot,
                    ..answer
                });
            }
        }
        for run in &mut self.asked {
            if let State::Running(by) = run.state
                && (by <= now || self.socket.is_none())
            {
                let sentence = match self.socket {
                    Some(_) => SILENT,
                    None => ENDED,
                };
                outcomes.push(RunOutcome::failed(run.slot, sentence));
                run.state = State::GivenUp;
            }
        }
        if self.socket.is_none() {
            self.asked.clear();
        }
        outcomes
    }

    /// Lets the runner end, with all that it runs; waits `limit` for that at most.
    pub fn end(mut self, limit: Duration) {
        self.socket = None;
        let began = Instant::now();
        // Looking for left-overs may have reaped it already.
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn first_message(&mut self) -> Option<&[u8]> {
        let socket = self.socket.as_ref()?;
        let end = Instant::now() + START_TIME;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, timeout) {
                Ok(0) => return None,
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        let length = recv(socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()).ok()?;
        self.buffer.get(..length).filter(|it| !it.is_empty())
    }

    fn send_stops(&mut self) {
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|run| {
            run.state != State::Stopping || self.send(&Request::Stop { id: run.id }).is_err()
        });
        self.asked = asked;
    }

    fn send(&mut self, request: &Request) -> Result<(), String> {
        let socket = self.socket.as_ref().ok_or(ENDED)?;
        let message = request
            .encode()
            .ok_or("the name of its folder is too long, or no text")?;
        loop {
            return match send(socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Err(FULL.to_owned()),
                Err(_) => {
                    self.is_gone();
                    Err(ENDED.to_owned())
                }
            };
        }
    }

    /// The next answer, if there is one.
    fn receive(&mut self) -> Option<RunOutcome> {
        loop {
            let socket = self.socket.as_ref()?;
            match recv(socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) if length > 0 => {
                    if let Some(outcome) = self.buffer.get(..length).and_then(decode_answer) {
                        return Some(outcome);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Ok(_) | Err(_) => self.is_gone(),
            }
        }
    }

    fn is_gone(&mut self) {
        self.socket = None;
        log::error!("{ENDED}");
    }
}

#[cfg(test)]
mod tests;
