//! `get_linux_cpu`: how the time of all CPUs together was spent, from the first line of `/proc/stat`
//! (proc_stat(5)), in ticks since boot:
//!
//! ```text
//! cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 0
//!      user     nice   system  idle     iowait irq softirq steal guest guest_nice
//! ```
//!
//! `guest` and `guest_nice` are already counted in `user` and `nice`.

use mote_core::Status;
use serde::Serialize;

use super::file::{lines, number, words};
use super::rate::{grown, round2};
use super::{Context, Malformed, ProbeError, Roots, SourceFile};

/// Shares of all CPUs' time since this service's last sample, in percent with two decimals. A share
/// whose counter went backwards is left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuData {
    /// Always [`Status::OK`].
    pub status: Status,
    /// In user mode, guests included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<f64>,
    /// In user mode at low priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<f64>,
    /// In the kernel, interrupts and softirqs included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<f64>,
    /// Idle with I/O outstanding. The kernel lets this counter go backwards now and then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iowait: Option<f64>,
    /// Taken by the hypervisor for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// Idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<f64>,
}

/// Ticks since boot, in the order in which they are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    user: u64,
    nice: u64,
    system: u64,
    iowait: u64,
    steal: u64,
    idle: u64,
}

/// Reads the line of all CPUs. Kernels before 2.6.11 have no steal column; it is then 0.
pub fn parse(text: &[u8]) -> Result<Ticks, Malformed> {
    let missing = Malformed("`cpu` line");
    let line = lines(text)
        .find_map(|line| line.strip_prefix(b"cpu "))
        .ok_or(missing)?;
    let mut columns = [0; 8];
    let mut found = 0;
    for (column, word) in columns.iter_mut().zip(words(line)) {
        *column = number(word).ok_or(missing)?;
        found += 1;
    }
    if found < 7 {
        return Err(missing);
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = columns;
    Ok(Ticks {
        user,
        nice,
        system: system.saturating_add(irq).saturating_add(softirq),
        iowait,
        steal,
        idle,
    })
}

/// The shares of the time between two readings.
pub fn shares(now: &Ticks, before: &Ticks) -> CpuData {
    let user = grown(now.user, before.user);
    let nice = grown(now.nice, before.nice);
    let system = grown(now.system, before.system);
    let iowait = grown(now.iowait, before.iowait);
    let steal = grown(now.steal, before.steal);
    let idle = grown(now.idle, before.idle);
    let total = [user, nice, system, iowait, steal, idle]
        .iter()
        .flatten()
        .fold(0u64, |sum, ticks| sum.saturating_add(*ticks));
    let share = |ticks: Option<u64>| {
        let ticks = ticks.filter(|_| total > 0)?;
        Some(round2(ticks as f64 * 100.0 / total as f64))
    };
    CpuData {
        status: Status::OK,
        user: share(user),
        nice: share(nice),
        system: share(system),
        iowait: share(iowait),
        steal: share(steal),
        idle: share(idle),
    }
}

/// The probe: `/proc/stat`, open, and its last reading.
pub struct Cpu {
    file: SourceFile,
    last: Ticks,
}

impl Cpu {
    /// Opens the file and takes the baseline.
    pub fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let file = SourceFile::open(roots.procfs.join("stat"))?;
        let last = read(&file, context)?;
        Ok(Cpu { file, last })
    }

    /// The shares since the last sample.
    pub fn sample(&mut self, context: &mut Context) -> Result<CpuData, ProbeError> {
        let now = read(&self.file, context)?;
        let data = shares(&now, &self.last);
        self.last = now;
        Ok(data)
    }
}

fn read(file: &SourceFile, context: &mut Context) -> Result<Ticks, ProbeError> {
    parse(file.read_short(&mut context.scratch)?).map_err(|malformed| file.malformed(malformed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &[u8] = b"cpu  1000 10 200 5000 50 3 7 20 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";

    #[test]
    fn system_includes_interrupts() {
        let ticks = parse(BEFORE).unwrap();
        assert_eq!((ticks.user, ticks.system, ticks.idle), (1000, 210, 5000));
    }

    #[test]
    fn shares_add_up_and_a_counter_that_went_backwards_has_none() {
        let before = parse(BEFORE).unwrap();
        let now = parse(b"cpu  1150 10 240 5300 40 3 17 20 0 0\n").unwrap();
        let data = shares(&now, &before);
        assert_eq!(data.user, Some(30.0));
        assert_eq!(data.system, Some(10.0));
        assert_eq!(data.idle, Some(60.0));
        assert_eq!(data.iowait, None);
    }

    #[test]
    fn no_time_no_shares() {
        let ticks = parse(BEFORE).unwrap();
        assert_eq!(shares(&ticks, &ticks).idle, None);
    }

    #[test]
    fn a_cut_line_is_malformed() {
        let line = BEFORE
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .unwrap();
        for cut in 0..line.len() {
            assert!(parse(&line[..cut]).is_err(), "cut at {cut}");
        }
        assert!(parse(b"cpu  1 2 x 4 5 6 7 8\n").is_err());
    }
}
