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

use super::kit::file::{lines, number, words};
use super::kit::rate::{grown, round2};
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// Shares of all CPUs' time since this service's last sample, in percent with two decimals: what a
/// counter grew by, of what all of them together grew by.
///
/// The kernel lets `iowait` go backwards now and then, which counts as no growth. If another counter went
/// backwards, the whole is unknown, and there is no report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuData {
    /// Always [`Status::OK`].
    status: Status,
    /// In user mode, guests included.
    user: f64,
    /// In user mode at low priority.
    nice: f64,
    /// In the kernel, interrupts and softirqs included.
    system: f64,
    /// Idle with I/O outstanding.
    iowait: f64,
    /// Taken by the hypervisor for others.
    steal: f64,
    /// Idle.
    idle: f64,
}

/// Ticks since boot, in the order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    irq: u64,
    softirq: u64,
    steal: u64,
}

/// Reads the line of all CPUs.
pub fn parse(text: &[u8]) -> Result<Ticks, Malformed> {
    let line = lines(text).find_map(|line| line.strip_prefix(b"cpu "));
    line.and_then(Ticks::parse).ok_or(Malformed("`cpu` line"))
}

/// The shares of the time between two readings; `None` if a counter went backwards or none grew.
pub fn shares(now: &Ticks, before: &Ticks) -> Option<CpuData> {
    let growth = Growth::between(now, before)?;
    let share = |ticks| growth.share(ticks);
    Some(CpuData {
        status: Status::OK,
        user: share(growth.user),
        nice: share(growth.nice),
        system: share(growth.system),
        iowait: share(growth.iowait),
        steal: share(growth.steal),
        idle: share(growth.idle),
    })
}

impl Ticks {
    /// Reads the numbers of a line. Kernels before 2.6.11 have no steal column; it is then 0.
    pub(super) fn parse(line: &[u8]) -> Option<Ticks> {
        let mut columns = [0; 8];
        let mut found = 0;
        for (column, word) in columns.iter_mut().zip(words(line)) {
            *column = number(word)?;
            found += 1;
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = columns;
        (found >= 7).then_some(Ticks {
            user,
            nice,
            system,
            idle,
            iowait,
            irq,
            softirq,
            steal,
        })
    }
}

/// What the counters grew by between two readings. Wide enough for any sum of eight counters.
pub(super) struct Growth {
    user: u128,
    nice: u128,
    system: u128,
    pub(super) iowait: u128,
    pub(super) steal: u128,
    pub(super) idle: u128,
    pub(super) total: u128,
}

impl Growth {
    /// `None` if a counter other than `iowait` went backwards, or none grew.
    pub(super) fn between(now: &Ticks, before: &Ticks) -> Option<Growth> {
        let growth = |now, before| grown(now, before).map(u128::from);
        let user = growth(now.user, before.user)?;
        let nice = growth(now.nice, before.nice)?;
        let system = growth(now.system, before.system)?
            + growth(now.irq, before.irq)?
            + growth(now.softirq, before.softirq)?;
        let iowait = growth(now.iowait, before.iowait).unwrap_or(0);
        let steal = growth(now.steal, before.steal)?;
        let idle = growth(now.idle, before.idle)?;
        let total = user + nice + system + iowait + steal + idle;
        (total > 0).then_some(Growth {
            user,
            nice,
            system,
            iowait,
            steal,
            idle,
            total,
        })
    }

    /// In percent of all that they grew by, two decimals.
    pub(super) fn share(&self, ticks: u128) -> f64 {
        round2(ticks as f64 * 100.0 / self.total as f64)
    }
}

/// The probe: `/proc/stat`, open, and its last reading.
pub(crate) struct Cpu {
    file: SourceFile,
    last: Ticks,
}

impl Sample for Cpu {
    type Data<'a> = CpuData;

    /// Opens the file and takes the baseline.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let file = SourceFile::open(roots.procfs.join("stat"))?;
        let last = read(&file, context)?;
        Ok(Cpu { file, last })
    }

    /// The shares since the last sample.
    fn sample(&mut self, context: &mut Context) -> Result<CpuData, ProbeError> {
        let now = read(&self.file, context)?;
        let before = std::mem::replace(&mut self.last, now);
        shares(&now, &before).ok_or(ProbeError::NothingKnown)
    }
}

fn read(file: &SourceFile, context: &mut Context) -> Result<Ticks, ProbeError> {
    parse(file.read_short(&mut context.scratch)?).map_err(|malformed| file.malformed(malformed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &[u8] = b"cpu  1000 10 200 5000 50 3 7 20 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";

    fn between(before: &[u8], now: &[u8]) -> Option<CpuData> {
        shares(&parse(now).unwrap(), &parse(before).unwrap())
    }

    #[test]
    fn system_includes_interrupts() {
        let data = between(BEFORE, b"cpu  1000 10 210 5060 50 13 27 20 0 0\n").unwrap();
        assert_eq!((data.system, data.idle), (40.0, 60.0));
    }

    #[test]
    fn iowait_that_went_backwards_did_not_grow() {
        let data = between(BEFORE, b"cpu  1150 10 240 5300 40 3 17 20 0 0\n");
        let expected = CpuData {
            status: Status::OK,
            user: 30.0,
            nice: 0.0,
            system: 10.0,
            iowait: 0.0,
            steal: 0.0,
            idle: 60.0,
        };
        assert_eq!(data, Some(expected));
    }

    #[test]
    fn no_share_is_of_a_part_of_the_time() {
        // Each counter but iowait in turn lost a tick, while the others grew.
        for column in [0, 1, 2, 3, 5, 6, 7] {
            let mut now: [u64; 8] = [1000, 10, 200, 5000, 50, 3, 7, 20];
            for (other, ticks) in now.iter_mut().enumerate() {
                *ticks = if other == column {
                    *ticks - 1
                } else {
                    *ticks + 100
                };
            }
            let words: Vec<String> = now.iter().map(u64::to_string).collect();
            let line = format!("cpu  {} 0 0\n", words.join(" "));
            assert_eq!(between(BEFORE, line.as_bytes()), None, "column {column}");
        }
    }

    #[test]
    fn the_largest_counters_add_up_to_the_whole() {
        let zero = b"cpu  0 0 0 0 0 0 0 0 0 0\n";
        let max = u64::MAX;
        let line = format!("cpu  {max} 0 {max} 0 0 {max} 0 {max} 0 0\n");
        let data = between(zero, line.as_bytes()).unwrap();
        assert_eq!((data.user, data.system), (25.0, 50.0));
        assert_eq!((data.steal, data.idle), (25.0, 0.0));
    }

    #[test]
    fn without_growth_there_is_no_report_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: folder.path().to_owned(),
            ..Roots::default()
        };
        let write = |line: &str| std::fs::write(folder.path().join("stat"), line).unwrap();
        let mut context = Context::new();
        write("cpu  100 0 0 100 0 0 0 0 0 0\n");
        let mut cpu = Cpu::open(&roots, &mut context).unwrap();
        let nothing = |result| matches!(result, Err(ProbeError::NothingKnown));
        assert!(nothing(cpu.sample(&mut context)), "no tick passed");
        write("cpu  50 0 0 900 0 0 0 0 0 0\n");
        assert!(nothing(cpu.sample(&mut context)), "user went backwards");
        write("cpu  75 0 0 975 0 0 0 0 0 0\n");
        let data = cpu.sample(&mut context).unwrap();
        assert_eq!((data.user, data.idle), (25.0, 75.0));
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
