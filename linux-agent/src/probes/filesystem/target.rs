//! What is asked for its size, and whether the answer is its own.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{major, minor, stat};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::mounts::Mount;

/// The numbers of types in statfs(2) (the kernel's include/uapi/linux/magic.h).
const BTRFS: u32 = 0x9123_683e;
const BCACHEFS: u32 = 0xca45_1a4e;

/// A place to ask at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub mount_id: u32,
    pub point: Vec<u8>,
    /// The mount point below rootfs.
    pub path: CString,
    /// How to see that the path leads there.
    pub proof: Proof,
    pub type_name: Arc<str>,
    pub read_only: bool,
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

pub enum Answer {
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

impl Target {
    pub fn new(mount: Mount, rootfs: &Path, own: bool) -> Option<Self> {
        let root = rootfs.as_os_str().as_bytes();
        let root = root.strip_suffix(b"/").unwrap_or(root);
        let proof = match &*mount.type_name {
            _ if own => Proof::Own,
            "btrfs" => Proof::Type(BTRFS),
            "bcachefs" => Proof::Type(BCACHEFS),
            _ => Proof::Device(mount.device.0, mount.device.1),
        };
        Some(Target {
            mount_id: mount.id,
            path: CString::new([root, &mount.point].concat()).ok()?,
            point: mount.point,
            proof,
            type_name: mount.type_name,
            read_only: mount.read_only,
        })
    }

    /// Whether the path leads to the file system.
    fn is_there(&self) -> Result<bool, Errno> {
        let path = self.path.as_c_str();
        match self.proof {
            Proof::Own => Ok(true),
            Proof::Device(major, minor) => Ok(look_at(path)?.device == (major, minor)),
            Proof::Type(number) => {
                // How wide it is depends on the architecture; the upper half says nothing.
                let found = statfs(path)?.filesystem_type().0 as u32;
                Ok(look_at(path)?.is_mount_point && found == number)
            }
        }
    }
}

/// Asks for the sizes.
pub fn ask(target: &Target) -> Answer {
    match statvfs(target.path.as_c_str()) {
        Ok(found) => match target.is_there() {
            Ok(true) => Answer::Sizes(Sizes::of(&found)),
            Ok(false) => Answer::Elsewhere,
            Err(errno) => Answer::Failed(errno),
        },
        Err(Errno::ENOENT | Errno::ENOTDIR) => Answer::Elsewhere,
        Err(errno) => Answer::Failed(errno),
    }
}

struct Found {
    device: (u32, u32),
    /// Also where the kernel does not tell (before 5.8).
    is_mount_point: bool,
}

/// Asks for no more than the kernel knows by itself, so that no server is asked.
fn look_at(path: &CStr) -> Result<Found, Errno> {
    match statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::empty()) {
        Ok(found) => Ok(Found {
            device: (found.stx_dev_major, found.stx_dev_minor),
            is_mount_point: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                || !found
                    .stx_attributes_mask
                    .contains(StatxAttributes::MOUNT_ROOT),
        }),
        // Before 4.11, or for a sandbox that has not heard of it.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let device = stat(path)?.st_dev;
            let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            Ok(Found {
                device: (number(major(device)), number(minor(device))),
                is_mount_point: true,
            })
        }
        Err(errno) => Err(Errno::from_raw(errno.raw_os_error())),
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
        let folder = CString::new(tree.path().as_os_str().as_bytes()).unwrap();
        let place = look_at(&folder).unwrap();
        let device = fs::metadata(tree.path()).unwrap().dev();
        let device = (major(device) as u32, minor(device) as u32);
        assert_eq!(place.device, device);
        // Known since Linux 5.8, as of which this runs.
        assert!(!place.is_mount_point);
        assert!(look_at(c"/proc").unwrap().is_mount_point);
        assert_eq!(look_at(c"/nowhere").err(), Some(Errno::ENOENT));
    }
}
