//! Processes that plugins leave behind: found, killed and reaped, without waiting for any.
//!
//! A plugin's session is killed with its run. What left that session comes to the agent when its parent ends,
//! because the agent adopts the orphans among its descendants (PR_SET_CHILD_SUBREAPER). So a child of the agent that
//! it did not start is what a plugin left behind, unless it was there before, came from elsewhere (to an agent that
//! is the first process of a container), or belongs to a session whose plugin still runs.
//!
//! Such a child and its descendants are first stopped, and killed only when all of them stand still. A fork bomb that
//! is killed one by one puts another in each place that becomes free; one that is stopped keeps its places, and the
//! limit of processes keeps it from having more.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, Uid, pidfd_open, pidfd_send_signal};

/// At most this many processes are handled in one call. They are stopped or gone when the next call takes others.
const MAX_LOOKED_AT: usize = 1024;

/// Processes that are not found yet may wake stopped ones. So after this many calls all are killed as they are.
const CALLS_TO_STOP: u32 = 8;

/// Pause until the next look, unless SIGCHLD comes before. Doubles from the first to the second, for processes that
/// the kernel holds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The children of this process. There is one list, even if a test runs several agents in one process.
static CHILDREN: Mutex<Children> = Mutex::new(Children {
    leaders: Vec::new(),
    starting: 0,
    abandoned: Vec::new(),
    strangers: Vec::new(),
    user: None,
    calls: 0,
    pause: FIRST_PAUSE,
});

struct Children {
    /// The plugins at work. Each leads a session.
    leaders: Vec<Pid>,
    /// So many plugins are being started: a child that nobody knows may be one of them.
    starting: usize,
    /// Plugins that were killed, and that nobody waits for any more.
    abandoned: Vec<Pid>,
    /// Children that were there before any plugin.
    strangers: Vec<Pid>,
    /// The user that plugins run as, if it is not this process's.
    user: Option<Uid>,
    /// How many calls in a row found something left.
    calls: u32,
    pause: Duration,
}

/// A process that was left behind.
struct LeftOver {
    pid: Pid,
    parent: Pid,
}

/// From `/proc/PID/stat`: proc_pid_stat(5).
struct Facts {
    state: u8,
    parent: Pid,
    group: Pid,
    session: Pid,
    threads: u32,
}

/// From now on orphans become children of this process. Plugins run as `user`; none: as this process's user.
pub fn adopt(user: Option<Uid>) -> rustix::io::Result<()> {
    // If SIGCHLD was ignored by whoever started this process, the kernel would not keep a child's exit status.
    // SAFETY: no handler is set.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    let mut children = children();
    children.strangers = children_of(Pid::this());
    children.user = user;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Runs `start` and notes the plugin that it started; nobody looks for left-overs before.
pub fn with_leader<T, E>(
    start: impl FnOnce() -> Result<T, E>,
    pid: impl FnOnce(&T) -> Pid,
) -> Result<T, E> {
    // Not locked meanwhile: a file system that hangs may hold the start up, and must hold up nothing else.
    children().starting += 1;
    let started = start();
    let mut children = children();
    children.starting -= 1;
    if let Ok(started) = &started {
        children.leaders.push(pid(started));
    }
    started
}

/// A plugin's leader has been reaped.
pub fn ended(leader: Pid) {
    children().leaders.retain(|it| *it != leader);
}

/// A plugin's leader has been killed. It is reaped when it is gone.
pub fn abandon(leader: Pid) {
    let mut children = children();
    children.leaders.retain(|it| *it != leader);
    children.abandoned.push(leader);
}

/// Stops, kills and reaps what is left. If something still is, returns when to look again; SIGCHLD may come before.
pub fn attend() -> Option<Duration> {
    let mut children = children();
    children.reap_abandoned();
    if children.starting > 0 {
        return Some(LAST_PAUSE);
    }
    let mut found = VecDeque::new();
    let own = Pid::this();
    for pid in children_of(own) {
        if children.leaders.contains(&pid) || children.abandoned.contains(&pid) {
            continue;
        }
        if reap(pid) {
            children.strangers.retain(|it| *it != pid);
        } else if !children.strangers.contains(&pid) && children.is_left_over(pid) {
            found.push_back(LeftOver { pid, parent: own });
        }
    }
    if found.is_empty() && children.abandoned.is_empty() {
        (children.calls, children.pause) = (0, FIRST_PAUSE);
        return None;
    }
    children.calls = children.calls.wrapping_add(1);
    let mut still = children.signal_all(found.iter(), Signal::SIGSTOP);
    let mut all = Vec::new();
    // Breadth first: a stopped process starts no more.
    while let Some(left_over) = found.pop_front() {
        if all.len() + found.len() < MAX_LOOKED_AT {
            let parent = left_over.pid;
            let below: Vec<_> = children_of(parent)
                .into_iter()
                .map(|pid| LeftOver { pid, parent })
                .collect();
            still &= children.signal_all(below.iter(), Signal::SIGSTOP);
            found.extend(below);
        }
        all.push(left_over);
    }
    if still || children.calls.is_multiple_of(CALLS_TO_STOP) {
        children.signal_all(all.iter(), Signal::SIGKILL);
    }
    let pause = children.pause;
    children.pause = (pause * 2).min(LAST_PAUSE);
    Some(pause)
}

/// Repeats [`attend`] until nothing is left, for `limit` at most. Called when the agent ends.
pub fn end(limit: Duration) {
    let began = Instant::now();
    while attend().is_some() && began.elapsed() < limit {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reaps the abandoned plugins that have ended, and looks at no other process.
#[cfg(test)]
pub fn reap_abandoned() {
    children().reap_abandoned();
}

impl Children {
    fn reap_abandoned(&mut self) {
        self.abandoned.retain(|pid| {
            // Until the leader is reaped, no other group can get its id.
            let _ = killpg(*pid, Signal::SIGKILL);
            !reap(*pid)
        });
    }

    /// Whether a child was left behind. It has not been reaped, so its id is still its own.
    fn is_left_over(&self, pid: Pid) -> bool {
        // Every plugin has no_new_privs set for good, and so has what it starts.
        facts(pid).is_some_and(|facts| !self.leaders.contains(&facts.session))
            && has_no_new_privs(pid)
    }

    /// Signals processes, and returns whether all were stopped before.
    fn signal_all<'l>(
        &self,
        processes: impl Iterator<Item = &'l LeftOver>,
        signal: Signal,
    ) -> bool {
        let mut still = true;
        for process in processes {
            // The descriptor names this process even if its id was reused, so it is checked only once it is open.
            let Some(pidfd) = rustix::process::Pid::from_raw(process.pid.as_raw())
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            else {
                continue;
            };
            let Some(facts) = facts(process.pid) else {
                continue;
            };
            // A process whose first thread ended looks like a zombie, though other threads may run on.
            let is_ended = matches!(facts.state, b'Z' | b'X');
            if facts.parent != process.parent || (is_ended && facts.threads <= 1) {
                continue;
            }
            let is_stopped = match is_ended {
                true => threads_stand_still(process.pid),
                false => matches!(facts.state, b'T' | b't'),
            };
            // The parent's id may be reused by now. If plugins run as this user, the kernel checks the owner.
            if self
                .user
                .is_some_and(|user| uid_of(process.pid) != Some(user))
            {
                continue;
            }
            still &= is_stopped;
            if signal == Signal::SIGKILL || !is_stopped {
                // A group lies within one session, so no running plugin is in it. Its id is not reused before this
                // child is reaped.
                if process.parent == Pid::this() && facts.group.as_raw() > 1 {
                    let _ = killpg(facts.group, signal);
                }
                let signal = match signal {
                    Signal::SIGKILL => rustix::process::Signal::KILL,
                    _ => rustix::process::Signal::STOP,
                };
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
        still
    }
}

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the child is gone: it had ended, or was no child.
fn reap(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    !matches!(
        waitid(Id::Pid(pid), flags),
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
    )
}

/// The children of a process, which are those of its first thread: that one starts plugins and inherits orphans.
fn children_of(pid: Pid) -> Vec<Pid> {
    let own = Pid::this();
    let of = |thread: Pid| fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
    let texts: Vec<String> = match of(pid) {
        Ok(text) if pid == own => vec![text],
        // A kernel without CONFIG_PROC_CHILDREN. The agent's own children are enough: others become its own.
        Err(_) if pid == own => return searched(pid),
        _ => threads_of(pid).filter_map(|it| of(it).ok()).collect(),
    };
    texts
        .iter()
        .flat_map(|text| text.split_ascii_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .take(MAX_LOOKED_AT)
        .map(Pid::from_raw)
        .collect()
}

fn threads_of(pid: Pid) -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .take(MAX_LOOKED_AT)
}

fn threads_stand_still(pid: Pid) -> bool {
    threads_of(pid)
        .filter_map(|thread| facts_in(&format!("/proc/{pid}/task/{thread}/stat")))
        .all(|facts| matches!(facts.state, b'T' | b't' | b'Z' | b'X'))
}

fn searched(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| facts(*pid).is_some_and(|facts| facts.parent == parent))
        .take(MAX_LOOKED_AT)
        .collect()
}

fn facts(pid: Pid) -> Option<Facts> {
    facts_in(&format!("/proc/{pid}/stat"))
}

fn facts_in(file: &str) -> Option<Facts> {
    let text = fs::read(file).ok()?;
    // The name stands in parentheses and may hold some itself.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(text.get(end..)?).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1);
    let state = *fields.next()?.as_bytes().first()?;
    let mut next = || fields.next()?.parse().ok();
    Some(Facts {
        state,
        parent: Pid::from_raw(next()?),
        group: Pid::from_raw(next()?),
        session: Pid::from_raw(next()?),
        threads: fields.nth(13)?.parse().ok()?,
    })
}

fn has_no_new_privs(pid: Pid) -> bool {
    status_of(pid, b"NoNewPrivs:").is_some_and(|value| value == b"1")
}

/// The real user.
fn uid_of(pid: Pid) -> Option<Uid> {
    let value = status_of(pid, b"Uid:")?;
    let text = std::str::from_utf8(&value).ok()?;
    Some(Uid::from_raw(
        text.split_ascii_whitespace().next()?.parse().ok()?,
    ))
}

/// The value of a line of `/proc/PID/status`: proc_pid_status(5).
fn status_of(pid: Pid, name: &[u8]) -> Option<Vec<u8>> {
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    text.split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name))
        .map(|value| value.trim_ascii().to_owned())
}
