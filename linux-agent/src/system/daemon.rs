//! The agent as a process: detaching it from the terminal and stopping it.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::attempt;
use super::lock::{DaemonError, Holder, Lock, holder};

/// What a detached agent writes to its standard output once it runs.
const READY: &str = "ready";

/// How long a process may take to be gone after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What [`stop`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// None ran.
    Before,
    /// It ended in order.
    Itself(Pid),
    /// It did not end in time, and was killed.
    Killed(Pid),
}

/// Starts this program again with `arguments`, detached from the terminal, and waits until it runs or has failed.
/// Returns the exit code if it failed; it has then said why.
pub fn detach(arguments: &[std::ffi::OsString]) -> Result<Result<u32, i32>, DaemonError> {
    let process = |what| move |cause| DaemonError::Process { what, cause };
    let mut child = Command::new("/proc/self/exe")
        // What `ps` shows.
        .arg0("mote")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(process("starting the agent"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(process("waiting for the agent"))?;
    }
    if line.trim_end() == READY {
        return Ok(Ok(child.id()));
    }
    let status = child.wait().map_err(process("waiting for the agent"))?;
    Ok(Err(status.code().unwrap_or(1)))
}

/// Leaves the session of the terminal and whatever files were open there, such as a script's locks. Call it first
/// thing in the process that [`detach`] starts, which owns no files yet.
pub fn leave_session() -> io::Result<()> {
    let inherited: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in inherited.into_iter().filter(|descriptor| *descriptor > 2) {
        // The descriptor of the listing itself is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    // Fails only for the leader of a process group; a child of `detach` is none.
    nix::unistd::setsid()?;
    Ok(())
}

/// Tells [`detach`] that the agent runs, and lets go of the terminal. From here on `log_file` has what goes to standard error.
pub fn ready(log_file: &Path) -> io::Result<()> {
    crate::system::log::to_file(log_file)?;
    let mut stdout = io::stdout();
    // Whoever started this may have ended meanwhile.
    let _ = writeln!(stdout, "{READY}").and_then(|()| stdout.flush());
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    std::env::set_current_dir("/")
}

/// Ends the agent of `state_dir`: SIGTERM, and SIGKILL after `timeout`.
pub fn stop(state_dir: &Path, timeout: Duration) -> Result<Stopped, DaemonError> {
    let process = |what| {
        move |cause: Errno| DaemonError::Process {
            what,
            cause: cause.into(),
        }
    };
    let pid = match holder(state_dir)? {
        Holder::Running(pid) => pid,
        Holder::Hidden => return Err(DaemonError::Hidden),
        Holder::Dead | Holder::None => return Ok(Stopped::Before),
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(Stopped::Itself(pid)),
        Err(errno) => {
            return Err(process("finding the agent")(Errno::from_raw(
                errno.raw_os_error(),
            )));
        }
    };
    // Only now is it certain that the descriptor is the agent's: it still holds the lock.
    if holder(state_dir)? != Holder::Running(pid) {
        return Ok(Stopped::Itself(pid));
    }
    let signal = |signal| {
        pidfd_send_signal(&pidfd, signal)
            .map_err(|errno| process("signalling the agent")(Errno::from_raw(errno.raw_os_error())))
    };
    signal(Signal::TERM)?;
    if wait_for_end(&pidfd, timeout)? {
        return Ok(Stopped::Itself(pid));
    }
    signal(Signal::KILL)?;
    // A process with a thread stuck in a disk is not gone, but once it has dropped the lock it is no agent.
    if !wait_for_end(&pidfd, KILL_WAIT)? {
        let folder = state_dir.to_owned();
        match attempt::within(KILL_WAIT, move || holder(&folder)) {
            Some(Ok(it)) if it != Holder::Running(pid) => {}
            Some(Err(error)) => return Err(error),
            _ if waits_for_disk(pid) => {
                return Err(DaemonError::WaitsForDisk(pid, state_dir.to_owned()));
            }
            _ => return Err(DaemonError::Unkillable(pid)),
        }
    }
    // Empties the file, as an agent does that ends in order. Another agent may hold it by now, or the disk hangs.
    let folder = state_dir.to_owned();
    attempt::within(KILL_WAIT, move || drop(Lock::take(&folder)));
    Ok(Stopped::Killed(pid))
}

/// Whether a thread of a process is in a call that no signal ends (state `D` of proc_pid_stat(5)).
fn waits_for_disk(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let mut threads = threads.into_iter().flatten().flatten();
    threads.any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything, also a parenthesis.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|it| it.starts_with('D'))
    })
}

fn wait_for_end(pidfd: &OwnedFd, timeout: Duration) -> Result<bool, DaemonError> {
    use std::os::fd::AsFd;
    let end = Instant::now() + timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let millis = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, millis) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => {
                return Err(DaemonError::Process {
                    what: "waiting for the agent's end",
                    cause: errno.into(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::LOCK_FILE;
    use super::*;

    #[test]
    fn a_file_left_behind_is_no_agent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()).unwrap(), Holder::None);
        // Process 1 lives, but it holds no lock.
        fs::write(folder.path().join(LOCK_FILE), "1\n").unwrap();
        assert_eq!(holder(folder.path()).unwrap(), Holder::Dead);
        assert_eq!(
            stop(folder.path(), Duration::ZERO).unwrap(),
            Stopped::Before
        );
        let lock = Lock::take(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
        assert_eq!(holder(folder.path()).unwrap(), Holder::None);
    }

    #[test]
    fn a_lock_for_reading_is_no_agent_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE);
        fs::write(&path, "").unwrap();
        let script = "import fcntl, sys, time
file = open(sys.argv[1])
fcntl.lockf(file, fcntl.LOCK_SH)
print('locked', flush=True)
time.sleep(60)";
        let mut other = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(other.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "locked\n");
        assert_eq!(holder(folder.path()).unwrap(), Holder::Hidden);
        assert!(matches!(
            stop(folder.path(), Duration::ZERO),
            Err(DaemonError::Hidden)
        ));
        assert!(other.try_wait().unwrap().is_none(), "it was signalled");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
