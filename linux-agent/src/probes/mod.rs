//! The probes: what this host can sample without starting a program.
//!
//! One file a probe: a typed struct, a pure `parse(&[u8])`, a thin reader that keeps its file open.
//! A new probe is its file, its rows in the two lists of this module, and a fixture.

pub mod agent_health;
pub mod alive;
pub mod cpu;
pub mod disk_io;
pub mod filesystem;
pub mod kit;
pub mod load;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod processes;
pub mod sysinfo;
pub mod tcp;
pub mod temperature;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mote_core::Envelope;

pub use agent_health::AgentCounters;
pub use filesystem::mounts::MAX_MOUNTS;
pub use filesystem::workers::{MAX_THREADS, MAX_WORKERS};
pub use kit::file::{MAX_FILE, MAX_OPEN, Scratch, SourceFile};

/// A report may be no larger, in bytes.
pub const MAX_REPORT: usize = 128 << 10;

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
    fn is_own_procfs(&self) -> bool {
        self.procfs == Path::new("/proc")
    }

    /// Where to read a file that each process has one of, such as `net/tcp`.
    ///
    /// `/proc/self` and `/proc/net` are those of the reader. A procfs elsewhere is that of a host
    /// watched from a container: there the namespaces of its first process are meant.
    fn of_process(&self, name: &str) -> PathBuf {
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
    pub scratch: Scratch,
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

/// Why a probe has no data.
#[derive(Debug)]
pub enum ProbeError {
    /// A file of the kernel could not be opened or read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file of the kernel does not say what it should.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What was looked for and not found.
        missing: &'static str,
    },
    /// This kernel has no such file.
    Unsupported {
        /// Which.
        path: PathBuf,
        /// What kernel has it.
        needs: &'static str,
    },
    /// The report does not fit its buffer.
    TooLarge,
}

impl ProbeError {
    fn read(path: &Path, cause: io::Error) -> Self {
        ProbeError::Read {
            path: path.to_owned(),
            cause,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, ProbeError::Read { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

impl std::fmt::Display for ProbeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProbeError::Read { path, cause } => write!(f, "{}: {cause}", path.display()),
            ProbeError::Malformed { path, missing } => {
                write!(f, "{}: no valid {missing}", path.display())
            }
            ProbeError::Unsupported { path, needs } => {
                write!(f, "{}: needs {needs}", path.display())
            }
            ProbeError::TooLarge => mote_core::TooLarge.fmt(f),
        }
    }
}

impl std::error::Error for ProbeError {}

impl From<mote_core::TooLarge> for ProbeError {
    fn from(_: mote_core::TooLarge) -> Self {
        ProbeError::TooLarge
    }
}

/// The text is not what the kernel documents; names what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A probe of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `get_linux_cpu`
    Cpu,
    /// `get_memory_info`
    Memory,
    /// `GetNetworkStatus`
    Network,
    /// `get_linux_load`
    Load,
    /// `host_alive_check`
    Alive,
    /// `get_disk_io`
    DiskIo,
    /// `get_pressure`
    Pressure,
    /// `get_agent_health`
    AgentHealth,
    /// `get_filesystem`
    Filesystem,
    /// `get_processes`
    Processes,
    /// `LinuxSysInfo`
    SysInfo,
    /// `get_tcp`
    Tcp,
    /// `get_temperature`
    Temperature,
}

/// Every probe with the names that a server may give it; the first is the one that is shown.
pub const PROBES: &[(Probe, &[&str])] = &[
    (Probe::Cpu, &["get_linux_cpu"]),
    (Probe::Memory, &["get_memory_info"]),
    (Probe::Network, &["GetNetworkStatus", "get_network_info"]),
    (Probe::Load, &["get_linux_load", "get_load_info"]),
    (Probe::Alive, &["host_alive_check"]),
    (Probe::DiskIo, &["get_disk_io"]),
    (Probe::Pressure, &["get_pressure"]),
    (Probe::AgentHealth, &["get_agent_health"]),
    (Probe::Filesystem, &["get_filesystem"]),
    (Probe::Processes, &["get_processes"]),
    (Probe::SysInfo, &["LinuxSysInfo"]),
    (Probe::Tcp, &["get_tcp"]),
    (Probe::Temperature, &["get_temperature"]),
];

impl Probe {
    /// The probe that a server means by `plugin`.
    pub fn by_name(plugin: &str) -> Option<Probe> {
        PROBES
            .iter()
            .find(|(_, names)| names.contains(&plugin))
            .map(|(probe, _)| *probe)
    }
}

/// A probe at work for one service: its open files and the counters of its last sample.
pub enum Sampler {
    /// See [`cpu`].
    Cpu(cpu::Cpu),
    /// See [`memory`].
    Memory(memory::Memory),
    /// See [`network`].
    Network(network::Network),
    /// See [`load`].
    Load(load::Load),
    /// See [`alive`].
    Alive(alive::Alive),
    /// See [`disk_io`].
    DiskIo(disk_io::DiskIo),
    /// See [`pressure`].
    Pressure(pressure::PressureFiles),
    /// See [`agent_health`].
    AgentHealth(agent_health::AgentHealth),
    /// See [`filesystem`].
    Filesystem(filesystem::Filesystem),
    /// See [`processes`].
    Processes(processes::Processes),
    /// See [`sysinfo`]. Boxed: it is much larger than the others.
    SysInfo(Box<sysinfo::SysInfo>),
    /// See [`tcp`].
    Tcp(tcp::Tcp),
    /// See [`temperature`].
    Temperature(temperature::Temperature),
}

impl Sampler {
    /// Opens what the probe reads and takes the baseline of its rates.
    pub fn open(probe: Probe, roots: &Roots, context: &mut Context) -> Result<Sampler, ProbeError> {
        Ok(match probe {
            Probe::Cpu => Sampler::Cpu(cpu::Cpu::open(roots, context)?),
            Probe::Memory => Sampler::Memory(memory::Memory::open(roots)?),
            Probe::Network => Sampler::Network(network::Network::open(roots, context)?),
            Probe::Load => Sampler::Load(load::Load::open(roots)?),
            Probe::Alive => Sampler::Alive(alive::Alive::open(roots)?),
            Probe::DiskIo => Sampler::DiskIo(disk_io::DiskIo::open(roots, context)?),
            Probe::Pressure => Sampler::Pressure(pressure::PressureFiles::open(roots)?),
            Probe::AgentHealth => Sampler::AgentHealth(agent_health::AgentHealth::open(context)?),
            Probe::Filesystem => Sampler::Filesystem(filesystem::Filesystem::open(roots, context)?),
            Probe::Processes => Sampler::Processes(processes::Processes::open(roots, context)?),
            Probe::SysInfo => Sampler::SysInfo(Box::new(sysinfo::SysInfo::open(roots, context)?)),
            Probe::Tcp => Sampler::Tcp(tcp::Tcp::open(roots, context)?),
            Probe::Temperature => {
                Sampler::Temperature(temperature::Temperature::open(roots, context)?)
            }
        })
    }

    /// Takes one sample and writes it as a report into `buffer`; gives its length in bytes.
    pub fn sample(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(match self {
            Sampler::Cpu(cpu) => envelope.encode(&cpu.sample(context)?, buffer)?,
            Sampler::Memory(memory) => envelope.encode(&memory.sample(context)?, buffer)?,
            Sampler::Network(network) => network.sample(context)?.encode(envelope, buffer)?,
            Sampler::Load(load) => envelope.encode(&load.sample(context)?, buffer)?,
            Sampler::Alive(alive) => envelope.encode(&alive.sample(context)?, buffer)?,
            Sampler::DiskIo(disk_io) => disk_io.sample(context)?.encode(envelope, buffer)?,
            Sampler::Pressure(files) => envelope.encode(&files.sample(context)?, buffer)?,
            Sampler::AgentHealth(health) => envelope.encode(&health.sample(context)?, buffer)?,
            Sampler::Filesystem(filesystem) => {
                filesystem.sample(context)?.encode(envelope, buffer)?
            }
            Sampler::Processes(processes) => {
                envelope.encode(&processes.sample(context)?, buffer)?
            }
            Sampler::SysInfo(sysinfo) => envelope.encode(sysinfo.sample(context)?, buffer)?,
            Sampler::Tcp(tcp) => envelope.encode(&tcp.sample(context)?, buffer)?,
            Sampler::Temperature(temperature) => {
                temperature.sample(context)?.encode(envelope, buffer)?
            }
        })
    }
}
