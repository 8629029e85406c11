//! What the files of a group say. Version 2 is in the kernel's Documentation/admin-guide/cgroup-v2.rst, version 1 in
//! Documentation/admin-guide/cgroup-v1.

use crate::probes::kit::file::{lines, number, words};

/// Limits of version 1 from here on are none: the largest number of pages, which differs between kernels.
const NO_LIMIT: u64 = 1 << 62;

/// What a group has used so far, and may use. `None`: the kernel does not count it here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFigures {
    /// CPU time.
    pub cpu_us: Option<u64>,
    /// The limit of CPU time, if there is one.
    pub cpu_limit: Option<CpuLimit>,
    /// How many periods of that limit there were, and in how many it was reached.
    pub periods: Option<Periods>,
    /// Memory without pages of files that were not used for a while.
    pub memory: Option<u64>,
    /// The limit of memory, if there is one.
    pub memory_limit: Option<u64>,
    /// What devices read and wrote.
    pub io: Option<Io>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// How many there may be, if that is limited.
    pub tasks_limit: Option<u64>,
    /// Processes that were killed because the group was out of memory.
    pub oom_kills: Option<u64>,
}

/// So much CPU time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLimit {
    /// All CPUs together.
    pub quota_us: u64,
    /// How long a period is.
    pub period_us: u64,
}

/// Periods of a limit of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// In which the group ran.
    pub all: u64,
    /// In which it was held back.
    pub throttled: u64,
}

/// Of all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// In bytes.
    pub read: u64,
    /// In bytes.
    pub written: u64,
}

/// The number of a line `key number`, as in `cpu.stat`, `memory.stat` and `memory.events`.
pub fn keyed(text: &[u8], key: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| number(line.strip_prefix(key)?.strip_prefix(b" ")?))
}

/// A file of one number.
pub fn single(text: &[u8]) -> Option<u64> {
    let line = lines(text).next()?;
    number(line)
}

/// A file of one number that may be `max`; `None` if there is no limit, in either version.
pub fn limit(text: &[u8]) -> Option<u64> {
    single(text).filter(|limit| *limit < NO_LIMIT)
}

/// `cpu.max`: `50000 100000`, or `max 100000` without a limit.
pub fn cpu_max(text: &[u8]) -> Option<CpuLimit> {
    let mut words = words(lines(text).next()?);
    let (quota_us, period_us) = (number(words.next()?)?, number(words.next()?)?);
    cpu_limit(quota_us, period_us)
}

/// `None` if the period is.
pub fn cpu_limit(quota_us: u64, period_us: u64) -> Option<CpuLimit> {
    (period_us > 0).then_some(CpuLimit {
        quota_us,
        period_us,
    })
}

/// The two counters of `cpu.stat`, which both versions have.
pub fn periods(cpu_stat: &[u8]) -> Option<Periods> {
    Some(Periods {
        all: keyed(cpu_stat, b"nr_periods")?,
        throttled: keyed(cpu_stat, b"nr_throttled")?,
    })
}

/// `io.stat`: a line a device, `8:0 rbytes=90112 wbytes=4096 rios=3 …`; without one nothing was read or written.
pub fn io_stat(text: &[u8]) -> Option<Io> {
    let mut sum = Io::default();
    for word in lines(text).flat_map(words) {
        let (to, value) = match (word.strip_prefix(b"rbytes="), word.strip_prefix(b"wbytes=")) {
            (Some(value), _) => (&mut sum.read, value),
            (_, Some(value)) => (&mut sum.written, value),
            _ => continue,
        };
        *to = to.checked_add(number(value)?)?;
    }
    Some(sum)
}

/// `blkio.throttle.io_service_bytes_recursive`: lines `8:0 Read 90112` and of other kinds. Without a device nothing is
/// counted: newer kernels begin to once some group's I/O is limited.
pub fn blkio(text: &[u8]) -> Option<Io> {
    let mut sum = Io::default();
    let mut counts = false;
    for line in lines(text) {
        let mut words = words(line).skip(1);
        let to = match words.next() {
            Some(b"Read") => &mut sum.read,
            Some(b"Write") => &mut sum.written,
            _ => continue,
        };
        *to = to.checked_add(number(words.next()?)?)?;
        counts = true;
    }
    counts.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_a_whole_word() {
        let text = b"inactive_file_x 1\ntotal_inactive_file 2\ninactive_file 3\nfile 4\ncut 5";
        assert_eq!(keyed(text, b"inactive_file"), Some(3));
        assert_eq!(keyed(text, b"total_inactive_file"), Some(2));
        assert_eq!(keyed(text, b"cut"), None);
        assert_eq!(keyed(b"oom 1\noom_kill x\n", b"oom_kill"), None);
    }

    #[test]
    fn limits_may_be_none() {
        assert_eq!(limit(b"1048576\n"), Some(1 << 20));
        for none in ["max\n", "9223372036854771712\n", "", "12", "-1\n", "1 2\n"] {
            assert_eq!(limit(none.as_bytes()), None, "{none:?}");
        }
        let half = CpuLimit {
            quota_us: 50_000,
            period_us: 100_000,
        };
        assert_eq!(cpu_max(b"50000 100000\n"), Some(half));
        for none in ["max 100000\n", "50000 0\n", "50000\n", "50000 100000", ""] {
            assert_eq!(cpu_max(none.as_bytes()), None, "{none:?}");
        }
    }

    #[test]
    fn devices_are_summed() {
        let text = b"8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n\
            8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n7:0 \n";
        let sum = Io {
            read: 91_889_664,
            written: 613_781_504,
        };
        assert_eq!(io_stat(text), Some(sum));
        let text = b"8:0 Read 90430464\n8:0 Write 299008000\n8:0 Sync 7\n8:0 Total 389438464\n\
            8:16 Read 1459200\n8:16 Write 314773504\nTotal 705671168\n";
        assert_eq!(blkio(text), Some(sum));
        assert_eq!(io_stat(b""), Some(Io::default()));
        assert_eq!(blkio(b"Total 0\n"), None);
        assert_eq!(io_stat(b"8:0 rbytes=x wbytes=1\n"), None);
        assert_eq!(
            io_stat(b"8:0 rbytes=18446744073709551615\n8:1 rbytes=1\n"),
            None
        );
        assert_eq!(blkio(b"8:0 Read\n"), None);
    }

    #[test]
    fn both_counters_or_none() {
        let text = b"usage_usec 9\nnr_periods 40\nnr_throttled 10\nthrottled_usec 7\n";
        let expected = Periods {
            all: 40,
            throttled: 10,
        };
        assert_eq!(periods(text), Some(expected));
        assert_eq!(periods(b"usage_usec 9\nnr_periods 40\n"), None);
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>) {
            let _ = (keyed(&text, b"a"), limit(&text), cpu_max(&text), periods(&text));
            let _ = (io_stat(&text), blkio(&text));
        }
    }
}
