//! `get_disk_io`: what each whole block device does, from `/proc/diskstats` (the kernel's
//! Documentation/admin-guide/iostats.rst), in counts since the device appeared:
//!
//! ```text
//!  254       0 vda 35547 7904 4266778 23120 4044 25241 4128104 13429 0 9312 36972 3801 41 205248 408 230 13
//!              name reads merged sectors ms writes merged sectors ms in_flight busy_ms queue_ms …
//! ```
//!
//! A sector is 512 bytes here, whatever the device's own sectors are. Partitions are listed among
//! the devices; a whole device is what sysfs has a folder `block/NAME` for. A host without block
//! devices has an empty file, and nothing in that folder; if there is something, the file is wrong.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mote_core::Envelope;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, seek};
use serde::Serialize;

use super::kit::counters::Counters;
use super::kit::items::{Items, MAX_ITEMS};
use super::kit::rate::{per_second, per_second_of};
use super::kit::scan::Scan;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// At most this many lines are compared with the next reading, partitions included.
const MAX_LINES: usize = 4 * MAX_ITEMS;

const SECTOR_BYTES: f64 = 512.0;

const NO_DEVICE: Malformed = Malformed("line of a device");

/// What one device did since this service's last sample, two decimals: what a counter grew by, over
/// the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DiskData {
    /// Bytes read a second.
    read_bytes: f64,
    /// Bytes written a second.
    written_bytes: f64,
    /// Reads completed a second.
    reads: f64,
    /// Writes completed a second.
    writes: f64,
    /// The share of the time in which requests were in flight, in percent. Kernels count it in ticks of their
    /// clock, some only when a request ends, so it can exceed the time: then it is 100.
    busy_p: f64,
    /// Requests in flight, averaged over the time. Not bounded.
    queue: f64,
}

/// Counts since the device appeared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    reads: u64,
    sectors_read: u64,
    writes: u64,
    sectors_written: u64,
    busy_ms: u64,
    /// Of all requests together.
    queue_ms: u64,
}

/// Calls `each` with the name and the counts of every device and partition; without counts where the
/// line is of something else, such as of the partitions of old kernels, which have four. A last line
/// without its newline was cut and is left out.
pub fn parse(text: &[u8], mut each: impl FnMut(&[u8], Option<Work>)) -> Result<(), Malformed> {
    let mut scan = Scan::new(text);
    let (mut found, mut odd) = (0, 0);
    while !scan.rest().is_empty() {
        let name = device_name(&mut scan).unwrap_or_default();
        let work = device_work(&mut scan).filter(|_| !name.is_empty());
        if !scan.next_line() {
            break;
        }
        match work {
            Some(_) => found += 1,
            None => odd += 1,
        }
        each(name, work);
    }
    if found == 0 && odd > 0 {
        return Err(NO_DEVICE);
    }
    Ok(())
}

fn device_name<'a>(line: &mut Scan<'a>) -> Option<&'a [u8]> {
    let _major = line.number()?;
    let _minor = line.number()?;
    Some(line.word())
}

fn device_work(line: &mut Scan<'_>) -> Option<Work> {
    let mut columns = [0; 11];
    for column in &mut columns {
        *column = line.number()?;
    }
    let [
        reads,
        _,
        sectors_read,
        _,
        writes,
        _,
        sectors_written,
        _,
        _,
        busy_ms,
        queue_ms,
    ] = columns;
    Some(Work {
        reads,
        sectors_read,
        writes,
        sectors_written,
        busy_ms,
        queue_ms,
    })
}

/// `None` if a counter went backwards: a device is reported whole or not at all.
fn rates(now: &Work, before: &Work, elapsed: Duration) -> Option<DiskData> {
    let bytes = |now, before| per_second_of(now, before, elapsed, SECTOR_BYTES);
    let count = |now, before| per_second(now, before, elapsed);
    let time = |now, before, scale| per_second_of(unwrapped(now, before), before, elapsed, scale);
    // Milliseconds a second are a thousandth of the whole, which is a tenth of a percent.
    let busy_p = time(now.busy_ms, before.busy_ms, 0.1)?;
    Some(DiskData {
        read_bytes: bytes(now.sectors_read, before.sectors_read)?,
        written_bytes: bytes(now.sectors_written, before.sectors_written)?,
        reads: count(now.reads, before.reads)?,
        writes: count(now.writes, before.writes)?,
        busy_p: busy_p.min(100.0),
        queue: time(now.queue_ms, before.queue_ms, 0.001)?,
    })
}

/// Undoes the wrap of the kernel's counters of milliseconds at 2³²: with a hundred requests in flight they wrap
/// twice a day. A step of more than half of that is one backwards.
fn unwrapped(now_ms: u64, before_ms: u64) -> u64 {
    const WRAP: u64 = 1 << 32;
    let wrapped = now_ms < before_ms && before_ms < WRAP;
    let unwrapped = now_ms + if wrapped { WRAP } else { 0 };
    if unwrapped.saturating_sub(before_ms) < WRAP / 2 {
        unwrapped
    } else {
        now_ms
    }
}

/// The probe: `/proc/diskstats` and sysfs' `block`, open, and the last reading.
pub(crate) struct DiskIo {
    file: SourceFile,
    block: OwnedFd,
    counters: Counters<Known>,
    items: Items<DiskData>,
    read_at: Instant,
}

#[derive(Clone, Copy)]
struct Known {
    work: Work,
    /// Asked of sysfs at first sight only.
    whole: bool,
}

impl Sample for DiskIo {
    /// Opens the files and takes the baseline.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let path = roots.sysfs.join("block");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let block = open(&path, flags, Mode::empty());
        let mut disk_io = DiskIo {
            file: SourceFile::open(roots.procfs.join("diskstats"))?,
            block: block.map_err(|errno| ProbeError::read(&path, errno.into()))?,
            counters: Counters::new(MAX_LINES),
            items: Items::new(MAX_ITEMS),
            read_at: context.now,
        };
        match disk_io.sample(context) {
            Ok(_) | Err(ProbeError::NothingKnown) => Ok(disk_io),
            Err(error) => Err(error),
        }
    }

    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(self.sample(context)?.encode(envelope, buffer)?)
    }
}

impl DiskIo {
    /// The rates since the last sample, of whole devices. A device has none at its first sight, nor where
    /// a counter went backwards: it is left out of that sample. Loop and RAM devices that never did
    /// anything are left out too. Those that do not fit or cannot be read are counted.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<DiskData>, ProbeError> {
        let text = self.file.read(&mut context.scratch)?;
        let elapsed = context.now.saturating_duration_since(self.read_at);
        let (block, counters, items) = (&self.block, &mut self.counters, &mut self.items);
        counters.start();
        items.clear();
        let mut left_out = false;
        let mut found = 0;
        let parsed = parse(text, |name, work| {
            let Some(work) = work else {
                // An odd partition does not matter.
                items.omit((name.is_empty() || is_whole(block, name)).into());
                return;
            };
            found += 1;
            let before = counters.before(name);
            let whole = before.map_or_else(|| is_whole(block, name), |before| before.whole);
            let kept = counters.keep(name, Known { work, whole });
            if !whole || is_idle_spare(name, &work) {
                return;
            }
            if !kept {
                return items.omit(1);
            }
            match before.and_then(|before| rates(&work, &before.work, elapsed)) {
                Some(data) => items.push(name, data),
                None => left_out = true,
            }
        });
        let parsed = parsed.and_then(|()| match found {
            0 if !text.is_empty() || has_devices(block) => Err(NO_DEVICE),
            _ => Ok(()),
        });
        if let Err(malformed) = parsed {
            counters.undo();
            return Err(self.file.malformed(malformed));
        }
        self.read_at = context.now;
        if left_out && items.is_empty() {
            return Err(ProbeError::NothingKnown);
        }
        Ok(items)
    }
}

/// Hosts have a handful of these ready, and use few.
fn is_idle_spare(name: &[u8], work: &Work) -> bool {
    (name.starts_with(b"loop") || name.starts_with(b"ram")) && work.reads == 0 && work.writes == 0
}

/// Whether sysfs knows a block device, so that the kernel's table must have a line.
fn has_devices(block: &OwnedFd) -> bool {
    let mut buffer = [const { MaybeUninit::uninit() }; 1 << 10];
    if seek(block, SeekFrom::Start(0)).is_err() {
        return false;
    }
    let mut listing = RawDir::new(block, &mut buffer);
    while let Some(Ok(entry)) = listing.next() {
        if !entry.file_name().to_bytes().starts_with(b".") {
            return true;
        }
    }
    false
}

/// Sysfs writes the slash of names such as `cciss/c0d0` as an exclamation mark.
fn is_whole(block: &OwnedFd, name: &[u8]) -> bool {
    let mut folder = [0; 32];
    let Some(folder) = folder.get_mut(..name.len()) else {
        return false;
    };
    for (to, from) in folder.iter_mut().zip(name) {
        *to = if *from == b'/' { b'!' } else { *from };
    }
    fstatat(block, &*folder, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/diskstats");

    fn parsed(text: &[u8]) -> Result<Vec<(Vec<u8>, Work)>, Malformed> {
        let mut all = Vec::new();
        parse(text, |name, work| {
            all.extend(work.map(|work| (name.to_vec(), work)))
        })?;
        Ok(all)
    }

    #[test]
    fn a_recorded_file() {
        let all = parsed(RECORDED).unwrap();
        let (name, work) = &all[2];
        assert_eq!(name, b"vda");
        let expected = Work {
            reads: 35547,
            sectors_read: 4_266_778,
            writes: 4044,
            sectors_written: 4_128_104,
            busy_ms: 9312,
            queue_ms: 36972,
        };
        assert_eq!(*work, expected);
        assert_eq!(parsed(b""), Ok(vec![]));
    }

    #[test]
    fn a_cut_file_gives_fewer_devices_and_never_other_numbers() {
        let whole = parsed(RECORDED).unwrap();
        for cut in 0..RECORDED.len() {
            let part = &RECORDED[..cut];
            let lines = part.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(parsed(part).unwrap(), whole[..lines], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_of_something_else_is_malformed() {
        for line in [
            "\n",
            "8 0\n",
            "8 0 sda 1 2 3 4 5 6 7 8 9 10\n",
            "x 0 sda 1\n",
            "\0\n",
        ] {
            assert!(parsed(line.as_bytes()).is_err(), "{line:?} alone");
            let beside = [line, "8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n"].concat();
            let all = parsed(beside.as_bytes()).unwrap();
            assert_eq!(all.len(), 1, "{line:?}");
            assert_eq!(all[0].0, b"sdb", "{line:?}");
        }
        assert!(parsed(b"8 0 sda 1 2 3 4 5 6 7 8 9 10 -11\n").is_err());
    }

    #[test]
    fn rates_have_units_and_are_all_there_or_none() {
        let before = Work {
            reads: 5,
            ..Work::default()
        };
        let mut now = Work {
            reads: 6,
            sectors_read: 3,
            writes: 5,
            sectors_written: 8,
            busy_ms: 500,
            queue_ms: 5000,
        };
        let data = rates(&now, &before, Duration::from_secs(2)).unwrap();
        assert_eq!((data.reads, data.writes), (0.5, 2.5));
        assert_eq!(data.read_bytes, 768.0);
        assert_eq!(data.written_bytes, 2048.0);
        assert_eq!((data.busy_p, data.queue), (25.0, 2.5));
        let data = rates(&now, &before, Duration::from_millis(499)).unwrap();
        assert_eq!(data.busy_p, 100.0);
        assert_eq!(rates(&now, &before, Duration::ZERO), None);
        now.reads = 4;
        assert_eq!(rates(&now, &before, Duration::from_secs(2)), None);
    }

    #[test]
    fn counters_of_time_begin_anew_after_32_bits() {
        const MAX: u64 = u32::MAX as u64;
        let before = Work {
            busy_ms: MAX - 99,
            queue_ms: MAX - 999,
            ..Work::default()
        };
        let now = Work {
            busy_ms: 400,
            queue_ms: 1000,
            ..Work::default()
        };
        let data = rates(&now, &before, Duration::from_secs(1)).unwrap();
        assert_eq!((data.busy_p, data.queue), (50.0, 2.0));
        // A step backwards is none around the end, nor is it where the kernel has more digits.
        for (now_ms, before_ms) in [(999, 1000), (0, MAX / 2), (1, MAX + 1)] {
            let at = |queue_ms| Work {
                queue_ms,
                ..Work::default()
            };
            let rates = rates(&at(now_ms), &at(before_ms), Duration::from_secs(1));
            assert_eq!(rates, None, "{now_ms} after {before_ms}");
        }
    }

    fn line(name: &str, reads: u64) -> String {
        format!("8 0 {name} {reads} 0 {reads} 0 0 0 0 0 0 0 0\n")
    }

    /// The names that are reported, and how many are omitted, after the second of two readings.
    fn reported(whole: &[&str], first: &str, second: &str) -> (Vec<String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: folder.path().to_owned(),
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        for name in whole {
            fs::create_dir_all(roots.sysfs.join("block").join(name)).unwrap();
        }
        fs::write(roots.procfs.join("diskstats"), first).unwrap();
        let mut context = Context::new();
        let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
        fs::write(roots.procfs.join("diskstats"), second).unwrap();
        context.now += Duration::from_secs(1);
        let items = disk_io.sample(&mut context).unwrap();
        let names = items.iter().map(|(name, _)| name.to_owned()).collect();
        (names, items.omitted())
    }

    #[test]
    fn whole_devices_that_were_seen_before_and_are_no_idle_spares() {
        let whole = ["sda", "cciss!c0d0", "loop0", "loop1", "ram0", "new"];
        let first = ["sda", "sda1", "cciss/c0d0", "loop0", "loop1", "ram0"];
        let first: String = first.map(|name| line(name, 0)).concat();
        let second = line("sda", 0)
            + &line("sda1", 9)
            + &line("cciss/c0d0", 9)
            + &line("loop0", 1)
            + &line("loop1", 0)
            + &line("ram0", 0)
            + &line("new", 9);
        let (names, omitted) = reported(&whole, &first, &second);
        assert_eq!(names, ["sda", "cciss/c0d0", "loop0"]);
        assert_eq!(omitted, 0);
    }

    #[test]
    fn odd_lines_are_counted_unless_they_are_partitions() {
        let first = line("sda", 0) + "8 1 sda1 1 2 3 4\n" + &line("sdb", 0);
        let second = line("sda", 0) + "8 1 sda1 1 2 3 4\n" + "8 16 sdb 1 2\n";
        let (names, omitted) = reported(&["sda", "sdb"], &first, &second);
        assert_eq!((names, omitted), (vec!["sda".to_owned()], 1));
    }

    #[test]
    fn a_device_that_went_backwards_is_left_out_and_of_nothing_else_there_is_no_report() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: folder.path().to_owned(),
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        for name in ["sda", "sdb"] {
            fs::create_dir_all(roots.sysfs.join("block").join(name)).unwrap();
        }
        let diskstats = roots.procfs.join("diskstats");
        fs::write(&diskstats, line("sda", 9) + &line("sdb", 9)).unwrap();
        let mut context = Context::new();
        let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
        let mut sample = |text: String| {
            fs::write(&diskstats, text).unwrap();
            context.now += Duration::from_secs(1);
            let items = disk_io.sample(&mut context)?;
            Ok(items
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>())
        };
        assert_eq!(sample(line("sda", 9) + &line("sdb", 8)).unwrap(), ["sda"]);
        assert!(matches!(
            sample(line("sda", 8) + &line("new", 1)),
            Err(ProbeError::NothingKnown)
        ));
        assert_eq!(sample(line("sda", 8)).unwrap(), ["sda"]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let names: Vec<String> = (0..600).map(|i| format!("sd{i}")).collect();
        let whole: Vec<&str> = names.iter().map(String::as_str).collect();
        let text: String = names
            .iter()
            .map(|name| line(name, 1) + &line(&format!("{name}p1"), 1))
            .collect();
        let (reported_names, omitted) = reported(&whole, &text, &text);
        assert_eq!((reported_names.as_slice(), omitted), (&names[..512], 88));
        // More lines than are known again: the last devices cannot have rates.
        let partitions: String = (0..MAX_LINES).map(|i| line(&format!("p{i}"), 1)).collect();
        let text = partitions + &line("sda", 1);
        assert_eq!(reported(&["sda"], &text, &text), (vec![], 1));
    }

    #[test]
    fn no_devices_are_reported_only_where_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: folder.path().to_owned(),
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        fs::create_dir(roots.sysfs.join("block")).unwrap();
        let diskstats = roots.procfs.join("diskstats");
        fs::write(&diskstats, "").unwrap();
        let mut context = Context::new();
        let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
        assert_eq!(disk_io.sample(&mut context).unwrap().iter().count(), 0);
        fs::create_dir(roots.sysfs.join("block/sda")).unwrap();
        // Twice: the folder is listed from its start each time.
        for _ in 0..2 {
            let error = disk_io.sample(&mut context).err().unwrap().to_string();
            let expected = format!("{}: no valid line of a device", diskstats.display());
            assert_eq!(error, expected);
        }
        fs::remove_dir(roots.sysfs.join("block/sda")).unwrap();
        fs::write(&diskstats, "8 0 sd").unwrap();
        assert!(disk_io.sample(&mut context).is_err(), "cut");
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
            let _ = parsed(&text);
            let _ = parsed(&[&RECORDED[..cut], &text].concat());
        }
    }
}
