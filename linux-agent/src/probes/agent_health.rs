//! `get_agent_health`: what the agent itself costs and how well it does. Its CPU time is from getrusage(2),
//! its memory from `/proc/self/statm` (proc_pid_statm(5)), in pages:
//!
//! ```text
//! 1033 612 498 206 0 321 0
//! size resident shared text lib data dt
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mote_core::Status;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use super::kit::file::{lines, number, words};
use super::kit::rate::round2;
use super::{Context, Malformed, ProbeError, SourceFile};
use crate::account::Account;
use crate::delivery::uplink::Uplink;

/// What the agent counts about itself; the probe only reports it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentCounters {
    /// Where all reports are.
    pub account: Account,
    /// What the waiting reports take, in bytes.
    pub queue_bytes: u64,
    /// Samples that were due and not taken.
    pub missed: u64,
    /// Samples that were taken late.
    pub late: u64,
    /// How long the server's last answer to a report took, in milliseconds.
    pub latency_ms: Option<u32>,
}

impl AgentCounters {
    /// What the uplink knows; the rest is 0.
    pub fn of(uplink: &Uplink) -> Self {
        AgentCounters {
            account: uplink.account(),
            queue_bytes: uplink.queue_bytes(),
            ..AgentCounters::default()
        }
    }
}

/// The agent's own health: the reports over all runs since its queue began, the ticks since it started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AgentHealthData {
    /// Always [`Status::OK`].
    pub status: Status,
    /// CPU time of one CPU since this service's last sample, in percent with two decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_p: Option<f64>,
    /// Resident memory, in KiB.
    pub rss_kib: u64,
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

/// Reads the resident pages.
pub fn parse(text: &[u8]) -> Result<u64, Malformed> {
    let line = lines(text).next();
    let resident = line.and_then(|line| number(words(line).nth(1)?));
    resident.ok_or(Malformed("resident size"))
}

/// The probe: its file, open, and the CPU time at its last sample.
pub struct AgentHealth {
    statm: SourceFile,
    page_kib: u64,
    last: (Instant, Duration),
}

impl AgentHealth {
    /// Opens the file and takes the baseline. This is about this process, wherever the roots are.
    pub fn open(context: &mut Context) -> Result<Self, ProbeError> {
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        let page_bytes = page_bytes
            .ok()
            .flatten()
            .and_then(|bytes| u64::try_from(bytes).ok());
        Ok(AgentHealth {
            statm: SourceFile::open("/proc/self/statm")?,
            page_kib: page_bytes.unwrap_or(4096) / 1024,
            last: (context.now, cpu_time()?),
        })
    }

    /// The agent's health now.
    pub fn sample(&mut self, context: &mut Context) -> Result<AgentHealthData, ProbeError> {
        let resident = parse(self.statm.read(&mut context.scratch)?)
            .map_err(|malformed| self.statm.malformed(malformed))?;
        let (before, cpu_before) = self.last;
        let cpu = cpu_time()?;
        self.last = (context.now, cpu);
        let elapsed = context.now.saturating_duration_since(before).as_secs_f64();
        let used = cpu.checked_sub(cpu_before).filter(|_| elapsed > 0.0);
        let AgentCounters {
            account,
            queue_bytes,
            missed,
            late,
            latency_ms,
        } = context.agent;
        Ok(AgentHealthData {
            status: Status::OK,
            cpu_p: used.map(|used| round2(used.as_secs_f64() * 100.0 / elapsed)),
            rss_kib: resident.saturating_mul(self.page_kib),
            sampled: account.sampled,
            acknowledged: account.acknowledged,
            queued: account.queued,
            queue_bytes,
            dropped_overflow: account.dropped.overflow,
            dropped_expired: account.dropped.expired,
            dropped_refused: account.dropped.refused,
            dropped_gave_up: account.dropped.gave_up,
            dropped_damaged: account.dropped.damaged,
            dropped_forgotten: account.dropped.forgotten,
            missed_ticks: missed,
            late_ticks: late,
            uplink_latency_ms: latency_ms,
        })
    }
}

fn cpu_time() -> Result<Duration, ProbeError> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|errno| ProbeError::read(&PathBuf::from("getrusage(2)"), errno.into()))?;
    let time = |time: nix::sys::time::TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_column_is_resident() {
        assert_eq!(parse(b"1033 612 498 206 0 321 0\n"), Ok(612));
        for bad in [&b""[..], b"1033\n", b"1033 6", b"1033 x 1\n"] {
            assert!(parse(bad).is_err());
        }
    }

    #[test]
    fn cpu_time_that_is_used_is_seen() {
        let mut context = Context::new();
        let mut probe = AgentHealth::open(&mut context).unwrap();
        while cpu_time().unwrap() < probe.last.1 + Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        context.now = Instant::now();
        let data = probe.sample(&mut context).unwrap();
        assert!(data.cpu_p.unwrap() > 0.0);
        assert!(data.rss_kib > 500);
    }
}
