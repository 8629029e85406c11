//! What runs plugins for an agent that has given up root: a process of its own, which the agent starts before.
//!
//! It stays root with no capability but those to become the plugins' user and to end its processes, and reads nothing
//! but the agent's requests. The worst that they can make it do is to run what only root can have put somewhere, as
//! the plugins' user and without arguments. It ends with the agent, after all that plugins left.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::unistd::setsid;

use super::runs::Own;
use super::wire::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, READY, Request, encode_answer};
use super::{Account, CAPABILITIES, MAX_RUNNING, MAX_TIME_LIMIT, Outcome, Plugins, leftovers};
use crate::privileges;

/// Requests that are read before the runs are looked at again.
const REQUESTS_A_TURN: usize = 2 * MAX_RUNNING;

/// Socket, signals, and two pipes a run.
const MAX_POLLED: usize = 2 + 2 * MAX_RUNNING;

/// Once the agent is gone, what plugins left behind has this long to go, unless the kernel holds it.
const LAST_LEFTOVERS: Duration = Duration::from_secs(10);

/// Runs plugins as the user `plugin_user` for the agent at the other end of standard input, until that is gone. A
/// failure is one sentence, which the agent has been told.
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

fn prepare(plugin_user: &str) -> Result<(Account, SignalFd), String> {
    let failed =
        |what: &str, cause: io::Error| format!("the process that runs plugins: {what}: {cause}");
    // So that what a terminal, or whoever stops all processes of a service, sends to the agent does not end this
    // before it: it ends when the agent does.
    let _ = setsid();
    let _ = rustix::thread::set_name(c"mote-runner");
    let account = Account::find(plugin_user, None).map_err(|error| error.to_string())?;
    privileges::keep_only(CAPABILITIES).map_err(|error| error.to_string())?;
    leftovers::adopt(Some(account.uid))
        .map_err(|errno| failed("adopting what plugins leave", errno.into()))?;
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
    ] {
        set.add(signal);
    }
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = set
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&set, flags))
        .map_err(|errno| failed("signals", errno.into()))?;
    // What a plugin prints is more than some hosts let wait. More than they allow is not given.
    let _ = setsockopt(
        &rustix::stdio::stdin(),
        sockopt::SndBuf,
        &(2 * MAX_ANSWER_BYTES),
    );
    Ok((account, signals))
}

/// Runs on the requests of whoever is at the other end of a socket, who is not trusted.
struct Runner<'s> {
    socket: BorrowedFd<'s>,
    runs: Own,
    /// Answers that the socket did not take yet, each with its run's id.
    unsent: VecDeque<(usize, Vec<u8>)>,
    leftovers_due: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Now,
    Later,
    /// Not this one.
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

    /// One wake-up. Gives whether there is to be another.
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

    /// Does what there is to do, and waits for nothing. Gives whether anybody still is at the other end.
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
                // With its real length, one that is too long has no such piece.
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

    /// Does what is asked; nothing, if an agent would not ask for it.
    fn follow(&mut self, request: Request) {
        match request {
            Request::Run {
                id,
                folder,
                name,
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
                    time_limit,
                };
                if let Err(sentence) = self.runs.start(&plugins, &name, id, Instant::now()) {
                    self.answer(Outcome::failed(id, sentence));
                }
            }
            Request::Stop { id } => {
                self.runs.stop(id);
                self.unsent.retain(|it| it.0 != id);
            }
        }
    }

    fn answer(&mut self, outcome: Outcome) {
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
                Sent::Never => self.answer(Outcome::failed(
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
