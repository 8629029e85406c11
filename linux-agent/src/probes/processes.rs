//! `get_processes`: the processes by state, from `/proc/[pid]/stat` (proc_pid_stat(5)), and two
//! counters from `/proc/stat` (proc_stat(5)):
//!
//! ```text
//! 4711 (tmux: server) S 1 4711 4711 0 -1 4194624 …
//! pid  (comm)         state
//! ```
//! ```text
//! ctxt 2163804
//! processes 30218
//! ```
//!
//! The name may itself hold spaces, parentheses and newlines; after it there are only numbers, so the
//! last `)` of the text ends it.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Instant;

use mote_core::Status;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, openat, seek};
use rustix::io::{Errno, read};
use serde::Serialize;

use super::kit::file::{lines, number, optional, words};
use super::kit::rate::rate;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// Of no more processes than this is the state asked in one sample.
pub const MAX_PROCESSES: u32 = 100_000;

/// So much of the list of processes is fetched at a time.
const LISTING_BYTES: usize = 8 << 10;

/// The processes of this host by state, kernel threads included, and how busy they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProcessesData {
    /// Always [`Status::OK`].
    status: Status,
    /// How many processes are in each state.
    #[serde(flatten)]
    states: ProcessStates,
    /// Processes and threads started per second. Left out where the kernel does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    forks: Option<f64>,
    /// Context switches of all CPUs per second. Left out where the kernel does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_switches: Option<f64>,
}

/// Processes by state; a process has that of its first thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessStates {
    /// On a CPU or waiting for one (`R`).
    running: u32,
    /// Waiting for an event (`S`), idle kernel threads (`I`) included.
    sleeping: u32,
    /// Waiting for a device or a file server, deaf to signals (`D`).
    blocked: u32,
    /// Stopped by a signal or a debugger (`T`, `t`).
    stopped: u32,
    /// Ended, but its parent has not asked how (`Z`).
    zombie: u32,
    /// All of these and what was omitted.
    total: u32,
    /// Processes whose state is not known: beyond [`MAX_PROCESSES`], closed to the agent by the mount
    /// option `hidepid=1`, or in a state that the kernel does not document.
    #[serde(skip_serializing_if = "is_zero")]
    omitted: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl ProcessStates {
    fn count(&mut self, state: Option<u8>) {
        self.total += 1;
        let counter = match state {
            Some(b'R') => &mut self.running,
            Some(b'S' | b'I') => &mut self.sleeping,
            Some(b'D') => &mut self.blocked,
            Some(b'T' | b't') => &mut self.stopped,
            Some(b'Z') => &mut self.zombie,
            _ => &mut self.omitted,
        };
        *counter += 1;
    }
}

/// The state letter in the text of a `/proc/[pid]/stat`; `None` if the text is cut or something else.
pub fn state(stat: &[u8]) -> Option<u8> {
    let stat = stat.strip_suffix(b"\n")?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    match *words(stat.get(name_end + 1..)?).next()? {
        [state] => Some(state),
        _ => None,
    }
}

/// Counters since boot, of which the kernel may lack some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatCounters {
    forks: Option<u64>,
    context_switches: Option<u64>,
}

/// Reads the counters in the text of `/proc/stat`, which must not be cut.
pub fn parse(stat: &[u8]) -> Result<StatCounters, Malformed> {
    let value = |name: &[u8]| {
        let mut found = lines(stat).map(words).filter_map(|mut words| {
            (words.next()? == name).then_some(())?;
            number(words.next()?)
        });
        found.next()
    };
    let counters = StatCounters {
        forks: value(b"processes"),
        context_switches: value(b"ctxt"),
    };
    let all = counters.forks.is_some() && counters.context_switches.is_some();
    if !all && !stat.ends_with(b"\n") {
        return Err(Malformed("newline at its end"));
    }
    Ok(counters)
}

/// The probe: `/proc` and `/proc/stat`, open, and the counters of its last sample.
pub(crate) struct Processes {
    /// `None` where it cannot be opened: the states do not depend on it.
    stat: Option<SourceFile>,
    procfs: OwnedFd,
    roots: Roots,
    last: StatCounters,
    last_at: Instant,
}

impl Sample for Processes {
    type Data<'a> = ProcessesData;

    /// Opens the folder and the file, and takes the baseline of the rates.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let stat = optional(SourceFile::open(roots.procfs.join("stat")))?;
        let last = read_counters(stat.as_ref(), context);
        let failed = |errno: Errno| ProbeError::read(&roots.procfs, errno.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let procfs = open(&roots.procfs, flags, Mode::empty()).map_err(failed)?;
        Ok(Processes {
            stat,
            procfs,
            roots: roots.clone(),
            last,
            last_at: context.now,
        })
    }

    /// The processes now, and the rates since the last sample. Where the others' are hidden there are
    /// none to count.
    fn sample(&mut self, context: &mut Context) -> Result<ProcessesData, ProbeError> {
        let states = self.states(MAX_PROCESSES)?;
        let now = read_counters(self.stat.as_ref(), context);
        let elapsed = context.now.saturating_duration_since(self.last_at);
        let last = std::mem::replace(&mut self.last, now);
        self.last_at = context.now;
        Ok(ProcessesData {
            status: Status::OK,
            states,
            forks: rate(now.forks, last.forks, elapsed)?,
            context_switches: rate(now.context_switches, last.context_switches, elapsed)?,
        })
    }
}

impl Processes {
    fn states(&self, max_processes: u32) -> Result<ProcessStates, ProbeError> {
        let failed = |errno: Errno| ProbeError::read(&self.roots.procfs, errno.into());
        let mut states = ProcessStates::default();
        seek(&self.procfs, SeekFrom::Start(0)).map_err(failed)?;
        let mut buffer = [const { MaybeUninit::uninit() }; LISTING_BYTES];
        let mut listing = RawDir::new(&self.procfs, &mut buffer);
        let mut first_seen = false;
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(failed)?;
            let pid = entry.file_name().to_bytes();
            if number(pid).is_none() {
                continue;
            }
            first_seen |= pid == b"1";
            if states.total >= max_processes {
                states.count(None);
                continue;
            }
            match read_state(&self.procfs, pid) {
                Ok(state) => states.count(state),
                // It ended since it was listed.
                Err(Errno::NOENT | Errno::SRCH) => {}
                // Closed to the agent, or a FIFO, which is not of the kernel's making.
                Err(_) => states.count(None),
            }
        }
        if !first_seen && self.roots.hides_first_process() {
            return Err(self.roots.hidden());
        }
        Ok(states)
    }
}

/// The counters; none where the file cannot be read or was cut.
fn read_counters(stat: Option<&SourceFile>, context: &mut Context) -> StatCounters {
    let text = stat.and_then(|it| it.read(&mut context.scratch).ok());
    text.and_then(|it| parse(it).ok()).unwrap_or_default()
}

fn read_state(procfs: &OwnedFd, pid: &[u8]) -> Result<Option<u8>, Errno> {
    // A pid has at most 10 digits.
    let mut path = heapless::Vec::<u8, 32>::new();
    let fits = path
        .extend_from_slice(pid)
        .and(path.extend_from_slice(b"/stat"));
    if fits.is_err() {
        return Ok(None);
    }
    // Instead of asking for each of many thousand files whether it is a regular one: whatever it is,
    // it is not waited for, and one bounded read is all.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(procfs, path.as_slice(), flags, Mode::empty())?;
    // 52 numbers of at most 20 digits and a name of at most 64 bytes fit; the kernel gives all at once.
    let mut text = [0; 2048];
    let length = read(&file, &mut text)?;
    Ok(state(text.get(..length).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
