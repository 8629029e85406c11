//! Where the groups of this host are, and how their files are read.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::{Errno, read};

use super::figures::{
    GroupFigures, blkio, cpu_limit, cpu_max, io_stat, keyed, limit, periods, single,
};
use crate::probes::kit::{ProbeError, Roots};

/// No file of a group is longer, in bytes. `io.stat` has a line a device.
pub const MAX_TEXT: usize = 64 << 10;

/// A mounted hierarchy, and what is read in it.
pub struct Hierarchy {
    pub root: PathBuf,
    controller: Controller,
}

#[derive(Clone, Copy, PartialEq)]
enum Controller {
    /// Version 2.
    All,
    /// Version 2 beside version 1: it has no controllers, but counts the CPU time of each group.
    CpuTime,
    /// The others are of version 1.
    Cpu,
    CpuAcct,
    Memory,
    Pids,
    BlkIo,
}

/// Of version 1, each with the folders that it may be mounted at.
const LEGACY: [(Controller, &[&str]); 6] = [
    (Controller::CpuTime, &["unified"]),
    (Controller::CpuAcct, &["cpuacct", "cpu,cpuacct"]),
    (Controller::Cpu, &["cpu", "cpu,cpuacct"]),
    (Controller::Memory, &["memory"]),
    (Controller::Pids, &["pids"]),
    (Controller::BlkIo, &["blkio"]),
];

/// The hierarchies of this host. Fails if there is none.
pub fn hierarchies(roots: &Roots) -> Result<Vec<Hierarchy>, ProbeError> {
    let base = roots.sysfs.join("fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return Ok(vec![Hierarchy {
            root: base,
            controller: Controller::All,
        }]);
    }
    let mounted = LEGACY.iter().filter_map(|(controller, names)| {
        let mut folders = names.iter().map(|name| base.join(name));
        Some(Hierarchy {
            root: folders.find(|folder| folder.join("cgroup.procs").exists())?,
            controller: *controller,
        })
    });
    let mounted: Vec<_> = mounted.collect();
    if mounted.is_empty() {
        return Err(ProbeError::Unsupported {
            path: base,
            needs: "a mounted hierarchy of cgroups, of version 2 or 1",
        });
    }
    Ok(mounted)
}

/// Reads groups, in memory that is used again.
pub struct GroupReader {
    path: Vec<u8>,
    text: Vec<u8>,
}

/// Which life of a group this is: one that ended and came back counts from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life(u64);

impl GroupReader {
    pub fn new() -> Self {
        GroupReader {
            path: Vec::with_capacity(4096),
            text: vec![0; MAX_TEXT],
        }
    }

    /// What the files of the group at `path` below the roots say. `None` if it is gone.
    pub fn read(
        &mut self,
        hierarchies: &[Hierarchy],
        path: &[u8],
    ) -> Result<Option<(GroupFigures, Life)>, Errno> {
        let mut figures = GroupFigures::default();
        let mut life = Life::default();
        let mut failed = None;
        let mut is_there = false;
        for hierarchy in hierarchies {
            match self.open(hierarchy, path) {
                Ok((folder, inode)) => {
                    is_there = true;
                    life.0 = life.0.wrapping_mul(31).wrapping_add(inode);
                    let mut files = Files {
                        folder,
                        text: &mut self.text,
                    };
                    hierarchy.controller.read(&mut files, &mut figures);
                }
                // Not each hierarchy has each group.
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(errno) => failed = Some(errno),
            }
        }
        match failed {
            Some(errno) if !is_there => Err(errno),
            _ => Ok(is_there.then_some((figures, life))),
        }
    }

    fn open(&mut self, hierarchy: &Hierarchy, path: &[u8]) -> Result<(OwnedFd, u64), Errno> {
        self.path.clear();
        self.path.extend(hierarchy.root.as_os_str().as_bytes());
        self.path.push(b'/');
        self.path.extend(path);
        self.path.push(0);
        let path = CStr::from_bytes_until_nul(&self.path).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty())?;
        let inode = fstat(&folder)?.st_ino;
        Ok((folder, inode))
    }
}

impl Controller {
    fn read(self, files: &mut Files<'_>, figures: &mut GroupFigures) {
        match self {
            Controller::All => {
                if let Some(stat) = files.text(c"cpu.stat") {
                    figures.cpu_us = keyed(stat, b"usage_usec");
                    figures.periods = periods(stat);
                }
                figures.cpu_limit = files.text(c"cpu.max").and_then(cpu_max);
                let usage = files.text(c"memory.current").and_then(single);
                let stat = files.text(c"memory.stat");
                figures.memory = working_set(usage, stat, b"inactive_file");
                figures.memory_limit = files.text(c"memory.max").and_then(limit);
                let events = files.text(c"memory.events");
                figures.oom_kills = events.and_then(|text| keyed(text, b"oom_kill"));
                figures.io = files.text(c"io.stat").and_then(io_stat);
                files.tasks(figures);
            }
            Controller::CpuTime => {
                let stat = files.text(c"cpu.stat");
                figures.cpu_us = stat.and_then(|text| keyed(text, b"usage_usec"));
            }
            Controller::CpuAcct => {
                let usage_ns = files.text(c"cpuacct.usage").and_then(single);
                figures.cpu_us = usage_ns.map(|ns| ns / 1000).or(figures.cpu_us);
            }
            Controller::Cpu => {
                figures.periods = files.text(c"cpu.stat").and_then(periods);
                // -1 without a limit, which is no number here.
                let quota = files.text(c"cpu.cfs_quota_us").and_then(single);
                let period = files.text(c"cpu.cfs_period_us").and_then(single);
                let both = quota.zip(period);
                figures.cpu_limit = both.and_then(|(quota, period)| cpu_limit(quota, period));
            }
            Controller::Memory => {
                let usage = files.text(c"memory.usage_in_bytes").and_then(single);
                let stat = files.text(c"memory.stat");
                figures.memory = working_set(usage, stat, b"total_inactive_file");
                figures.memory_limit = files.text(c"memory.limit_in_bytes").and_then(limit);
                let control = files.text(c"memory.oom_control");
                figures.oom_kills = control.and_then(|text| keyed(text, b"oom_kill"));
            }
            Controller::Pids => files.tasks(figures),
            Controller::BlkIo => {
                let io = files.text(c"blkio.throttle.io_service_bytes_recursive");
                figures.io = io.and_then(blkio);
            }
        }
    }
}

/// What the group uses, less pages of files that were not used for a while, which the kernel takes back at once.
fn working_set(usage: Option<u64>, stat: Option<&[u8]>, inactive: &[u8]) -> Option<u64> {
    Some(usage?.saturating_sub(keyed(stat?, inactive)?))
}

/// The files of a group.
struct Files<'t> {
    folder: OwnedFd,
    text: &'t mut [u8],
}

impl Files<'_> {
    /// Both versions have these.
    fn tasks(&mut self, figures: &mut GroupFigures) {
        figures.tasks = self.text(c"pids.current").and_then(single);
        figures.tasks_limit = self.text(c"pids.max").and_then(limit);
    }

    /// The whole text of a file; `None` if it cannot be read, or is longer than [`MAX_TEXT`].
    fn text(&mut self, name: &CStr) -> Option<&[u8]> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty()).ok()?;
        // A recorded tree may hold what never ends.
        if !FileType::from_raw_mode(fstat(&file).ok()?.st_mode).is_file() {
            return None;
        }
        let mut filled = 0;
        loop {
            let free = self
                .text
                .get_mut(filled..)
                .filter(|free| !free.is_empty())?;
            match read(&file, free) {
                Ok(0) => return self.text.get(..filled),
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}
