//! The probes: what this host can sample without starting a program.
//!
//! One file a probe: a typed struct, a pure `parse(&[u8])`, a thin reader that keeps its file open.
//! A new probe is its file and its row in [`PROBES`].

pub mod agent_health;
pub mod alive;
pub mod cgroups;
pub mod clock;
pub mod cores;
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

use std::fmt;

use kit::{OfFile, Sample};

pub use filesystem::MAX_MOUNTS;
pub use kit::{
    AgentCounters, Context, MAX_FILE, MAX_OPEN, MAX_REPORT, MAX_THREADS, MAX_WORKERS, Malformed,
    ProbeError, Roots, Sampler,
};

/// Every probe, with the names that a server may give it; the first is the one that is shown.
pub static PROBES: &[Probe] = &[
    probe::<cpu::Cpu>(&["get_linux_cpu"]),
    probe::<OfFile<memory::MemoryData>>(&["get_memory_info"]),
    probe::<network::Network>(&["GetNetworkStatus", "get_network_info"]),
    probe::<OfFile<load::LoadData>>(&["get_linux_load", "get_load_info"]),
    probe::<OfFile<alive::AliveData>>(&["host_alive_check"]),
    probe::<disk_io::DiskIo>(&["get_disk_io"]),
    probe::<pressure::PressureFiles>(&["get_pressure"]),
    probe::<agent_health::AgentHealth>(&[agent_health::NAME]),
    probe::<filesystem::Filesystem>(&["get_filesystem"]),
    probe::<processes::Processes>(&["get_processes"]),
    probe::<sysinfo::SysInfo>(&["LinuxSysInfo"]),
    probe::<tcp::Tcp>(&["get_tcp"]),
    probe::<temperature::Temperature>(&["get_temperature"]),
    probe::<clock::Clock>(&["get_clock"]),
    probe::<cores::Cores>(&["get_cpu_cores"]),
    probe::<cgroups::Cgroups>(&["get_cgroups"]),
];

/// A probe of this host: one row of [`PROBES`].
pub struct Probe {
    names: &'static [&'static str],
    open: Open,
}

type Open = fn(&Roots, &mut Context) -> Result<Box<dyn Sampler>, ProbeError>;

impl Probe {
    /// The probe that a server means by `plugin`.
    pub fn by_name(plugin: &str) -> Option<&'static Probe> {
        PROBES.iter().find(|probe| probe.names.contains(&plugin))
    }

    /// The name that is shown.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// All its names, the one that is shown first.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Opens what the probe reads and takes the baseline of its rates.
    pub fn open(
        &self,
        roots: &Roots,
        context: &mut Context,
    ) -> Result<Box<dyn Sampler>, ProbeError> {
        (self.open)(roots, context)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Probe {}

const fn probe<P: Sample + 'static>(names: &'static [&'static str]) -> Probe {
    Probe {
        names,
        open: |roots, context| Ok(Box::new(P::open(roots, context)?)),
    }
}
