//! What Linux says of processes: proc_pid_stat(5), proc_pid_status(5), proc_pid_fd(5).

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::{DEADLINE, need, wait_for};

/// What Linux says of a process in `/proc/PID/stat`.
#[derive(Debug)]
pub struct ProcessStat {
    pub state: char,
    pub parent: u32,
    pub session: u32,
    /// The controlling terminal; 0: none.
    pub terminal: i64,
}

/// Whether there is such a process and it has not ended.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Waits for the end of a process.
pub fn wait_for_end(pid: u32) {
    wait_for(&format!("the end of {pid}"), DEADLINE, || {
        (!is_alive(pid)).then_some(())
    });
}

/// Reads `/proc/PID/stat`; proc_pid_stat(5).
pub fn stat(pid: u32) -> Option<ProcessStat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold some itself.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(ProcessStat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        terminal: fields.get(4)?.parse().ok()?,
    })
}

/// The processes that carry `mark` in their command line, but for those that have ended.
pub fn marked(mark: &str) -> Vec<u32> {
    let carries = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark) && is_alive(*pid)
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(carries).collect()
}

/// Waits until no process carries `mark` in its command line.
pub fn wait_until_gone(mark: &str) {
    wait_for(&format!("the end of all that is {mark}"), DEADLINE, || {
        marked(mark).is_empty().then_some(())
    });
}

/// A word for command lines that no other test's process carries.
pub fn mark(name: &str) -> String {
    format!("mote-{name}-{}", std::process::id())
}

/// What a process has started, zombies among them.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let lists = threads
        .flatten()
        .map(|thread| thread.path().join("children"));
    // A thread may have ended meanwhile.
    let lists: String = lists.filter_map(|it| fs::read_to_string(it).ok()).collect();
    let pids = lists.split_whitespace();
    pids.map(|pid| pid.parse().expect("a pid")).collect()
}

/// Sends a signal to a process that is there.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("a process");
}

/// Whether this is not root and the test may be skipped for that.
pub fn skipped_without_root(test: &str) -> bool {
    let root = Uid::effective().is_root().then_some(());
    need(test, root.ok_or("it needs to run as root".to_owned())).is_none()
}

/// A number of `/proc/PID/status`, for instance of `Threads` or, in KiB, of `VmHWM`.
pub fn status(pid: u32, key: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.strip_prefix(':')?.split_whitespace().next());
    number.expect("a number").parse().expect("a number")
}

/// How many files it has open.
pub fn open_files(pid: u32) -> usize {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    folder.count()
}
