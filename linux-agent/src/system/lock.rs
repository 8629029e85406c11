//! The lock that says who is the agent of a state folder.
//!
//! It is a record lock of fcntl(2) on `agent.lock`. The kernel drops it when the process ends, and tells everybody
//! who holds it. So a file left behind means nothing, and a signal goes to the process that holds the lock, not to
//! whoever has an old pid now.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::process::Pid;
use thiserror::Error;

use super::attempt;
use super::files::{FileError, LOCK_FILE, NOT_ELSEWHERE};
use super::state_folder::{self, StateFolderError};

/// The right to be the agent of a state folder, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
}

/// At its end an agent waits so long for a disk to take its last change.
const LAST_CHANGE: Duration = Duration::from_secs(1);

/// Who is the agent of a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    Running(Pid),
    /// A process that cannot be seen from here: it is in another pid namespace, or holds another kind of lock than
    /// an agent.
    Hidden,
    /// None; one died without cleaning up.
    Dead,
    /// No agent runs.
    None,
}

/// Why the state folder or the agent's process is not as it should be.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state folder is not the agent's.
    #[error(transparent)]
    StateFolder(#[from] StateFolderError),
    /// An agent runs already.
    #[error("an agent runs already ({0})")]
    AlreadyRunning(Holder),
    /// A call about a process failed.
    #[error("{what}: {cause}")]
    Process {
        /// What failed.
        what: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// The holder of the lock cannot be seen from here, so nobody is signalled.
    #[error(
        "the agent's lock is held by a process that is not visible from here, perhaps in another pid namespace"
    )]
    Hidden,
    /// The process still runs after SIGKILL.
    #[error("process {} goes on after SIGKILL", .0.as_raw_nonzero())]
    Unkillable(Pid),
    /// The same, and the kernel says why.
    #[error(
        "process {} has got SIGKILL, and Linux ends it once the disk that it waits for answers, probably that of {}",
        .0.as_raw_nonzero(), .1.display()
    )]
    WaitsForDisk(Pid, PathBuf),
}

impl Lock {
    /// Makes the state folder if needed and becomes its agent.
    pub fn take(state_dir: &Path) -> Result<Lock, DaemonError> {
        state_folder::prepare(state_dir)?;
        let path = state_dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Whoever may open it could lock it and keep the agent out.
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
        Ok(Lock {
            file: Arc::new(file),
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file says that the agent ended in order. That of a disk that hangs stays as it is.
        let file = Arc::clone(&self.file);
        attempt::within(LAST_CHANGE, move || file.set_len(0));
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
    // Only who may write the file learns who runs. On a disk that became read-only, reading is enough.
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

fn asked(file: &File, path: &Path) -> Result<Holder, DaemonError> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).map_err(|errno| file_error(path, errno.into()))?;
    let pid = Pid::from_raw(lock.l_pid).filter(|_| lock.l_pid > 0);
    match (i32::from(lock.l_type), pid) {
        (libc::F_UNLCK, _) => {}
        (libc::F_WRLCK, Some(pid)) => return Ok(Holder::Running(pid)),
        // A read lock, or a lock of an open file, which names no process.
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

fn file_error(path: &Path, cause: io::Error) -> DaemonError {
    FileError::new(path, cause).into()
}
