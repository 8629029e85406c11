//! How a command ends: an exit code and, if it failed, one sentence.

use std::io::{self, Write};
use std::os::fd::AsFd;
#[cfg(feature = "serve")]
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Exit codes: sysexits.h, and for `status` those of the Linux Standard Base.
pub mod exit {
    /// It worked. `status`: the agent runs.
    pub const OK: u8 = 0;
    /// It failed. `status`: the agent died and left its lock file.
    pub const FAILED: u8 = 1;
    /// `status`: the agent does not run.
    pub const NOT_RUNNING: u8 = 3;
    /// `status`: it cannot be told.
    pub const UNKNOWN: u8 = 4;
    /// `reload`: there is no agent.
    pub const NO_AGENT: u8 = 7;
    /// Wrong usage.
    pub const USAGE: u8 = 64;
    /// The server cannot be reached or gives no valid answer.
    pub const UNAVAILABLE: u8 = 69;
    /// The settings are not valid.
    pub const SETTINGS: u8 = 78;
    /// `status`: the agent runs, and the server refuses its token. The Linux Standard Base leaves 150 to 199 to programs.
    pub const DENIED: u8 = 150;
}

/// How long a running agent has to answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The log may take this long to write its last lines.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub code: u8,
    /// One sentence for a person.
    pub sentence: String,
}

/// A failure with its code and sentence.
pub fn failed(code: u8, sentence: impl std::fmt::Display) -> Failed {
    Failed {
        code,
        sentence: sentence.to_string(),
    }
}

/// Prints a line. A closed pipe is not an error.
pub fn say(line: &str) -> Result<(), Failed> {
    say_raw(&format!("{line}\n"))
}

/// Prints lines, and then does the rest, in a thread that ends with the process: what runs for long never waits for
/// whoever should read them.
#[cfg(feature = "serve")]
pub(super) fn say_aside(
    lines: Vec<String>,
    rest: impl FnOnce() + Send + 'static,
) -> Result<(), Failed> {
    let print = move || {
        if lines.iter().all(|it| say(it).is_ok()) {
            rest();
        }
    };
    let started = thread::Builder::new().spawn(print);
    started
        .map(drop)
        .map_err(|error| failed(exit::FAILED, format!("no thread can be started: {error}")))
}

pub(super) fn say_raw(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A closed pipe is not an error.
pub fn printed(result: io::Result<()>) -> Result<(), Failed> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failed(exit::FAILED, format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Whether somebody may still read what is printed.
pub(super) fn is_read() -> bool {
    let out = io::stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let events = fds.iter().filter_map(PollFd::revents);
    polled.is_err() || !events.into_iter().any(|it| it.contains(PollFlags::POLLERR))
}
