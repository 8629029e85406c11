//! Whether a call that reads files comes back: the file system that they are on may hang.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, fork};

/// Whether `attempt` returns within `limit`, tried in a child process. Unlike a thread, one that hangs does not keep
/// this process from changing its user. With other threads here, or without another process, it is not tried, and
/// counts as one that returns.
pub fn returns_within(limit: Duration, attempt: impl FnOnce()) -> bool {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let (1, Ok((ended, held))) = (threads, io::pipe()) else {
        return true;
    };
    // SAFETY: this process has one thread, so no lock is held that the child would wait for.
    let child = match unsafe { fork() } {
        Err(_) => return true,
        Ok(ForkResult::Child) => {
            // Also if it panics: the child never goes on with what its parent does next.
            let _end = EndOfChild;
            attempt();
            return true;
        }
        Ok(ForkResult::Parent { child }) => child,
    };
    drop(held);
    // The pipe is closed with the child.
    let mut ends = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let returns = !matches!(poll(&mut ends, limit), Ok(0));
    let flags = match returns {
        true => WaitPidFlag::empty(),
        // It may be long until a process that hangs is gone.
        false => WaitPidFlag::WNOHANG,
    };
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, Some(flags));
    returns
}

/// What `attempt` gives, if it does within `limit`. A thread makes it, which stays behind if it hangs: for commands that
/// end soon and stay who they are.
pub fn within<T: Send + 'static>(
    limit: Duration,
    attempt: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (give, given) = mpsc::channel();
    let made = thread::Builder::new().spawn(move || {
        // Whoever waited may have gone.
        let _ = give.send(attempt());
    });
    made.ok()?;
    given.recv_timeout(limit).ok()
}

struct EndOfChild;

impl Drop for EndOfChild {
    fn drop(&mut self) {
        // SAFETY: it returns to nobody, and runs nothing that the parent registered for its own end.
        unsafe { libc::_exit(0) }
    }
}
