//! Whole samples of hosts whose mount tables change.

use super::super::filesystem::target::PathToMount;
use super::super::kit::{MAX_REPORT, Sampler};
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

fn target(proof: Proof, read_only: bool) -> SizeTarget {
    SizeTarget {
        mount_id: 1,
        point: b"/".to_vec(),
        place: PathToMount::Own(CString::from(c"/")),
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
            Some(SizeAnswer::Sizes(sizes)),
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
        let length = filesystem.report(&mut context, &envelope, &mut buffer)?;
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
    let long = format!("/{}", "x/".repeat(2048));
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
fn a_link_below_the_root_leads_to_nothing_of_ours() {
    let mut host = Host::new();
    let device = host.device();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("disk")).unwrap();
    std::os::unix::fs::symlink(outside.path(), host.tree.path().join("mnt")).unwrap();
    std::os::unix::fs::symlink("/srv", host.tree.path().join("data")).unwrap();
    fs::create_dir_all(host.tree.path().join("srv/disk")).unwrap();
    host.mount(30, &device, "/mnt/disk", "nfs4");
    host.mount(31, &device, "/data/disk", "nfs4");
    let data = host.sample().unwrap();
    let found: Vec<_> = data["data"].as_object().unwrap().keys().collect();
    assert_eq!(found, ["/", "/data/disk"]);
    assert_eq!(data["omitted"], 1);
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
