//! Processes that plugins leave behind: found, killed and reaped, without waiting for any.
//!
//! A plugin's session is killed with its run. What left that session comes to the agent when its parent ends,
//! because the agent adopts the orphans among its descendants (PR_SET_CHILD_SUBREAPER). So a child of the agent that
//! it did not start is what a plugin left behind, unless it was there before, came from elsewhere (to an agent that
//! is the first process of a container), or belongs to a session whose plugin still runs. Killing it orphans its
//! children in turn, until there are none; each death is a SIGCHLD, after which [`attend`] looks again.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// No more children are looked at in one call. Those that it kills are gone before the next one.
const MAX_CHILDREN: usize = 512;

/// The children of this process. A process has one list of them, however many agents a test has in it.
static CHILDREN: Mutex<Children> = Mutex::new(Children {
    leaders: Vec::new(),
    abandoned: Vec::new(),
    strangers: Vec::new(),
});

struct Children {
    /// The plugins at work. Each leads a session.
    leaders: Vec<Pid>,
    /// Plugins that were killed, and that nobody waits for any more.
    abandoned: Vec<Pid>,
    /// Children that were there before any plugin.
    strangers: Vec<Pid>,
}

/// Has orphans come to this process from now on.
pub fn adopt() -> rustix::io::Result<()> {
    children().strangers = listed();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Runs `start`, which gives the plugin that it started. It is known before anyone looks for left-overs.
pub fn with_leader<T, E>(
    start: impl FnOnce() -> Result<T, E>,
    pid: impl FnOnce(&T) -> Pid,
) -> Result<T, E> {
    let mut children = children();
    let started = start()?;
    children.leaders.push(pid(&started));
    Ok(started)
}

/// A plugin's leader has been reaped.
pub fn ended(leader: Pid) {
    children().leaders.retain(|it| *it != leader);
}

/// A plugin's leader has been killed, and is to be reaped whenever it is gone.
pub fn abandon(leader: Pid) {
    let mut children = children();
    children.leaders.retain(|it| *it != leader);
    children.abandoned.push(leader);
}

/// Kills and reaps what is left. Gives whether something still is: its end is a SIGCHLD, unless the kernel holds it.
pub fn attend() -> bool {
    let mut children = children();
    children.reap_abandoned();
    let mut left = !children.abandoned.is_empty();
    for pid in listed() {
        if children.leaders.contains(&pid) || children.abandoned.contains(&pid) {
            continue;
        }
        if reap(pid) {
            children.strangers.retain(|it| *it != pid);
        } else if !children.strangers.contains(&pid) {
            left |= children.kill_left_over(pid);
        }
    }
    left
}

/// Does so until nothing is left, but not for longer than `limit`: for an agent that ends.
pub fn end(limit: Duration) {
    let began = Instant::now();
    while attend() && began.elapsed() < limit {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reaps the abandoned plugins that have ended, and looks at no other process.
pub fn reap_abandoned() {
    children().reap_abandoned();
}

impl Children {
    fn reap_abandoned(&mut self) {
        self.abandoned.retain(|pid| {
            // Until it is reaped, no other group can have its id.
            let _ = killpg(*pid, Signal::SIGKILL);
            !reap(*pid)
        });
    }

    /// Kills a child if it is a left-over, and gives whether it is one. It has not been reaped, so its id means no
    /// other process.
    fn kill_left_over(&self, pid: Pid) -> bool {
        let Some((group, session)) = group_and_session(pid) else {
            // Not to be told now, such as for want of descriptors.
            return true;
        };
        if self.leaders.contains(&session) {
            return false;
        }
        // Every plugin is marked so for good, and with it what it starts.
        if !has_no_new_privs(pid) {
            return false;
        }
        // A group lies within a session, so no plugin at work is in it. The group at once, for those who fork
        // faster than they can be listed.
        if group.as_raw() > 1 {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = kill(pid, Signal::SIGKILL);
        true
    }
}

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives whether the child is gone: it had ended, or it was none.
fn reap(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    !matches!(
        waitid(Id::Pid(pid), flags),
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
    )
}

/// The children of the thread that orphans come to, which is also the one that starts plugins.
fn listed() -> Vec<Pid> {
    let own = std::process::id();
    let file = format!("/proc/self/task/{own}/children");
    match fs::read_to_string(file) {
        Ok(text) => text
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .take(MAX_CHILDREN)
            .map(Pid::from_raw)
            .collect(),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => searched(own),
    }
}

fn searched(own: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| stat_fields(*pid).is_some_and(|[parent, ..]| parent.cast_unsigned() == own))
        .take(MAX_CHILDREN)
        .collect()
}

fn group_and_session(pid: Pid) -> Option<(Pid, Pid)> {
    let [_, group, session] = stat_fields(pid)?;
    Some((Pid::from_raw(group), Pid::from_raw(session)))
}

/// Parent, group and session: proc_pid_stat(5).
fn stat_fields(pid: Pid) -> Option<[i32; 3]> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold some itself.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(text.get(end..)?).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(2);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

fn has_no_new_privs(pid: Pid) -> bool {
    let text = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"NoNewPrivs:"))
        .any(|value| value.trim_ascii() == b"1")
}
