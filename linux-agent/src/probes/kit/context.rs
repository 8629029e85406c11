//! Where probes read, and what every sample may use.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::file::Scratch;

/// Where the kernel's files are found; other places serve containers that watch their host, and
/// recorded trees.
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
    /// Whether these are the kernel's own files of this very process: `/proc`.
    pub(crate) fn is_own_procfs(&self) -> bool {
        self.procfs == Path::new("/proc")
    }

    /// Where to read a file that each process has one of, such as `net/tcp`.
    ///
    /// `/proc/self` and `/proc/net` are those of the reader. A procfs elsewhere is that of a host
    /// watched from a container: there the namespaces of its first process are meant.
    pub(crate) fn of_process(&self, name: &str) -> PathBuf {
        let of_first = self.procfs.join("1").join(name);
        if !self.is_own_procfs() && of_first.exists() {
            return of_first;
        }
        let of_self = self.procfs.join("self").join(name);
        if of_self.exists() {
            return of_self;
        }
        self.procfs.join(name)
    }
}

/// What every sample may use.
pub struct Context {
    /// Holds what is read; grown once to what the largest file needs, then reused.
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
    /// How long the server's last answer to a report took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink_latency_ms: Option<u32>,
}
