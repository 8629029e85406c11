//! Signals that are read from a descriptor instead of interrupting the process.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those that the agent's loop reads.
pub const OF_THE_LOOP: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGCHLD,
];

/// Blocks `signals` in this thread and in those it starts from now on. Otherwise another thread would get them.
pub fn block_signals(signals: &[Signal]) -> io::Result<SigSet> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(set)
}

/// Blocks `signals` as [`block_signals`] does. Returns the descriptor to poll and read them from.
pub fn watch_signals(signals: &[Signal]) -> io::Result<SignalFd> {
    let set = block_signals(signals)?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    Ok(SignalFd::with_flags(&set, flags)?)
}
