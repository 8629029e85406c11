//! A file system that does not answer.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::namespace::run_in_namespace;
use crate::need;

/// A FUSE file system over a folder whose server says nothing, not even that it is there. It is gone once this is
/// dropped.
pub struct Hung<'a> {
    folder: &'a Path,
    device: Option<File>,
}

/// Mounts a FUSE file system over `folder` for the server that reads and writes what this gives. One that does not
/// hangs.
pub fn mount_fuse(folder: &Path) -> File {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .unwrap();
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    mount(
        Some("mote-test"),
        folder,
        Some("fuse"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .unwrap();
    device
}

impl<'a> Hung<'a> {
    pub fn over(folder: &'a Path) -> Self {
        Hung {
            folder,
            device: Some(mount_fuse(folder)),
        }
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        // The kernel answers all that waits once the server is gone.
        self.device = None;
        umount2(self.folder, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Runs `test`, of this name, where nobody else sees what it mounts.
pub fn with_fuse(name: &str, test: impl FnOnce()) {
    let fuse =
        File::open("/dev/fuse").map_err(|cause| format!("/dev/fuse: {cause}; modprobe fuse"));
    if need(name, fuse).is_some() {
        run_in_namespace(name, test);
    }
}
