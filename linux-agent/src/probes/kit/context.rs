//! Where probes read, and what every sample may use.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use serde::Serialize;

use super::error::ProbeError;
use super::file::{Scratch, SourceFile};
use crate::system::{below, files};

/// Where the kernel's files are. Other places are for containers that watch their host, and for recorded trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Usually `/proc`.
    pub procfs: PathBuf,
    /// Usually `/sys`.
    pub sysfs: PathBuf,
    /// Usually `/`; what paths of mount points and of files below `/etc` are relative to.
    pub rootfs: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            procfs: PathBuf::from("/proc"),
            sysfs: PathBuf::from("/sys"),
            rootfs: PathBuf::from("/"),
        }
    }
}

impl Roots {
    /// Whether these are of the host that the agent runs on: the kernel's own files, `/proc`, and no other
    /// root. Else a container watches its host, and what the kernel shows this process is the container's.
    pub(crate) fn are_own(&self) -> bool {
        self.procfs == Path::new("/proc") && self.rootfs == Path::new("/")
    }

    /// Whether the kernel hides the first process of this procfs from the agent (hidepid=2), and with
    /// it the processes of all other users.
    pub(crate) fn hides_first_process(&self) -> bool {
        self.is_kernels() && stat(&self.procfs.join("1")) == Err(Errno::ENOENT)
    }

    /// Opens a file that each process has one of, such as `net/tcp`.
    ///
    /// `/proc/self` and `/proc/net` are those of the reader. Of a host that is watched from a container
    /// the namespaces of its first process are meant, and where they cannot be seen the reader's are not
    /// shown in their place. A recorded tree may have either.
    pub(crate) fn open_of_process(&self, name: &str) -> Result<SourceFile, ProbeError> {
        if !self.are_own() {
            let opened = SourceFile::open(self.procfs.join("1").join(name));
            match opened {
                Err(error) if error.is_denied() => return Err(self.hidden()),
                Err(error) if !error.is_not_found() => return Err(error),
                Err(_) if self.hides_first_process() => return Err(self.hidden()),
                Err(error) if self.is_kernels() => return Err(error),
                Err(_) => {}
                opened => return opened,
            }
        }
        match SourceFile::open(self.procfs.join("self").join(name)) {
            Err(error) if error.is_not_found() => SourceFile::open(self.procfs.join(name)),
            opened => opened,
        }
    }

    /// Opens a file of the host's root folder, such as `etc/hostname`.
    ///
    /// With a procfs of another host and no rootfs to it, `/` is that of the container that watches:
    /// the host's is that of its first process. A link in the host's root leads where it does for the host.
    pub(crate) fn open_of_host(&self, name: &str) -> io::Result<File> {
        if self.are_own() {
            return files::open(&self.rootfs.join(name));
        }
        below::open_below(&self.root_of_host(), Path::new(name))
    }

    /// The same for what is read as other files are.
    pub(crate) fn source_of_host(&self, name: &str) -> Result<SourceFile, ProbeError> {
        let path = self.root_of_host().join(name);
        SourceFile::opened_by(path, |_| self.open_of_host(name))
    }

    fn root_of_host(&self) -> Cow<'_, Path> {
        if !self.are_own() && self.rootfs == Path::new("/") {
            return self.procfs.join("1/root").into();
        }
        Cow::Borrowed(&self.rootfs)
    }

    /// What is said where [`Roots::hides_first_process`].
    pub(crate) fn hidden(&self) -> ProbeError {
        ProbeError::Hidden {
            procfs: self.procfs.clone(),
        }
    }

    /// Whether procfs is the kernel's, here or of another host, and no recorded tree.
    pub(crate) fn is_kernels(&self) -> bool {
        statfs(&self.procfs).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
    }
}

/// What every sample can use.
pub struct Context {
    /// Buffer for what is read. Grows to what the largest file needs, then is reused.
    pub(crate) scratch: Scratch,
    /// When this sample is taken.
    pub now: Instant,
    /// What the agent knows of itself.
    pub agent: AgentCounters,
}

impl Context {
    /// A context for samples from now on.
    pub fn new() -> Self {
        Context {
            scratch: Scratch::default(),
            now: Instant::now(),
            agent: AgentCounters::default(),
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// What the agent counts about itself: the reports over all runs since its queue began, the ticks
/// since it started. `get_agent_health` reports it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentCounters {
    /// Reports that were made.
    pub sampled: u64,
    /// Reports that the server has.
    pub acknowledged: u64,
    /// Reports that wait.
    pub queued: u64,
    /// What they take, in bytes.
    pub queue_bytes: u64,
    /// Reports given up because the queue was full.
    pub dropped_overflow: u64,
    /// Reports given up because of their age.
    pub dropped_expired: u64,
    /// Reports that the server refused.
    pub dropped_refused: u64,
    /// Reports that the server failed on again and again.
    pub dropped_gave_up: u64,
    /// Reports that were on disk and are not to be found there.
    pub dropped_damaged: u64,
    /// Reports that were in memory only when an earlier run ended.
    pub dropped_forgotten: u64,
    /// Samples that were due and not taken.
    pub missed_ticks: u64,
    /// Samples that were taken late.
    pub late_ticks: u64,
    /// How long the server's last answer to a report took, in milliseconds; 0 before the first.
    pub uplink_latency_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(roots: &Roots) -> PathBuf {
        let file = roots.open_of_process("net/dev").ok();
        file.map(|file| file.path().to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_watched_host_is_seen_by_its_first_process() {
        assert_eq!(path_of(&Roots::default()), Path::new("/proc/self/net/dev"));
        // In the procfs of its host or not, a container has an interface of its own.
        let watching = Roots {
            rootfs: "/host".into(),
            ..Roots::default()
        };
        assert_eq!(path_of(&watching), Path::new("/proc/1/net/dev"));
        let watching = Roots {
            procfs: "/proc/../proc".into(),
            ..Roots::default()
        };
        assert_eq!(path_of(&watching), Path::new("/proc/../proc/1/net/dev"));
    }

    #[test]
    fn a_recorded_tree_has_one_or_the_other() {
        let tree = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: tree.path().to_owned(),
            ..Roots::default()
        };
        assert_eq!(path_of(&roots), Path::new(""));
        for process in ["", "self", "1"] {
            let folder = tree.path().join(process).join("net");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("dev"), "").unwrap();
            assert_eq!(path_of(&roots), folder.join("dev"));
        }
    }

    #[test]
    fn a_watched_hosts_files_are_below_its_root() {
        let of = |procfs: &str, rootfs: &str| {
            let roots = Roots {
                procfs: procfs.into(),
                rootfs: rootfs.into(),
                ..Roots::default()
            };
            roots.root_of_host().into_owned()
        };
        assert_eq!(of("/proc", "/"), Path::new("/"));
        assert_eq!(of("/proc", "/host"), Path::new("/host"));
        assert_eq!(of("/hostproc", "/host"), Path::new("/host"));
        assert_eq!(of("/hostproc", "/"), Path::new("/hostproc/1/root"));
    }
}
