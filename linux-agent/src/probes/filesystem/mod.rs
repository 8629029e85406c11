//! `get_filesystem`: size and use of each mounted file system, from statvfs(3), asked at the mount
//! points that `mounts.rs` chooses, which are those that `df` shows.
//!
//! A file system with a server may never answer. Those are asked by the threads of `workers.rs`,
//! and one that hangs is reported as such.

pub mod mounts;
mod target;
mod workers;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mote_core::Envelope;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Serialize, Serializer};

use super::kit::items::{Items, MAX_ITEMS};
use super::kit::rate::percent;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};
use mounts::{Kind, Mount, ROOT, choose, parse};
use target::{Answer, Proof, Sizes, Target, ask};
use workers::Workers;

pub use mounts::MAX_MOUNTS;
pub use workers::{MAX_THREADS, MAX_WORKERS};

/// The mount table of another host is read again after this long, if it has not changed before.
const READ_AGAIN: Duration = Duration::from_secs(300);

/// All file systems that may hang together get this long to answer in one sample.
pub const BUDGET: Duration = Duration::from_millis(100);

/// One mounted file system: its sizes, or why there are none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilesystemData {
    /// What it is, such as `ext4` or `nfs4`.
    #[serde(rename = "type")]
    type_name: Shared,
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
    fn new(target: &Target) -> Self {
        FilesystemData {
            type_name: Shared(Arc::clone(&target.type_name)),
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
struct Shared(Arc<str>);

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The probe: the mount table, open, what it asks, and the list that it fills.
pub(crate) struct Filesystem {
    mountinfo: SourceFile,
    rootfs: PathBuf,
    /// Whether the table is this process's own, and so are its paths.
    own: bool,
    /// Whether the mount table changed since it was read.
    changed: bool,
    read_at: Instant,
    budget: Duration,
    local: Vec<Target>,
    may_hang: Workers<Target, Answer>,
    omitted: usize,
    items: Items<FilesystemData>,
}

impl Sample for Filesystem {
    /// Opens the mount table and chooses what to ask.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut filesystem = Filesystem {
            mountinfo: roots.open_of_process("mountinfo")?,
            rootfs: roots.rootfs.clone(),
            own: roots.are_own(),
            changed: false,
            read_at: context.now,
            budget: BUDGET,
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
    /// changed or is that of another host and old, and for another thread when one hangs.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<FilesystemData>, ProbeError> {
        self.changed |= has_changed(&self.mountinfo)?;
        // That a disk with errors became read-only is no change of the table.
        let old = context.now.saturating_duration_since(self.read_at) >= READ_AGAIN;
        if self.changed || old && !self.own {
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
            match Target::new(mount, &self.rootfs, self.own) {
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

fn push(items: &mut Items<FilesystemData>, target: &Target, answer: Option<Answer>) {
    let mut data = FilesystemData::new(target);
    match answer {
        // As pseudo file systems that are not known by name.
        Some(Answer::Sizes(sizes)) if sizes.blocks == 0 => return,
        Some(Answer::Sizes(sizes)) => {
            // Of another host's the container that watches may have a mount that is read-only.
            let own = target.proof == Proof::Own;
            data.read_only = (sizes.read_only && (own || target.read_only)).into();
            data = data.with_sizes(&sizes);
        }
        Some(Answer::Failed(errno)) => data.errno = Some(errno as i32),
        Some(Answer::Elsewhere) => return items.omit(1),
        None => data.hung = Some(1),
    }
    items.push(&target.point, data);
}

#[cfg(test)]
mod tests {
    use super::super::kit::MAX_REPORT;
    use super::*;
    use mote_core::{ClientId, Envelope, Stamp};
    use nix::sys::stat::{major, minor};
    use nix::sys::statvfs::statvfs;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const SIZES: Sizes = Sizes {
        read_only: false,
        block_bytes: 4096,
        blocks: 1000,
        blocks_free: 300,
        blocks_available: 250,
        inodes: 64,
        inodes_free: 60,
    };

    fn target(proof: Proof, read_only: bool) -> Target {
        Target {
            mount_id: 1,
            point: b"/".to_vec(),
            path: CString::from(c"/"),
            proof,
            type_name: "ext4".into(),
            read_only,
        }
    }

    #[test]
    fn used_and_available_are_those_of_df() {
        let plain = FilesystemData::new(&target(Proof::Own, false));
        let expected = FilesystemData {
            size: Some(4_096_000),
            used: Some(2_867_200),
            available: Some(1_024_000),
            // df: 74 %
            used_p: Some(73.68),
            inodes: Some(64),
            inodes_used: Some(4),
            ..plain.clone()
        };
        assert_eq!(plain.clone().with_sizes(&SIZES), expected);
        let negative = Sizes {
            blocks_available: 5u64.wrapping_neg(),
            inodes: 0,
            inodes_free: 0,
            ..SIZES
        };
        let data = plain.with_sizes(&negative);
        assert_eq!(
            (data.available, data.inodes, data.inodes_used),
            (Some(0), None, None)
        );
        assert_eq!(data.used_p, Some(100.0));
    }

    #[test]
    fn read_only_is_what_the_host_can_not_write() {
        let says = |proof, table, here| {
            let mut items = Items::new(1);
            let sizes = Sizes {
                read_only: here,
                ..SIZES
            };
            push(
                &mut items,
                &target(proof, table),
                Some(Answer::Sizes(sizes)),
            );
            let (_, data) = items.iter().next().unwrap();
            data.read_only == 1
        };
        let device = Proof::Device(8, 1);
        assert!(says(Proof::Own, false, true), "its errors made it so");
        assert!(!says(Proof::Own, true, false), "mounted anew since");
        assert!(!says(device, false, true), "a read-only bind mount of it");
        assert!(says(device, true, true));
        assert!(!says(device, true, false));
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
            let mut host = Host {
                tree,
                table: Vec::new(),
            };
            host.table = format!("20 1 {} / / rw - ext4 /dev/sda1 rw\n", host.device()).into();
            host
        }

        /// That of the folders.
        fn device(&self) -> String {
            let device = fs::metadata(self.tree.path()).unwrap().dev();
            format!("{}:{}", major(device), minor(device))
        }

        /// A folder as if it were mounted: a server's, for there may be many of one device.
        fn mount_visibly(&mut self, id: u32, point: &str) {
            self.mount_in_folder(id, &self.device(), point, "nfs4");
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
            filesystem.budget = Duration::from_secs(60);
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
            host.mount_visibly(30 + number, name);
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
            serde_json::json!({"type": "xfs", "read_only": 0, "errno": Errno::ENAMETOOLONG as i32})
        );
        assert_eq!(data["data"].as_object().unwrap().len(), 2);
        assert_eq!(data["omitted"], 2);
    }

    #[test]
    fn a_server_that_answers_is_no_different() {
        let mut host = Host::new();
        host.mount_visibly(30, "/net");
        let data = host.sample().unwrap();
        assert_eq!(data["data"]["/net"]["size"], data["data"]["/"]["size"]);
        assert_eq!(data["data"]["/net"]["type"], "nfs4");
        assert_eq!(data["data"]["/"]["type"], "ext4");
        assert_eq!(data["data"]["/"]["read_only"], 0);
    }

    #[test]
    fn a_mount_that_is_not_visible_has_not_the_sizes_of_what_is_around_it() {
        let kinds = [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "fuse.sshfs",
            "fuseblk",
            "9p",
            "virtiofs",
            "ceph",
            "glusterfs",
            "overlay",
            "aufs",
            "zfs",
            "btrfs",
            "bcachefs",
            "ext4",
            "tmpfs",
            "never-heard-of",
        ];
        let mut host = Host::new();
        for (number, kind) in (0..).zip(kinds) {
            let device = format!("4095:{number}");
            host.mount_in_folder(100 + number, &device, &format!("/{kind}"), kind);
        }
        let data = host.sample().unwrap();
        let found: Vec<_> = data["data"].as_object().unwrap().keys().collect();
        assert_eq!(found, ["/"]);
        assert_eq!(data["omitted"], kinds.len());
    }

    #[test]
    fn of_two_thousand_file_systems_those_that_do_not_fit_are_counted() {
        let mut host = Host::new();
        // Last in the table, and the first to be told.
        let root = std::mem::take(&mut host.table);
        for number in 0..2000 {
            host.mount_visibly(100 + number, &format!("/{number}"));
        }
        host.table.extend_from_slice(&root);
        let data = host.sample().unwrap();
        let reported = data["data"].as_object().unwrap();
        assert_eq!(reported.len(), MAX_ITEMS);
        assert!(reported.contains_key("/"));
        assert_eq!(data["omitted"], 2001 - MAX_ITEMS);
    }

    #[test]
    fn the_root_is_there_however_little_fits() {
        let mut host = Host::new();
        let root = std::mem::take(&mut host.table);
        for number in 0..MAX_MOUNTS {
            let line = format!(
                "{} 20 0:9999 / /none{number} rw - proc proc rw\n",
                100 + number
            );
            host.table.extend_from_slice(line.as_bytes());
        }
        host.table.extend_from_slice(&root);
        let data = host.sample().unwrap();
        let found: Vec<_> = data["data"].as_object().unwrap().keys().collect();
        assert_eq!(found, ["/"]);
        assert_eq!(data["omitted"], 1);
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
    fn an_odd_line_is_counted_and_hides_no_mount() {
        let mut host = Host::new();
        host.table
            .extend_from_slice(b"odd\n21 20 0:40 / relative rw - ext4 x rw\n\n");
        host.mount_visibly(30, "/net");
        let data = host.sample().unwrap();
        assert_eq!(data["data"].as_object().unwrap().len(), 2);
        assert_eq!(data["omitted"], 3);
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
        host.mount_visibly(30, "/a b");
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
