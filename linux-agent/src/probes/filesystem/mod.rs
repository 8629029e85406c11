//! `get_filesystem`: size and use of each mounted file system, from statvfs(3), asked at the mount
//! points that `mounts.rs` chooses, which are those that `df` shows.
//!
//! A file system with a server may never answer. Those are asked by the threads of `kit/workers.rs`,
//! and one that hangs is reported as such.

pub mod mounts;
mod target;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Serialize, Serializer};

use super::kit::items::{Items, MAX_ITEMS};
use super::kit::rate::percent;
use super::kit::workers::Workers;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};
use mounts::{Mount, MountKind, ROOT, choose, parse};
use target::{Proof, SizeAnswer, SizeTarget, Sizes, ask};

pub use mounts::MAX_MOUNTS;

/// The mount table of another host is read again after this long, if it has not changed before.
const READ_AGAIN: Duration = Duration::from_secs(300);

/// Those that hang, of all services.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// All file systems that may hang together get this long to answer in one sample.
pub const BUDGET: Duration = Duration::from_millis(100);

/// One mounted file system: its sizes, or why there are none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilesystemData {
    /// What it is, such as `ext4` or `nfs4`.
    #[serde(rename = "type")]
    type_name: SharedText,
    /// 1 if nothing can be written.
    read_only: u8,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// In bytes: what is not free.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// In bytes, to users other than root, for whom some of the free space is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u64>,
    /// `used` of `used` and `available` together, in percent with two decimals, as `df` has it rounded up;
    /// 0 where both are.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_p: Option<f64>,
    /// How many files it can hold; left out where that has no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes: Option<u64>,
    /// How many files it holds; left out as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_used: Option<u64>,
    /// 1 if it did not answer in time, now or ever since.
    #[serde(skip_serializing_if = "Option::is_none")]
    hung: Option<u8>,
    /// The system's error number, if that was the answer: 13 if the agent may not ask, 107 if its
    /// server is gone, 116 if its server does not know it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
}

impl FilesystemData {
    /// Without sizes.
    fn new(target: &SizeTarget) -> Self {
        FilesystemData {
            type_name: SharedText(Arc::clone(&target.type_name)),
            read_only: target.read_only.into(),
            size: None,
            used: None,
            available: None,
            used_p: None,
            inodes: None,
            inodes_used: None,
            hung: None,
            errno: None,
        }
    }

    /// What `df` makes of the kernel's numbers.
    fn with_sizes(self, sizes: &Sizes) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(sizes.block_bytes);
        // Where root has used up what is reserved for it, some kernels answer a negative number.
        let available = i64::try_from(sizes.blocks_available).map_or(0, i64::unsigned_abs);
        let used = sizes.blocks.saturating_sub(sizes.blocks_free);
        let counts_inodes = sizes.inodes > 0;
        FilesystemData {
            size: Some(bytes(sizes.blocks)),
            used: Some(bytes(used)),
            available: Some(bytes(available)),
            used_p: Some(percent(used, used.saturating_add(available))),
            inodes: counts_inodes.then_some(sizes.inodes),
            inodes_used: counts_inodes.then_some(sizes.inodes.saturating_sub(sizes.inodes_free)),
            ..self
        }
    }
}

/// A text that many samples share, so that none allocates it.
#[derive(Clone, Debug, PartialEq)]
struct SharedText(Arc<str>);

impl Serialize for SharedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The probe: the mount table, open, what it asks, and the list that it fills.
pub(crate) struct Filesystem {
    mountinfo: SourceFile,
    /// Of another host. `None` if the table is this process's own, and so are its paths.
    rootfs: Option<Arc<Path>>,
    /// Whether the mount table changed since it was read.
    changed: bool,
    read_at: Instant,
    budget: Duration,
    local: Vec<SizeTarget>,
    may_hang: Workers<SizeTarget, SizeAnswer>,
    omitted: usize,
    items: Items<FilesystemData>,
}

impl Sample for Filesystem {
    type Data<'a> = &'a mut Items<FilesystemData>;

    /// Opens the mount table and chooses what to ask.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut filesystem = Filesystem {
            mountinfo: roots.open_of_process("mountinfo")?,
            rootfs: (!roots.are_own()).then(|| roots.rootfs.as_path().into()),
            changed: false,
            read_at: context.now,
            budget: BUDGET,
            local: Vec::new(),
            may_hang: Workers::new(ask, &THREADS),
            omitted: 0,
            items: Items::new(MAX_ITEMS),
        };
        filesystem.choose_targets(&mut context.scratch)?;
        Ok(filesystem)
    }

    /// The file systems now.
    ///
    /// Waits at most [`BUDGET`] for those that may hang. Allocates only when the mount table has
    /// changed or is that of another host and old, and for another thread when one hangs.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<FilesystemData>, ProbeError> {
        self.changed |= has_changed(&self.mountinfo)?;
        // That a disk with errors became read-only is no change of the table.
        let old = context.now.saturating_duration_since(self.read_at) >= READ_AGAIN;
        if self.changed || old && self.rootfs.is_some() {
            self.choose_targets(&mut context.scratch)?;
            self.changed = false;
            self.read_at = context.now;
        }
        let items = &mut self.items;
        items.clear();
        items.omit(self.omitted);
        for target in &self.local {
            push(items, target, Some(ask(target)));
        }
        self.may_hang
            .ask(self.budget, |target, answer| push(items, target, answer));
        Ok(items)
    }
}

impl Filesystem {
    fn choose_targets(&mut self, scratch: &mut Scratch) -> Result<(), ProbeError> {
        let mut mounts: Vec<Mount> = Vec::new();
        let mut omitted = 0;
        self.mountinfo.read_lines(scratch, |line| {
            match parse(line) {
                Ok(mount) if mounts.len() < MAX_MOUNTS => mounts.push(mount),
                Ok(mount) if mount.point == ROOT => {
                    mounts.pop();
                    mounts.push(mount);
                    omitted += 1;
                }
                Ok(_) | Err(_) => omitted += 1,
            }
            Ok(())
        })?;
        // Whoever reads the table came to it by a mount.
        if mounts.is_empty() {
            return Err(self.mountinfo.malformed(Malformed("line of a mount")));
        }
        let mut chosen = choose(mounts);
        omitted += chosen.len().saturating_sub(MAX_ITEMS);
        chosen.truncate(MAX_ITEMS);
        let mut may_hang = Vec::new();
        self.local.clear();
        for mount in chosen {
            let kind = mount.kind;
            match SizeTarget::new(mount, self.rootfs.as_ref()) {
                Some(target) if kind == MountKind::MayHang => may_hang.push(target),
                Some(target) => self.local.push(target),
                None => omitted += 1,
            }
        }
        self.may_hang.set_subjects(may_hang);
        self.omitted = omitted;
        Ok(())
    }
}

/// Whether the mount table changed since this was last asked. The kernel tells by an exceptional
/// condition (proc_pid_mounts(5)); a recorded file never changes.
fn has_changed(mountinfo: &SourceFile) -> Result<bool, ProbeError> {
    let mut files = [PollFd::new(mountinfo.as_fd(), PollFlags::POLLPRI)];
    match poll(&mut files, PollTimeout::ZERO) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(ProbeError::read(mountinfo.path(), errno.into())),
    }
}

fn push(items: &mut Items<FilesystemData>, target: &SizeTarget, answer: Option<SizeAnswer>) {
    let mut data = FilesystemData::new(target);
    match answer {
        // As pseudo file systems that are not known by name.
        Some(SizeAnswer::Sizes(sizes)) if sizes.blocks == 0 => return,
        Some(SizeAnswer::Sizes(sizes)) => {
            // Of another host's the container that watches may have a mount that is read-only.
            let own = target.proof == Proof::Own;
            data.read_only = (sizes.read_only && (own || target.read_only)).into();
            data = data.with_sizes(&sizes);
        }
        Some(SizeAnswer::Failed(errno)) => data.errno = Some(errno as i32),
        Some(SizeAnswer::Elsewhere) => return items.omit(1),
        None => data.hung = Some(1),
    }
    items.push(&target.point, data);
}

#[cfg(test)]
mod tests;
