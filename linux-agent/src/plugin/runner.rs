//! Runs plugins for an agent that has given up root. The runner is a process that the agent starts before.
//!
//! It stays root, with no capability but those to become the plugins' user and to end its processes, and reads
//! nothing but the agent's requests. The worst that a request can do is run an executable that only root can
//! change, as the plugins' user, with any arguments. The runner ends when the agent does, after it has ended what
//! plugins left behind.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::unistd::setsid;

use super::leftovers;
use super::limits::{MAX_RUNNING, MAX_TIME_LIMIT};
use super::listed::Plugins;
use super::output::RunOutcome;
use super::runs::Own;
use super::user::{CAPABILITIES, PluginUser};
use super::wire::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, READY, Request, encode_answer};
use crate::system::privileges;
use crate::system::signals::watch_signals;

/// Those that the runner reads.
const SIGNALS: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGCHLD,
];

/// Requests that are read in one turn.
const REQUESTS_A_TURN: usize = 2 * MAX_RUNNING;

/// Socket, signals, two pipes a run, and what starts them.
const MAX_POLLED: usize = 2 + 2 * MAX_RUNNING + 1;

/// Once the agent is gone, the runner takes this long at most to end what plugins left behind.
const LAST_LEFTOVERS: Duration = Duration::from_secs(10);

/// Runs plugins as the user `plugin_user` for the agent at the other end of standard input, until the agent is
/// gone. The agent has been told of any failure.
pub fn run(plugin_user: &str) -> Result<(), String> {
    let socket = rustix::stdio::stdin();
    match prepare(plugin_user) {
        Ok((account, signals)) => {
            let mut runner = Runner::new(socket, Own::new(Some(account)));
            if runner.transmit(READY) == Sent::Now {
                while runner.turn(&signals) {}
            }
            drop(runner);
            leftovers::end(LAST_LEFTOVERS);
            Ok(())
        }
        Err(sentence) => {
            let _ = send(
                socket.as_raw_fd(),
                sentence.as_bytes(),
                MsgFlags::MSG_NOSIGNAL,
            );
            Err(sentence)
        }
    }
}

fn prepare(plugin_user: &str) -> Result<(PluginUser, SignalFd), String> {
    let failed =
        |what: &str, cause: io::Error| format!("the process that runs plugins: {what}: {cause}");
    // Signals for the whole service, from a terminal or a service manager, must not end the runner before the
    // agent: it ends when the agent does.
    let _ = setsid();
    let signals = watch_signals(SIGNALS).map_err(|cause| failed("signals", cause))?;
    let _ = rustix::thread::set_name(c"mote-runner");
    let account = PluginUser::find(plugin_user, None).map_err(|error| error.to_string())?;
    privileges::keep_only(CAPABILITIES).map_err(|error| error.to_string())?;
    leftovers::adopt(Some(account.uid))
        .map_err(|errno| failed("adopting what plugins leave", errno.into()))?;
    // A plugin's output may be larger than the default buffer of some hosts. The kernel caps this at what they
    // allow.
    let _ = setsockopt(
        &rustix::stdio::stdin(),
        sockopt::SndBuf,
        &(2 * MAX_ANSWER_BYTES),
    );
    Ok((account, signals))
}

/// Runs plugins on request. The other end of the socket is not trusted.
struct Runner<'s> {
    socket: BorrowedFd<'s>,
    runs: Own,
    /// Answers that the socket has not taken yet, each with its run's id.
    unsent: VecDeque<(usize, Vec<u8>)>,
    leftovers_due: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Now,
    Later,
    /// This answer can never be sent.
    Never,
    /// Nobody is there.
    Gone,
}

impl<'s> Runner<'s> {
    fn new(socket: BorrowedFd<'s>, runs: Own) -> Self {
        Runner {
            socket,
            runs,
            unsent: VecDeque::new(),
            leftovers_due: None,
        }
    }

    /// One turn of the loop. Returns whether to go on.
    fn turn(&mut self, signals: &SignalFd) -> bool {
        self.wait(signals);
        while let Ok(Some(_)) = signals.read_signal() {
            self.leftovers_due = Some(Instant::now());
        }
        let goes_on = self.work();
        if self.leftovers_due.is_some_and(|due| due <= Instant::now()) {
            self.leftovers_due = leftovers::attend().map(|pause| Instant::now() + pause);
        }
        goes_on
    }

    /// Does what is to be done, without waiting. Returns whether the other end is still open.
    fn work(&mut self) -> bool {
        let is_asked = self.read_requests();
        for outcome in self.runs.attend(Instant::now()) {
            self.answer(outcome);
        }
        is_asked && self.send_answers()
    }

    fn wait(&self, signals: &SignalFd) {
        let mut flags = PollFlags::POLLIN;
        if !self.unsent.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        let pipes = self.runs.pipes().map(|pipe| (pipe, PollFlags::POLLIN));
        let mut fds: heapless::Vec<PollFd<'_>, MAX_POLLED> =
            [(self.socket, flags), (signals.as_fd(), PollFlags::POLLIN)]
                .into_iter()
                .chain(pipes)
                .take(MAX_POLLED)
                .map(|(fd, flags)| PollFd::new(fd, flags))
                .collect();
        let now = Instant::now();
        let due = [self.runs.deadline(), self.leftovers_due];
        let timeout = due
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .min();
        match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing to wait with: do not spin.
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }

    fn read_requests(&mut self) -> bool {
        let mut buffer = [0; MAX_REQUEST_BYTES];
        for _ in 0..REQUESTS_A_TURN {
            match recv(
                self.socket.as_raw_fd(),
                &mut buffer,
                MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(0) => return false,
                // The length is the message's own, so this is `None` for one that is too long.
                Ok(length) => {
                    if let Some(request) = buffer.get(..length).and_then(Request::decode) {
                        self.follow(request);
                    }
                }
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Does what is asked, if an agent may ask for it.
    fn follow(&mut self, request: Request) {
        match request {
            Request::Run {
                id,
                folder,
                name,
                command,
                time_limit,
            } => {
                let is_known = self.runs.is_running(id) || self.unsent.iter().any(|it| it.0 == id);
                let is_full = self.runs.count() + self.unsent.len() >= MAX_RUNNING;
                if is_known || is_full || time_limit > MAX_TIME_LIMIT {
                    return;
                }
                let plugins = Plugins {
                    folder,
                    allowed: vec![name.clone()],
                    commands: Vec::from_iter(command),
                    time_limit,
                };
                if let Err(sentence) = self.runs.start(&plugins, &name, id, Instant::now()) {
                    self.answer(RunOutcome::failed(id, sentence));
                }
            }
            Request::Stop { id } => {
                self.runs.stop(id);
                self.unsent.retain(|it| it.0 != id);
            }
        }
    }

    fn answer(&mut self, outcome: RunOutcome) {
        self.unsent
            .push_back((outcome.slot, encode_answer(outcome)));
    }

    fn send_answers(&mut self) -> bool {
        while let Some((id, message)) = self.unsent.pop_front() {
            match self.transmit(&message) {
                Sent::Now => {}
                Sent::Later => {
                    self.unsent.push_front((id, message));
                    return true;
                }
                Sent::Never => self.answer(RunOutcome::failed(
                    id,
                    "it printed more than net.core.wmem_max of this host lets through",
                )),
                Sent::Gone => return false,
            }
        }
        true
    }

    fn transmit(&self, message: &[u8]) -> Sent {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            return match send(self.socket.as_raw_fd(), message, flags) {
                Ok(_) => Sent::Now,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Sent::Later,
                Err(Errno::EMSGSIZE) => Sent::Never,
                Err(_) => Sent::Gone,
            };
        }
    }
}

#[cfg(test)]
mod tests;
