//! The agent as a process: the lock that says who runs, detaching, stopping.
//!
//! The lock is a record lock of fcntl(2) on `agent.lock`. The kernel drops it with the process and tells
//! everybody who holds it, so a file left behind means nothing, and the process that is signalled is the one
//! that holds the lock, not whoever has the pid that a file once named.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const LOCK_FILE: &str = "agent.lock";

/// The state folder may be another user's than root's, who may be the one who opens it: what is put there is
/// neither followed to another place nor waited for.
const NOT_ELSEWHERE: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// What a detached agent writes to its standard output once it runs.
const READY: &str = "ready";

/// How long a process may take to be gone after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The right to be the agent of a state folder, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who is the agent of a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    Running(Pid),
    /// A process that cannot be told from here: in another pid namespace, or with another kind of lock than an
    /// agent's.
    Hidden,
    /// None; one died without cleaning up.
    Dead,
    /// None.
    None,
}

/// How [`stop`] found or left the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// None ran.
    Before,
    /// It ended in order.
    Itself(Pid),
    /// It did not end in time, and was killed.
    Killed(Pid),
}

/// Why the state folder or the agent's process is not as it should be.
#[derive(Debug)]
pub enum DaemonError {
    /// A file or folder cannot be used.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// An agent runs already.
    AlreadyRunning(Holder),
    /// A call about a process failed.
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The holder of the lock cannot be told from here, so nobody is signalled.
    Hidden,
    /// The process goes on after SIGKILL.
    Unkillable(Pid),
}

impl Lock {
    /// Makes the state folder if needed and becomes its agent.
    pub fn take(state_dir: &Path) -> Result<Lock, DaemonError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|cause| file_error(state_dir, cause))?;
        own(state_dir)?;
        let path = state_dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Who may open it may lock it, and keep the agent out.
            .mode(0o600)
            .custom_flags(NOT_ELSEWHERE)
            .open(&path)
            .map_err(|cause| file_error(&path, cause))?;
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => {}
            Err(Errno::EACCES | Errno::EAGAIN) => {
                return Err(DaemonError::AlreadyRunning(asked(&file, &path)?));
            }
            Err(errno) => return Err(file_error(&path, errno.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|cause| file_error(&path, cause))?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file says that the agent ended in order.
        let _ = self.file.set_len(0);
    }
}

/// Who is the agent of `state_dir`.
pub fn holder(state_dir: &Path) -> Result<Holder, DaemonError> {
    let path = state_dir.join(LOCK_FILE);
    let open = |write| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(NOT_ELSEWHERE)
            .open(&path)
    };
    // Nobody who may not write it is told who runs, but a disk that became read-only hides no agent.
    let file = match open(true) {
        Err(cause) if cause.kind() == io::ErrorKind::ReadOnlyFilesystem => open(false),
        result => result,
    };
    match file {
        Ok(file) => asked(&file, &path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Holder::None),
        Err(cause) => Err(file_error(&path, cause)),
    }
}

/// Starts this program anew with `arguments`, detached from the terminal, and waits until it runs or has failed.
/// Gives the exit code that it failed with, after it has said why.
pub fn detach(arguments: &[std::ffi::OsString]) -> Result<Result<u32, i32>, DaemonError> {
    let process = |what| move |cause| DaemonError::Process { what, cause };
    let mut child = Command::new("/proc/self/exe")
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
        // The one of the listing itself is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    // Fails only for the leader of a process group, which a child of `detach` is not.
    nix::unistd::setsid()?;
    Ok(())
}

/// Tells [`detach`] that the agent runs, and lets go of the terminal. From here on `log_file` has what goes to standard error.
pub fn ready(log_file: &Path) -> io::Result<()> {
    crate::system::log::to_file(log_file)?;
    let mut stdout = io::stdout();
    // The one who started this may have been ended meanwhile.
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
    // Only now is it certain that the descriptor means the agent: it still holds the lock.
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
    // One whose disk holds a thread is not gone, but it is no agent either once it has let go of the lock.
    if !wait_for_end(&pidfd, KILL_WAIT)? && holder(state_dir)? == Holder::Running(pid) {
        return Err(DaemonError::Unkillable(pid));
    }
    // Empties the file, as the agent would have: its end was no accident. Another agent may have it by now.
    drop(Lock::take(state_dir));
    Ok(Stopped::Killed(pid))
}

/// Nobody else may write the state folder. One of another user is none for root, whom that user could have write where
/// it likes.
fn own(state_dir: &Path) -> Result<(), DaemonError> {
    let facts = fs::metadata(state_dir).map_err(|cause| file_error(state_dir, cause))?;
    let own_uid = nix::unistd::geteuid().as_raw();
    let mode = facts.permissions().mode();
    if own_uid == 0 && facts.uid() != 0 {
        let refusal = format!(
            "it belongs to user {}, and the agent runs as root: start it with --user, or correct it with chown root",
            facts.uid()
        );
        return Err(file_error(state_dir, io::Error::other(refusal)));
    }
    if facts.uid() == own_uid && mode & 0o022 != 0 {
        fs::set_permissions(state_dir, fs::Permissions::from_mode(mode & !0o022))
            .map_err(|cause| file_error(state_dir, cause))?;
    }
    Ok(())
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

fn asked(file: &File, path: &Path) -> Result<Holder, DaemonError> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).map_err(|errno| file_error(path, errno.into()))?;
    let pid = Pid::from_raw(lock.l_pid).filter(|_| lock.l_pid > 0);
    match (i32::from(lock.l_type), pid) {
        (libc::F_UNLCK, _) => {}
        (libc::F_WRLCK, Some(pid)) => return Ok(Holder::Running(pid)),
        // A lock for reading, or one of an open file, which has no process.
        _ => return Ok(Holder::Hidden),
    }
    let length = file
        .metadata()
        .map_err(|cause| file_error(path, cause))?
        .len();
    Ok(if length > 0 {
        Holder::Dead
    } else {
        Holder::None
    })
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn file_error(path: &Path, cause: io::Error) -> DaemonError {
    DaemonError::File {
        path: path.to_owned(),
        cause,
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Running(pid) => write!(f, "pid {}", pid.as_raw_nonzero()),
            Holder::Hidden => {
                f.write_str("its lock is held by a process that is not visible from here")
            }
            Holder::Dead | Holder::None => f.write_str("just ended"),
        }
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::File { path, cause } => write!(f, "{}: {cause}", path.display()),
            DaemonError::AlreadyRunning(holder) => write!(f, "an agent runs already ({holder})"),
            DaemonError::Process { what, cause } => write!(f, "{what}: {cause}"),
            DaemonError::Hidden => f.write_str(
                "the agent's lock is held by a process that is not visible from here, perhaps in another pid namespace",
            ),
            DaemonError::Unkillable(pid) => {
                write!(f, "process {} goes on after SIGKILL", pid.as_raw_nonzero())
            }
        }
    }
}

impl std::error::Error for DaemonError {}

/// The control socket's folder as a short path: a socket's path may have 107 bytes only, a state folder more.
pub fn short_path(state_dir: &Path) -> Result<(File, PathBuf), DaemonError> {
    let folder = File::open(state_dir).map_err(|cause| file_error(state_dir, cause))?;
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Writes a file whole or not at all: whoever reads it, also after a crash, sees the old or the new one.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), DaemonError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(NOT_ELSEWHERE)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename is on disk only when its folder is.
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|cause| {
        // Of no use to anybody, and none if it was renamed.
        let _ = fs::remove_file(&temporary);
        file_error(path, cause)
    })
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services.json");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
