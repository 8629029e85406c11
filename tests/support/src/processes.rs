//! What Linux says of a process: proc_pid_status(5), proc_pid_fd(5).

use std::fs;

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
