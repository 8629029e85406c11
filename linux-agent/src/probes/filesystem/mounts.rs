//! Which file systems are worth asking for their size, from `/proc/self/mountinfo`
//! (proc_pid_mountinfo(5)), a line a mount:
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue
//! id parent device root point options  optional  - kind source   options
//! ```
//!
//! Of several mounts of one device one is chosen, by the rules of `df` (coreutils).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::probes::kit::Malformed;
use crate::probes::kit::file::number;

/// Where the root is mounted.
pub const ROOT: &[u8] = b"/";

/// Mounts beyond this are not looked at, only counted.
pub const MAX_MOUNTS: usize = 16 << 10;

/// The longest type of a file system that is told, in bytes; programs in user space may have any.
const MAX_TYPE_NAME: usize = 64;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it.
    pub id: u32,
    /// The mount that it is mounted in.
    pub parent: u32,
    /// Major and minor number of its device.
    pub device: (u32, u32),
    /// Where it is mounted, seen from the root of its process.
    pub point: Vec<u8>,
    /// How it answers.
    pub kind: MountKind,
    /// What it is, such as `ext4` or `fuse.sshfs`.
    pub type_name: Arc<str>,
    /// Whether nothing can be written, here or anywhere.
    pub read_only: bool,
    /// What is mounted: a device, a server's folder, or any word.
    source: Vec<u8>,
    root_length: usize,
}

/// How a file system answers when it is asked for its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountKind {
    /// Not at all: it has no blocks.
    Pseudo,
    /// At once. Every file in it is on the device that the mount table tells.
    Local,
    /// At once. It has volumes inside, each with a device number of its own that the mount table does
    /// not tell.
    LocalVolumes,
    /// Perhaps never: it has a server, be it a program on this host. All kinds that are not known
    /// are of this kind.
    MayHang,
}

impl MountKind {
    /// The kind of the file system type `name`.
    pub fn of(name: &[u8]) -> MountKind {
        match name {
            b"autofs" | b"binder" | b"binfmt_misc" | b"bpf" | b"cgroup" | b"cgroup2"
            | b"configfs" | b"cpuset" | b"debugfs" | b"devpts" | b"fusectl" | b"mqueue"
            | b"nfsd" | b"nsfs" | b"proc" | b"pstore" | b"resctrl" | b"rootfs" | b"rpc_pipefs"
            | b"securityfs" | b"selinuxfs" | b"smackfs" | b"sysfs" | b"tracefs" => {
                MountKind::Pseudo
            }
            b"adfs" | b"affs" | b"aufs" | b"befs" | b"bfs" | b"cramfs" | b"devtmpfs" | b"erofs"
            | b"exfat" | b"ext2" | b"ext3" | b"ext4" | b"f2fs" | b"hfs" | b"hfsplus"
            | b"hugetlbfs" | b"iso9660" | b"jffs2" | b"jfs" | b"minix" | b"msdos" | b"nilfs2"
            | b"ntfs" | b"ntfs3" | b"omfs" | b"overlay" | b"pramfs" | b"qnx4" | b"qnx6"
            | b"ramfs" | b"reiserfs" | b"romfs" | b"squashfs" | b"tmpfs" | b"ubifs" | b"udf"
            | b"ufs" | b"vfat" | b"xfs" | b"zfs" | b"zonefs" => MountKind::Local,
            b"bcachefs" | b"btrfs" => MountKind::LocalVolumes,
            _ => MountKind::MayHang,
        }
    }
}

/// Reads one line.
pub fn parse(line: &[u8]) -> Result<Mount, Malformed> {
    fields(line).ok_or(Malformed("line of a mount"))
}

fn fields(line: &[u8]) -> Option<Mount> {
    // Parted by single spaces: the source may be an empty word.
    let mut words = line.split(|byte| *byte == b' ');
    let id = small(words.next()?)?;
    let parent = small(words.next()?)?;
    let mut device = words.next()?.split(|byte| *byte == b':');
    let device = (small(device.next()?)?, small(device.next()?)?);
    let root_length = unescape(words.next()?).len();
    let point = unescape(words.next()?);
    (point.first() == Some(&b'/')).then_some(())?;
    let options = words.next()?;
    words.find(|word| *word == b"-")?;
    let kind = words.next()?;
    let source = unescape(words.next()?);
    // Without its last word the line was cut.
    let options_of_all = words.next()?;
    let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|it| it == b"ro");
    let type_name = unescape(kind);
    let type_name = type_name.get(..MAX_TYPE_NAME).unwrap_or(&type_name);
    Some(Mount {
        id,
        parent,
        device,
        point,
        kind: MountKind::of(kind),
        type_name: String::from_utf8_lossy(type_name).into(),
        read_only: read_only(options) || read_only(options_of_all),
        source,
        root_length,
    })
}

fn small(word: &[u8]) -> Option<u32> {
    u32::try_from(number(word)?).ok()
}

/// Decodes `\040`, in which the kernel writes spaces, tabs, newlines, backslashes and `#`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        let octal = |digit: u8| matches!(digit, b'0'..=b'7').then(|| u32::from(digit - b'0'));
        let decoded = match after {
            [a, b, c, ..] if *first == b'\\' => octal(*a).zip(octal(*b)).zip(octal(*c)),
            _ => None,
        };
        let decoded = decoded.and_then(|((a, b), c)| u8::try_from(a * 64 + b * 8 + c).ok());
        plain.push(decoded.unwrap_or(*first));
        rest = match decoded {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    plain
}

/// Of all mounts those that a path leads to and that have blocks, one a device; the root first, so that
/// it is never among those that do not fit. What lies below a mount that may hang may hang too, whatever
/// it is: the way there is through the former.
pub fn choose(mounts: Vec<Mount>) -> Vec<Mount> {
    let ways = ways(&mounts);
    let mut chosen: Vec<Mount> = Vec::new();
    let mut by_device = HashMap::new();
    let mut points = HashSet::new();
    for (mut mount, way) in mounts.into_iter().zip(ways) {
        let Some(kind) = way.filter(|_| mount.kind != MountKind::Pseudo) else {
            continue;
        };
        if kind == MountKind::MayHang {
            mount.kind = kind;
        }
        // Only a table that contradicts itself has two mounts at the end of one path.
        if !points.insert(mount.point.clone()) {
            continue;
        }
        // Two folders of one server may differ in size though they share a device number.
        let source = (mount.kind == MountKind::MayHang).then(|| mount.source.clone());
        let index = *by_device
            .entry((mount.device, source))
            .or_insert(chosen.len());
        match chosen.get_mut(index) {
            Some(seen) if is_better(&mount, seen) => *seen = mount,
            Some(_) => {}
            None => chosen.push(mount),
        }
    }
    if let Some(root) = chosen.iter().position(|mount| mount.point == ROOT)
        && let Some(to_root) = chosen.get_mut(..=root)
    {
        to_root.rotate_right(1);
    }
    chosen
}

/// Whether `df` would show `mount` rather than `seen`, which is of the same device. The root is always
/// shown.
fn is_better(mount: &Mount, seen: &Mount) -> bool {
    if mount.point == ROOT || seen.point == ROOT {
        return mount.point == ROOT;
    }
    let is_path = |source: &[u8]| source.contains(&b'/');
    let nearer_to_root = mount.point.len() < seen.point.len();
    let only_a_part = mount.root_length > seen.root_length;
    (is_path(&mount.source) && !is_path(&seen.source)) || (nearer_to_root && !only_a_part)
}

#[derive(Clone, Copy)]
enum Way {
    Unknown,
    BeingWalked,
    /// `None`: no path leads there. Else the worst kind on the way.
    Known(Option<MountKind>),
}

/// For each mount: the worst kind on the way to its files, itself included; `None` if another mount hides them.
fn ways(mounts: &[Mount]) -> Vec<Option<MountKind>> {
    let mut by_id = HashMap::new();
    // What is mounted where in which mount. The later one hides the earlier one.
    let mut at: HashMap<(u32, &[u8]), usize> = HashMap::new();
    for (index, mount) in mounts.iter().enumerate() {
        by_id.insert(mount.id, index);
        // The first mount of all is its own parent.
        if mount.id != mount.parent {
            at.insert((mount.parent, &mount.point), index);
        }
    }
    let is_covered = |index: usize, mount: &Mount| {
        let mut prefixes = prefixes(&mount.point);
        mount.id != mount.parent
            && prefixes.any(|prefix| {
                at.get(&(mount.parent, prefix))
                    .is_some_and(|at| *at != index)
            })
    };
    let mut ways = vec![Way::Unknown; mounts.len()];
    let mut chain = Vec::new();
    for start in 0..mounts.len() {
        let mut next = Some(start);
        // Upwards to what is known or has no parent here.
        let mut way = loop {
            let Some((index, mount)) = next.and_then(|index| Some((index, mounts.get(index)?)))
            else {
                break Some(MountKind::Pseudo);
            };
            match ways.get_mut(index) {
                Some(Way::Known(way)) => break *way,
                Some(way @ Way::Unknown) => *way = Way::BeingWalked,
                // A circle.
                _ => break None,
            }
            chain.push((index, mount));
            let parent = by_id.get(&mount.parent).copied();
            next = parent.filter(|parent| *parent != index);
        };
        while let Some((index, mount)) = chain.pop() {
            way = way
                .filter(|_| !is_covered(index, mount))
                .map(|worst| worst.max(mount.kind));
            if let Some(known) = ways.get_mut(index) {
                *known = Way::Known(way);
            }
        }
    }
    let on_top = |mount: &Mount| !at.contains_key(&(mount.id, &mount.point));
    let tops = mounts.iter().zip(ways);
    tops.map(|(mount, way)| match way {
        Way::Known(way) => way.filter(|_| on_top(mount)),
        _ => None,
    })
    .collect()
}

/// Of `/a/b`: `/`, `/a` and `/a/b`.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let folders = slashes.map(|(index, _)| path.get(..index.max(1)).unwrap_or_default());
    let whole = (path.len() > 1).then_some(path);
    folders.chain(whole)
}

#[cfg(test)]
mod tests;
