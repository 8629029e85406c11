//! What a plugin's process may do and use, set between fork and exec.
//!
//! All limits are inherited and cannot be raised again, so they hold for whatever a plugin starts; those of memory,
//! files and CPU time hold for each of its processes.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::SigSet;
use rustix::fs::{CWD, Mode, OFlags, fchmod, openat};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_parent_process_death_signal,
    setrlimit, setsid, umask,
};
use rustix::stdio::{stderr, stdout};
use rustix::thread::{
    CapabilitySet, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::limits::KILL_AFTER;
use super::user::PluginUser;
use crate::system::sandbox::{close_on_exec, limit_capabilities};

/// A plugin's process may have this much memory, reserved or in use.
pub const MAX_MEMORY_BYTES: u64 = 1 << 30;
/// No file that a plugin writes may become larger.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// A plugin's process may have this many open files.
pub const MAX_FILES: u64 = 256;
/// A plugin cannot start another process while the user that it runs as has this many processes and threads, whatever
/// they are; the kernel counts no others. It does not count root's, so a plugin of root has no such limit.
pub const MAX_PROCESSES: u64 = 512;
/// Plugins give way to others.
const NICE: i32 = 10;
/// Where memory is short, the kernel ends plugins before it ends the agent: proc_pid_oom_score_adj(5).
pub const OOM_SCORE_ADJ: &[u8] = b"500";

/// Mode of a plugin's pipes: whoever can reach them may write to them.
const PIPE_MODE: Mode = Mode::RUSR
    .union(Mode::WUSR)
    .union(Mode::WGRP)
    .union(Mode::WOTH);

/// What is to be set. Prepared before the fork.
pub struct Confinement {
    limits: [(Resource, Rlimit); 6],
    agent: Pid,
    /// The user to become; none: it stays the agent's.
    account: Option<PluginUser>,
}

impl Confinement {
    /// Limits for a plugin that is stopped after `time_limit`.
    pub fn new(time_limit: Duration, account: Option<PluginUser>) -> Self {
        // The agent's own time limit comes first; this one counts if the agent is held up.
        let seconds = time_limit
            .saturating_add(KILL_AFTER)
            .as_secs()
            .saturating_add(2);
        let limits = [
            (Resource::Core, 0),
            (Resource::Nofile, MAX_FILES),
            (Resource::Fsize, MAX_FILE_BYTES),
            (Resource::As, MAX_MEMORY_BYTES),
            (Resource::Cpu, seconds),
            (Resource::Nproc, MAX_PROCESSES),
        ];
        Confinement {
            limits: limits.map(|(resource, wanted)| {
                // Never raise a limit: only root may.
                let maximum = getrlimit(resource).maximum;
                let limit = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
                let (current, maximum) = (limit, limit);
                (resource, Rlimit { current, maximum })
            }),
            agent: getpid(),
            account,
        }
    }

    /// Sets it for this process, between fork and exec: system calls only, nothing allocates.
    pub fn apply(&self) -> io::Result<()> {
        // The agent blocks signals, since it reads them from a descriptor, and a child inherits that. With SIGTERM
        // blocked nobody could ask it to end.
        SigSet::empty().thread_set_mask()?;
        set_no_new_privs(true)?;
        // A process can leave a session only by starting a new one, so the session tells which processes belong
        // together.
        setsid()?;
        umask(Mode::RWXG | Mode::RWXO);
        // This comes before the limits, so that they are the new user's, and before the death signal, which the
        // kernel clears when the user changes.
        if let Some(account) = &self.account {
            become_user(account)?;
        }
        leave_keyring();
        for (resource, limit) in &self.limits {
            setrlimit(*resource, *limit)?;
        }
        // Nice to have: a filter of system calls may forbid it.
        let _ = rustix::process::nice(NICE);
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(self.agent) {
            // The agent ended before the death signal was set.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        close_on_exec();
        Ok(())
    }
}

/// Leaves the session keyring of whoever started the agent, whose keys are not for plugins. An error means that
/// there are no keyrings here, so there is nothing to leave.
fn leave_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name: *const libc::c_char = std::ptr::null();
    // SAFETY: the call takes an operation and the name of a keyring; a null name is allowed.
    let _ = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
}

/// Becomes a user for good. Uses system calls only: the C library's functions would signal the other threads, and
/// after a fork there are none.
fn become_user(account: &PluginUser) -> io::Result<()> {
    // Now, while this process may still write it. Nice to have: there may be no /proc.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(file, OOM_SCORE_ADJ);
    }
    // The mode of the pipes lets a plugin open them again, as `echo >/dev/stderr` does. Whoever else can reach them
    // there can read the plugin's memory anyway.
    for mode in [fchmod(stdout(), PIPE_MODE), fchmod(stderr(), PIPE_MODE)] {
        mode?;
    }
    set_thread_groups(&account.groups)?;
    let (uid, gid) = (account.uid, account.gid);
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // The change of user drops most capabilities, unless whoever started the agent told the kernel to keep them.
    Ok(limit_capabilities(CapabilitySet::empty())?)
}
