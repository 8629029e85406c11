//! `get_filesystem`: size and use of each mounted file system, from statvfs(3), asked at the mount
//! points that `mounts.rs` chooses, which are those that `df` shows.
//!
//! A file system with a server may never answer. Those are asked by the threads of `workers.rs`,
//! and one that hangs is reported as such.

pub mod mounts;
mod workers;

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mote_core::Envelope;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{major, minor, stat};
use nix::sys::statvfs::{Statvfs, statvfs};
use serde::Serialize;

use super::kit::items::{Items, MAX_ITEMS};
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};
use mounts::{Kind, Mount, choose, parse};
use workers::Workers;

pub use mounts::MAX_MOUNTS;
pub use workers::{MAX_THREADS, MAX_WORKERS};

/// All file systems that may hang together get this long to answer in one sample.
pub const BUDGET: Duration = Duration::from_millis(100);

/// One mounted file system: its sizes, or why there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesystemData {
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// In bytes: what is not free.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// In bytes, to users other than root, for whom some of the free space is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u64>,
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
    /// What `df` makes of the kernel's numbers.
    fn of(sizes: &Sizes) -> Self {
        let bytes = |blocks: u64| Some(blocks.saturating_mul(sizes.block_bytes));
        // Where root has used up what is reserved for it, some kernels answer a negative number.
        let available = i64::try_from(sizes.blocks_available).map_or(0, i64::unsigned_abs);
        let counts_inodes = sizes.inodes > 0;
        FilesystemData {
            size: bytes(sizes.blocks),
            used: bytes(sizes.blocks.saturating_sub(sizes.blocks_free)),
            available: bytes(available),
            inodes: counts_inodes.then_some(sizes.inodes),
            inodes_used: counts_inodes.then_some(sizes.inodes.saturating_sub(sizes.inodes_free)),
            ..Self::default()
        }
    }
}

/// The probe: the mount table, open, what it asks, and the list that it fills.
pub(crate) struct Filesystem {
    mountinfo: SourceFile,
    rootfs: PathBuf,
    /// Whether the mount table changed since it was read.
    changed: bool,
    local: Vec<Target>,
    may_hang: Workers<Target, Answer>,
    omitted: usize,
    items: Items<FilesystemData>,
}

/// A place to ask at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    mount_id: u32,
    point: Vec<u8>,
    /// The mount point below rootfs.
    path: CString,
    /// What files there have as their device, if that is known.
    device: Option<(u64, u64)>,
}

enum Answer {
    Sizes(Sizes),
    Failed(Errno),
    /// The path leads to another file system, or nowhere.
    Elsewhere,
}

/// What of statvfs(3) is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    block_bytes: u64,
    blocks: u64,
    blocks_free: u64,
    blocks_available: u64,
    inodes: u64,
    inodes_free: u64,
}

impl Sample for Filesystem {
    /// Opens the mount table and chooses what to ask.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut filesystem = Filesystem {
            mountinfo: roots.open_of_process("mountinfo")?,
            rootfs: roots.rootfs.clone(),
            changed: false,
            local: Vec::new(),
            may_hang: Workers::new(ask),
            omitted: 0,
            items: Items::new(MAX_ITEMS),
        };
        filesystem.choose_targets(&mut context.scratch)?;
        Ok(filesystem)
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

impl Filesystem {
    /// The file systems now.
    ///
    /// Waits at most [`BUDGET`] for those that may hang. Allocates only when the mount table has
    /// changed, and for another thread when one hangs.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<FilesystemData>, ProbeError> {
        self.changed |= has_changed(&self.mountinfo)?;
        if self.changed {
            self.choose_targets(&mut context.scratch)?;
            self.changed = false;
        }
        let items = &mut self.items;
        items.clear();
        items.omit(self.omitted);
        for target in &self.local {
            push(items, target, Some(ask(target)));
        }
        self.may_hang
            .ask(BUDGET, |target, answer| push(items, target, answer));
        Ok(items)
    }

    fn choose_targets(&mut self, scratch: &mut Scratch) -> Result<(), ProbeError> {
        let mut mounts: Vec<Mount> = Vec::new();
        let mut omitted = 0;
        self.mountinfo.read_lines(scratch, |line| {
            let mount = parse(line)?;
            if mounts.len() < MAX_MOUNTS {
                mounts.push(mount);
            } else {
                omitted += 1;
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
            match Target::new(mount, &self.rootfs) {
                Some(target) if kind == Kind::MayHang => may_hang.push(target),
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

impl Target {
    fn new(mount: Mount, rootfs: &Path) -> Option<Self> {
        let root = rootfs.as_os_str().as_bytes();
        let root = root.strip_suffix(b"/").unwrap_or(root);
        let device = (mount.kind == Kind::Local)
            .then(|| (u64::from(mount.device.0), u64::from(mount.device.1)));
        Some(Target {
            mount_id: mount.id,
            path: CString::new([root, &mount.point].concat()).ok()?,
            point: mount.point,
            device,
        })
    }
}

fn ask(target: &Target) -> Answer {
    let path = target.path.as_c_str();
    let sizes = match statvfs(path) {
        Ok(found) => Sizes::of(&found),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Answer::Elsewhere,
        Err(errno) => return Answer::Failed(errno),
    };
    // The mount table may be that of a host whose mounts are not all visible below rootfs.
    if let Some(device) = target.device {
        match stat(path) {
            Ok(found) if (major(found.st_dev), minor(found.st_dev)) == device => {}
            Ok(_) => return Answer::Elsewhere,
            Err(errno) => return Answer::Failed(errno),
        }
    }
    Answer::Sizes(sizes)
}

impl Sizes {
    // How wide these numbers are depends on the architecture.
    #[allow(clippy::unnecessary_cast)]
    fn of(found: &Statvfs) -> Self {
        Sizes {
            block_bytes: found.fragment_size() as u64,
            blocks: found.blocks() as u64,
            blocks_free: found.blocks_free() as u64,
            blocks_available: found.blocks_available() as u64,
            inodes: found.files() as u64,
            inodes_free: found.files_free() as u64,
        }
    }
}

fn push(items: &mut Items<FilesystemData>, target: &Target, answer: Option<Answer>) {
    let data = match answer {
        // As pseudo file systems that are not known by name.
        Some(Answer::Sizes(sizes)) if sizes.blocks == 0 => return,
        Some(Answer::Sizes(sizes)) => FilesystemData::of(&sizes),
        Some(Answer::Failed(errno)) => FilesystemData {
            errno: Some(errno as i32),
            ..FilesystemData::default()
        },
        Some(Answer::Elsewhere) => return items.omit(1),
        None => FilesystemData {
            hung: Some(1),
            ..FilesystemData::default()
        },
    };
    items.push(&target.point, data);
}

#[cfg(test)]
mod tests {
    use super::super::kit::MAX_REPORT;
    use super::*;
    use mote_core::{ClientId, Envelope, Stamp};
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const SIZES: Sizes = Sizes {
        block_bytes: 4096,
        blocks: 1000,
        blocks_free: 300,
        blocks_available: 250,
        inodes: 64,
        inodes_free: 60,
    };

    #[test]
    fn used_and_available_are_those_of_df() {
        let data = FilesystemData::of(&SIZES);
        let expected = FilesystemData {
            size: Some(4_096_000),
            used: Some(2_867_200),
            available: Some(1_024_000),
            inodes: Some(64),
            inodes_used: Some(4),
            ..FilesystemData::default()
        };
        assert_eq!(data, expected);
        let negative = Sizes {
            blocks_available: 5u64.wrapping_neg(),
            inodes: 0,
            inodes_free: 0,
            ..SIZES
        };
        let data = FilesystemData::of(&negative);
        assert_eq!(
            (data.available, data.inodes, data.inodes_used),
            (Some(0), None, None)
        );
    }

    /// A host recorded by hand: mount points are folders below a root, so they can be asked.
    struct Host {
        tree: tempfile::TempDir,
        table: Vec<u8>,
    }

    impl Host {
        fn new() -> Self {
            let tree = tempfile::tempdir().unwrap();
            fs::create_dir_all(tree.path().join("proc/self")).unwrap();
            let table = b"20 1 0:20 / / rw - btrfs /dev/sda1 rw\n".to_vec();
            Host { tree, table }
        }

        fn mount(&mut self, id: u32, device: &str, point: &str, kind: &str) {
            let escaped = point
                .replace('\\', "\\134")
                .replace(' ', "\\040")
                .replace('\n', "\\012");
            let line = format!("{id} 20 {device} / {escaped} rw - {kind} source{id} rw\n");
            self.table.extend_from_slice(line.as_bytes());
        }

        fn mount_in_folder(&mut self, id: u32, device: &str, point: &str, kind: &str) {
            fs::create_dir(self.tree.path().join(&point[1..])).unwrap();
            self.mount(id, device, point, kind);
        }

        /// One report's data.
        fn sample(&self) -> Result<serde_json::Value, ProbeError> {
            fs::write(self.tree.path().join("proc/self/mountinfo"), &self.table).unwrap();
            let roots = Roots {
                procfs: self.tree.path().join("proc"),
                sysfs: self.tree.path().join("sys"),
                rootfs: self.tree.path().to_owned(),
            };
            let mut context = Context::new();
            let mut filesystem = Filesystem::open(&roots, &mut context)?;
            let envelope = Envelope {
                client_id: ClientId::Number(1),
                service_name: "S",
                stamp: Stamp::Uptime {
                    seconds: 0,
                    millis: None,
                    age: 0,
                    boot: None,
                },
                seq: 0,
            };
            let mut buffer = vec![0; MAX_REPORT];
            let length = filesystem
                .sample(&mut context)?
                .encode(&envelope, &mut buffer)?;
            let mut report: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
            Ok(report["data"].take())
        }
    }

    #[test]
    fn mount_points_may_have_any_name() {
        let mut host = Host::new();
        let names = [
            "/a b",
            "/new\nline",
            "/back\\slash",
            "/tab\there",
            "/ünï ☃",
            "/\"quoted\"",
        ];
        for (number, name) in names.iter().enumerate() {
            let number = number as u32;
            host.mount_in_folder(30 + number, &format!("0:{}", 30 + number), name, "btrfs");
        }
        let data = host.sample().unwrap();
        let here = statvfs(host.tree.path()).unwrap();
        let size = here.blocks() * here.fragment_size();
        for name in names.into_iter().chain(["/"]) {
            assert_eq!(data["data"][name]["size"], size, "{name}");
        }
        assert_eq!(data["omitted"], serde_json::Value::Null);
    }

    #[test]
    fn a_path_that_is_too_long_or_leads_elsewhere_has_no_sizes() {
        let mut host = Host::new();
        let long = format!("/{}", "x/".repeat(2047));
        host.mount(30, "0:30", &long, "xfs");
        host.mount(31, "0:31", "/missing", "xfs");
        host.mount_in_folder(32, "4095:7", "/of-another-device", "ext4");
        host.mount(33, "0:33", "/not-asked", "sysfs");
        let data = host.sample().unwrap();
        assert_eq!(
            data["data"][&long],
            serde_json::json!({"errno": Errno::ENAMETOOLONG as i32})
        );
        assert_eq!(data["data"].as_object().unwrap().len(), 2);
        assert_eq!(data["omitted"], 2);
    }

    #[test]
    fn a_server_that_answers_is_no_different() {
        let mut host = Host::new();
        host.mount_in_folder(30, "0:30", "/net", "nfs4");
        let data = host.sample().unwrap();
        assert_eq!(data["data"]["/net"]["size"], data["data"]["/"]["size"]);
    }

    #[test]
    fn of_two_thousand_file_systems_those_that_do_not_fit_are_counted() {
        let mut host = Host::new();
        let device = fs::metadata(host.tree.path()).unwrap().dev();
        assert!(
            major(device) < 4000,
            "the devices below must differ from this one"
        );
        for number in 0..2000 {
            host.mount_in_folder(
                100 + number,
                &format!("4000:{number}"),
                &format!("/{number}"),
                "btrfs",
            );
        }
        let data = host.sample().unwrap();
        let reported = data["data"].as_object().unwrap().len();
        assert_eq!(reported, MAX_ITEMS);
        assert_eq!(data["omitted"], 2001 - MAX_ITEMS);
    }

    #[test]
    fn mounts_beyond_the_bound_are_counted() {
        let mut host = Host::new();
        for number in 0..MAX_MOUNTS {
            let line = format!(
                "{} 1 0:9999 / /none{number} rw - proc proc rw\n",
                100 + number
            );
            host.table.extend_from_slice(line.as_bytes());
        }
        let data = host.sample().unwrap();
        assert_eq!(data["data"].as_object().unwrap().len(), 1);
        assert_eq!(data["omitted"], 1);
    }

    #[test]
    fn no_table_is_empty() {
        let mut host = Host::new();
        host.table.clear();
        let error = host.sample().unwrap_err().to_string();
        assert!(
            error.ends_with("/mountinfo: no valid line of a mount"),
            "{error}"
        );
    }

    #[test]
    fn a_cut_table_is_an_error_or_has_whole_lines_only() {
        let mut host = Host::new();
        host.mount_in_folder(30, "0:30", "/a b", "btrfs");
        let whole = host.table.clone();
        for cut in 1..whole.len() {
            host.table.truncate(0);
            host.table.extend_from_slice(&whole[..cut]);
            assert_eq!(
                host.sample().is_ok(),
                whole[cut - 1] == b'\n',
                "cut at {cut}"
            );
        }
        host.table = b"\0\xff\n".to_vec();
        let error = host.sample().unwrap_err().to_string();
        assert!(
            error.ends_with("self/mountinfo: no valid line of a mount"),
            "{error}"
        );
    }
}
