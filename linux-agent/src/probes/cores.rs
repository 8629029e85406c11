//! `get_cpu_cores`: what each CPU does, from its line in `/proc/stat` (proc_stat(5)), as in `cpu.rs`:
//!
//! ```text
//! cpu0 10132 0 4531 93940 660 0 105 230 0 0
//! ```
//!
//! and, once a second, from `devices/system/cpu` in sysfs (the kernel's Documentation/admin-guide/pm/cpufreq.rst and
//! arch/x86/kernel/cpu/mce/therm_throt.c):
//!
//! ```text
//! cpu0/cpufreq/scaling_cur_freq               3400000    kHz
//! cpu0/thermal_throttle/core_throttle_count   12         times since boot; on Intel's CPUs
//! cpu0/thermal_throttle/package_throttle_count
//! ```
//!
//! Some kernels measure the frequency for 10 ms when it is asked for, so a thread reads these.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::AtomicUsize;

use serde::Serialize;

use super::cpu::{Growth, Ticks};
use super::kit::asked::{Asked, text};
use super::kit::counters::Counters;
use super::kit::file::{lines, number};
use super::kit::items::Items;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// A report has no more CPUs than this; the others are counted as omitted.
pub const MAX_CORES: usize = 128;

/// No more than this are compared with the next reading.
pub const MAX_COUNTED: usize = 1024;

/// `cpu` and a number.
const MAX_NAME: usize = 16;

const FILES: [&[u8]; 3] = [
    b"/cpufreq/scaling_cur_freq",
    b"/thermal_throttle/core_throttle_count",
    b"/thermal_throttle/package_throttle_count",
];

/// Of [`FILES`], at least.
const LONGEST_FILE: usize = 64;

/// Of all services.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// One CPU since this service's last sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CoreData {
    /// Share of its time in which it was not idle, in percent with two decimals.
    busy_p: f64,
    /// The part of `busy_p` that the hypervisor gave to others.
    steal_p: f64,
    /// How fast it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_mhz: Option<u64>,
    /// How often it was slowed down because it was hot, since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    core_throttles: Option<u64>,
    /// How often its whole package was.
    #[serde(skip_serializing_if = "Option::is_none")]
    package_throttles: Option<u64>,
}

/// What sysfs says of a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    frequency_mhz: Option<u64>,
    core_throttles: Option<u64>,
    package_throttles: Option<u64>,
}

impl Facts {
    /// Reads the texts of the three files. What a text does not say is not known.
    pub fn parse(frequency: &[u8], core_throttles: &[u8], package_throttles: &[u8]) -> Facts {
        let number = |text| number(lines(text).next()?);
        Facts {
            // Where a driver does not know it, some say 0.
            frequency_mhz: number(frequency)
                .filter(|khz| *khz > 0)
                .map(|khz| (khz / 1000).saturating_add(u64::from(khz % 1000 >= 500))),
            core_throttles: number(core_throttles),
            package_throttles: number(package_throttles),
        }
    }
}

/// Calls `each` with the number and the ticks of every CPU, and gives how many lines of CPUs are of something else. A
/// last line without its newline was cut and is left out.
pub fn parse(text: &[u8], mut each: impl FnMut(u32, Ticks)) -> Result<usize, Malformed> {
    let (mut found, mut odd) = (0, 0);
    // They come first in the file.
    for line in lines(text).map_while(|line| line.strip_prefix(b"cpu")) {
        if line.starts_with(b" ") {
            continue;
        }
        match core(line) {
            Some((number, ticks)) => {
                found += 1;
                each(number, ticks);
            }
            None => odd += 1,
        }
    }
    match found {
        0 => Err(Malformed("line of a CPU")),
        _ => Ok(odd),
    }
}

fn core(line: &[u8]) -> Option<(u32, Ticks)> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (name, ticks) = line.split_at_checked(end)?;
    Some((number(name)?.try_into().ok()?, Ticks::parse(ticks)?))
}

/// The probe: `/proc/stat`, open, its last reading, and what sysfs says.
pub(crate) struct Cores {
    file: SourceFile,
    facts: Option<Asked<FactsList>>,
    counters: Counters<Ticks>,
    /// Those that are to be reported.
    found: Vec<(u32, CoreData)>,
    items: Items<CoreData>,
}

impl Sample for Cores {
    type Data<'a> = &'a mut Items<CoreData>;

    /// Opens the file and takes the baseline.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut cores = Cores {
            file: SourceFile::open(roots.procfs.join("stat"))?,
            facts: FactsList::of(roots),
            counters: Counters::new(MAX_COUNTED),
            found: Vec::with_capacity(MAX_COUNTED),
            items: Items::new(MAX_CORES),
        };
        ProbeError::unless_nothing_known(cores.sample(context))?;
        Ok(cores)
    }

    /// The shares since the last sample. A CPU has none at its first sight, nor where a counter went backwards or none
    /// grew: it is left out of that sample. Of more than [`MAX_CORES`] the busiest are reported.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<CoreData>, ProbeError> {
        let text = self.file.read_short(&mut context.scratch)?;
        let (counters, found, items) = (&mut self.counters, &mut self.found, &mut self.items);
        counters.start();
        found.clear();
        items.clear();
        let mut left_out = false;
        let parsed = parse(text, |number, ticks| {
            let (name, length) = name(number);
            let name = name.get(..length).unwrap_or_default();
            let before = counters.before(name);
            if !counters.keep(name, ticks) {
                return items.omit(1);
            }
            match before.and_then(|before| Growth::between(&ticks, &before)) {
                Some(growth) => found.push((number, CoreData::of(&growth))),
                None => left_out = true,
            }
        });
        match parsed {
            Ok(odd) => items.omit(odd),
            Err(malformed) => {
                counters.undo();
                return Err(self.file.malformed(malformed));
            }
        }
        if found.len() > MAX_CORES {
            found.sort_unstable_by(|(a, one), (b, other)| {
                let busier = other.busy_p.total_cmp(&one.busy_p);
                busier.then(a.cmp(b))
            });
            items.omit(found.len() - MAX_CORES);
            found.truncate(MAX_CORES);
        }
        if let Some(facts) = &mut self.facts {
            let numbers = || found.iter().map(|(number, _)| *number);
            facts.refresh(context.now, false, |list| list.set(numbers()));
        }
        let known = self.facts.as_mut().and_then(|it| it.known(context.now));
        for (number, data) in found.iter() {
            let (name, length) = name(*number);
            let facts = known.map_or_else(Facts::default, |list| list.of_core(*number));
            items.push(name.get(..length).unwrap_or_default(), data.with(facts));
        }
        if left_out && items.is_empty() {
            return Err(ProbeError::NothingKnown);
        }
        Ok(items)
    }
}

impl CoreData {
    fn of(growth: &Growth) -> Self {
        CoreData {
            busy_p: growth.share(growth.total - growth.idle - growth.iowait),
            steal_p: growth.share(growth.steal),
            frequency_mhz: None,
            core_throttles: None,
            package_throttles: None,
        }
    }

    fn with(self, facts: Facts) -> Self {
        CoreData {
            frequency_mhz: facts.frequency_mhz,
            core_throttles: facts.core_throttles,
            package_throttles: facts.package_throttles,
            ..self
        }
    }
}

/// `cpu` and the number, and how long that is.
fn name(number: u32) -> ([u8; MAX_NAME], usize) {
    let mut name = [0; MAX_NAME];
    let mut free = name.as_mut_slice();
    // Three letters and ten digits fit.
    let _ = write!(free, "cpu{number}");
    let left = free.len();
    (name, MAX_NAME - left)
}

/// What sysfs says of the CPUs that are reported.
struct FactsList {
    facts: Vec<(u32, Facts)>,
    /// The folder; while files are read, the path of one.
    path: Vec<u8>,
}

impl FactsList {
    /// `None` if sysfs is not of the host of that procfs.
    fn of(roots: &Roots) -> Option<Asked<FactsList>> {
        // Another host's procfs has the same kernel, and with it these CPUs. A recorded tree has not.
        if !roots.is_kernels() && roots.sysfs == Roots::default().sysfs {
            return None;
        }
        let folder = roots.sysfs.join("devices/system/cpu/");
        let mut path = folder.into_os_string().into_vec();
        path.reserve(MAX_NAME + LONGEST_FILE);
        let facts = Vec::with_capacity(MAX_CORES);
        Some(Asked::new(
            FactsList { facts, path },
            FactsList::fill,
            &THREADS,
        ))
    }

    fn set(&mut self, numbers: impl Iterator<Item = u32>) {
        self.facts.clear();
        let numbers = numbers.take(MAX_CORES);
        self.facts
            .extend(numbers.map(|number| (number, Facts::default())));
    }

    fn of_core(&self, number: u32) -> Facts {
        let mut all = self.facts.iter();
        all.find(|(it, _)| *it == number)
            .map_or_else(Facts::default, |(_, facts)| *facts)
    }

    /// What the thread does.
    fn fill(&mut self) {
        let FactsList { facts, path } = self;
        let folder = path.len();
        for (number, facts) in facts {
            let (name, length) = name(*number);
            path.extend(name.iter().take(length));
            let core = path.len();
            let [frequency, of_core, of_package] = FILES.map(|file| {
                path.extend(file);
                let text = text(path);
                path.truncate(core);
                text
            });
            path.truncate(folder);
            *facts = Facts::parse(&frequency, &of_core, &of_package);
        }
    }
}

#[cfg(test)]
mod tests;
