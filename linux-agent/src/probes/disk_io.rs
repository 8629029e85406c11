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
    type Data<'a> = &'a mut Items<DiskData>;

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
        ProbeError::unless_nothing_known(disk_io.sample(context))?;
        Ok(disk_io)
    }

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
mod tests;
