//! What is asked for its size, and whether the answer is its own.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

use super::mounts::Mount;
use crate::system::below::place_below;

/// The numbers of types in statfs(2) (the kernel's include/uapi/linux/magic.h).
const BTRFS: u32 = 0x9123_683e;
const BCACHEFS: u32 = 0xca45_1a4e;

/// A place to ask at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeTarget {
    pub mount_id: u32,
    pub point: Vec<u8>,
    /// Where it is for this process.
    pub place: PathToMount,
    /// How to see that the path leads there.
    pub proof: Proof,
    pub type_name: Arc<str>,
    pub read_only: bool,
}

/// A place as this process comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathToMount {
    /// By its own path.
    Own(CString),
    /// By the mount point below this root of another host.
    Below(Arc<Path>),
}

/// The mount table may be that of a host whose mounts are not all visible below rootfs. Where one is not,
/// its path leads to the file system around it, whose sizes are not the ones that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// None is needed: the table is this process's own.
    Own,
    /// Files there have this device, major and minor.
    Device(u32, u32),
    /// Something of this type is mounted there: its files have devices that nobody tells.
    Type(u32),
}

pub enum SizeAnswer {
    Sizes(Sizes),
    Failed(Errno),
    /// The path leads to another file system, or nowhere.
    Elsewhere,
}

/// What of statvfs(3) is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub read_only: bool,
    pub block_bytes: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

impl SizeTarget {
    /// `rootfs`: of another host. Without it the mount is this process's own.
    pub fn new(mount: Mount, rootfs: Option<&Arc<Path>>) -> Option<Self> {
        let own = rootfs.is_none();
        let proof = match &*mount.type_name {
            _ if own => Proof::Own,
            "btrfs" => Proof::Type(BTRFS),
            "bcachefs" => Proof::Type(BCACHEFS),
            _ => Proof::Device(mount.device.0, mount.device.1),
        };
        Some(SizeTarget {
            mount_id: mount.id,
            place: match rootfs {
                Some(rootfs) => PathToMount::Below(Arc::clone(rootfs)),
                None => PathToMount::Own(CString::new(mount.point.as_slice()).ok()?),
            },
            point: mount.point,
            proof,
            type_name: mount.type_name,
            read_only: mount.read_only,
        })
    }

    /// Whether the path led to the file system.
    fn is_there(&self, found: BorrowedFd) -> Result<bool, Errno> {
        match self.proof {
            Proof::Own => Ok(true),
            Proof::Device(major, minor) => Ok(look_at(found)?.device == (major, minor)),
            Proof::Type(number) => {
                // How wide it is depends on the architecture; the upper half says nothing.
                let type_number = fstatfs(found)?.filesystem_type().0 as u32;
                Ok(look_at(found)?.is_mount_point && type_number == number)
            }
        }
    }
}

/// Asks for the sizes.
pub fn ask(target: &SizeTarget) -> SizeAnswer {
    let asked = match &target.place {
        PathToMount::Own(path) => statvfs(path.as_c_str()).map(Some),
        PathToMount::Below(root) => ask_below(root, target),
    };
    match asked {
        Ok(Some(found)) => SizeAnswer::Sizes(Sizes::of(&found)),
        Ok(None) | Err(Errno::ENOENT | Errno::ENOTDIR) => SizeAnswer::Elsewhere,
        Err(errno) => SizeAnswer::Failed(errno),
    }
}

/// A link in the path leads where it does for that host, never to a place of this process's own.
fn ask_below(root: &Path, target: &SizeTarget) -> Result<Option<Statvfs>, Errno> {
    let point = Path::new(OsStr::from_bytes(&target.point));
    let place = place_below(root, point).map_err(errno_of)?;
    let found = fstatvfs(&place)?;
    Ok(target.is_there(place.as_fd())?.then_some(found))
}

fn errno_of(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

struct Found {
    device: (u32, u32),
    /// Also where the kernel does not tell (before 5.8).
    is_mount_point: bool,
}

/// Asks for no more than the kernel knows by itself, so that no server is asked.
fn look_at(place: BorrowedFd) -> Result<Found, Errno> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH;
    match statx(place, c"", flags, StatxFlags::empty()) {
        Ok(found) => Ok(Found {
            device: (found.stx_dev_major, found.stx_dev_minor),
            is_mount_point: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                || !found
                    .stx_attributes_mask
                    .contains(StatxAttributes::MOUNT_ROOT),
        }),
        // Before 4.11, or for a sandbox that has not heard of it.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let device = fstat(place)?.st_dev;
            let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            Ok(Found {
                device: (number(major(device)), number(minor(device))),
                is_mount_point: true,
            })
        }
        Err(errno) => Err(errno_of(errno)),
    }
}

impl Sizes {
    // How wide these numbers are depends on the architecture.
    #[allow(clippy::unnecessary_cast)]
    fn of(found: &Statvfs) -> Self {
        Sizes {
            read_only: found.flags().contains(FsFlags::ST_RDONLY),
            block_bytes: found.fragment_size() as u64,
            blocks: found.blocks() as u64,
            blocks_free: found.blocks_free() as u64,
            blocks_available: found.blocks_available() as u64,
            inodes: found.files() as u64,
            inodes_free: found.files_free() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_mounted_is_told_from_a_folder() {
        let tree = tempfile::tempdir().unwrap();
        let look_at = |path: &str| {
            let place = place_below(tree.path(), Path::new(path)).map_err(errno_of)?;
            super::look_at(place.as_fd())
        };
        let place = look_at("/").unwrap();
        let device = fs::metadata(tree.path()).unwrap().dev();
        let device = (major(device) as u32, minor(device) as u32);
        assert_eq!(place.device, device);
        // Known since Linux 5.8, as of which this runs.
        assert!(!place.is_mount_point);
        let proc = place_below(Path::new("/"), Path::new("proc")).unwrap();
        assert!(super::look_at(proc.as_fd()).unwrap().is_mount_point);
        assert_eq!(look_at("/nowhere").err(), Some(Errno::ENOENT));
    }
}
