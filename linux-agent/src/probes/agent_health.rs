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

use super::kit::file::{lines, number, optional, words};
use super::kit::rate::round2;
use super::kit::{AgentCounters, Context, Malformed, ProbeError, Roots, Sample, SourceFile};
use crate::protocol::AGENT_HEALTH;

/// The server's name for this probe.
pub(crate) const NAME: &str = AGENT_HEALTH;

/// The agent's own health: the reports over all runs since its queue began, the ticks since it started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AgentHealthData {
    /// Always [`Status::OK`].
    status: Status,
    /// CPU time of one CPU since this service's last sample, in percent with two decimals.
    cpu_p: f64,
    /// Resident memory, in KiB. Left out where `/proc` is not mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_kib: Option<u64>,
    /// What the agent counts.
    #[serde(flatten)]
    counters: AgentCounters,
}

/// Reads the resident pages.
pub fn parse(text: &[u8]) -> Result<u64, Malformed> {
    let line = lines(text).next();
    let resident = line.and_then(|line| number(words(line).nth(1)?));
    resident.ok_or(Malformed("resident size"))
}

/// The probe: its file, open, and the CPU time at its last sample.
pub(crate) struct AgentHealth {
    /// None where `/proc` is not mounted.
    statm: Option<SourceFile>,
    page_kib: u64,
    last: (Instant, Duration),
}

impl Sample for AgentHealth {
    type Data<'a> = AgentHealthData;

    /// Opens the file and takes the baseline. This is about this process, wherever the roots are.
    fn open(_roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        let page_bytes = page_bytes
            .ok()
            .flatten()
            .and_then(|bytes| u64::try_from(bytes).ok());
        Ok(AgentHealth {
            statm: optional(SourceFile::open("/proc/self/statm"))?,
            page_kib: page_bytes.unwrap_or(4096) / 1024,
            last: (context.now, cpu_time()?),
        })
    }

    /// The agent's health now.
    fn sample(&mut self, context: &mut Context) -> Result<AgentHealthData, ProbeError> {
        let pages = |statm: &SourceFile| {
            parse(statm.read(&mut context.scratch)?).map_err(|malformed| statm.malformed(malformed))
        };
        let resident = self.statm.as_ref().map(pages).transpose()?;
        let (before, cpu_before) = self.last;
        let cpu = cpu_time()?;
        self.last = (context.now, cpu);
        let elapsed = context.now.saturating_duration_since(before).as_secs_f64();
        if elapsed <= 0.0 {
            return Err(ProbeError::NothingKnown);
        }
        let used = cpu.saturating_sub(cpu_before).as_secs_f64();
        Ok(AgentHealthData {
            status: Status::OK,
            cpu_p: round2(used * 100.0 / elapsed),
            rss_kib: resident.map(|pages| pages.saturating_mul(self.page_kib)),
            counters: context.agent,
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
        let mut probe = AgentHealth::open(&Roots::default(), &mut context).unwrap();
        while cpu_time().unwrap() < probe.last.1 + Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        context.now = Instant::now();
        let data = probe.sample(&mut context).unwrap();
        assert!(data.cpu_p > 0.0);
        assert!(data.rss_kib.unwrap() > 500);
        let again = probe.sample(&mut context);
        assert!(matches!(again, Err(ProbeError::NothingKnown)), "no time");
    }
}
