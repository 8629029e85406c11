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
    pub kind: Kind,
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
pub enum Kind {
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

impl Kind {
    /// The kind of the file system type `name`.
    pub fn of(name: &[u8]) -> Kind {
        match name {
            b"autofs" | b"binder" | b"binfmt_misc" | b"bpf" | b"cgroup" | b"cgroup2"
            | b"configfs" | b"cpuset" | b"debugfs" | b"devpts" | b"fusectl" | b"mqueue"
            | b"nfsd" | b"nsfs" | b"proc" | b"pstore" | b"resctrl" | b"rootfs" | b"rpc_pipefs"
            | b"securityfs" | b"selinuxfs" | b"smackfs" | b"sysfs" | b"tracefs" => Kind::Pseudo,
            b"adfs" | b"affs" | b"aufs" | b"befs" | b"bfs" | b"cramfs" | b"devtmpfs" | b"erofs"
            | b"exfat" | b"ext2" | b"ext3" | b"ext4" | b"f2fs" | b"hfs" | b"hfsplus"
            | b"hugetlbfs" | b"iso9660" | b"jffs2" | b"jfs" | b"minix" | b"msdos" | b"nilfs2"
            | b"ntfs" | b"ntfs3" | b"omfs" | b"overlay" | b"pramfs" | b"qnx4" | b"qnx6"
            | b"ramfs" | b"reiserfs" | b"romfs" | b"squashfs" | b"tmpfs" | b"ubifs" | b"udf"
            | b"ufs" | b"vfat" | b"xfs" | b"zfs" | b"zonefs" => Kind::Local,
            b"bcachefs" | b"btrfs" => Kind::LocalVolumes,
            _ => Kind::MayHang,
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
        kind: Kind::of(kind),
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
        let Some(kind) = way.filter(|_| mount.kind != Kind::Pseudo) else {
            continue;
        };
        if kind == Kind::MayHang {
            mount.kind = kind;
        }
        // Only a table that contradicts itself has two mounts at the end of one path.
        if !points.insert(mount.point.clone()) {
            continue;
        }
        // Two folders of one server may differ in size though they share a device number.
        let source = (mount.kind == Kind::MayHang).then(|| mount.source.clone());
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
    Known(Option<Kind>),
}

/// For each mount: the worst kind on the way to its files, itself included; `None` if another mount hides them.
fn ways(mounts: &[Mount]) -> Vec<Option<Kind>> {
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
                break Some(Kind::Pseudo);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/proc/self/mountinfo");

    fn table(text: &[u8]) -> Vec<Mount> {
        let lines = crate::probes::kit::file::lines(text);
        lines.map(|line| parse(line).unwrap()).collect()
    }

    fn chosen(text: &str) -> Vec<(String, Kind)> {
        let chosen = choose(table(text.as_bytes())).into_iter();
        let point = |mount: &Mount| String::from_utf8(mount.point.clone()).unwrap();
        chosen.map(|mount| (point(&mount), mount.kind)).collect()
    }

    #[test]
    fn reads_a_line() {
        let line = b"36 35 98:0 /a\\134b /mnt\\0402 rw,noatime master:1 - ext3 /dev/sda1 rw";
        let expected = Mount {
            id: 36,
            parent: 35,
            device: (98, 0),
            point: b"/mnt 2".to_vec(),
            kind: Kind::Local,
            type_name: "ext3".into(),
            read_only: false,
            source: b"/dev/sda1".to_vec(),
            root_length: 4,
        };
        assert_eq!(parse(line), Ok(expected.clone()));
        // Of a cut line only the last word, which is not used, may lack something.
        for cut in 0..line.len() {
            let found = parse(&line[..cut]);
            assert!(
                found.is_err() || found == Ok(expected.clone()),
                "cut at {cut}"
            );
            assert!(found.is_err() || cut >= line.len() - 2, "cut at {cut}");
        }
    }

    #[test]
    fn a_mount_is_read_only_by_itself_or_with_all_of_its_device() {
        for (line, read_only) in [
            (
                "1 0 8:1 / / rw,ro_not - ext4 /dev/sda rw,errors=remount-ro",
                false,
            ),
            ("1 0 8:1 / / ro,noatime - ext4 /dev/sda rw", true),
            ("1 0 8:1 / / rw shared:1 - ext4 /dev/sda ro", true),
        ] {
            let mount = parse(line.as_bytes()).unwrap();
            assert_eq!(mount.read_only, read_only, "{line}");
        }
        let long = format!("1 0 8:1 / / rw - fuse.{} x rw", "x".repeat(200));
        assert_eq!(
            parse(long.as_bytes()).unwrap().type_name.len(),
            MAX_TYPE_NAME
        );
    }

    #[test]
    fn the_root_is_chosen_first_whatever_else_there_is() {
        // As where / is one volume of several, or was mounted last.
        let text = "21 20 0:30 / /mnt/whole rw - btrfs /dev/sda1 rw\n\
                    22 20 8:2 / /mnt/disk rw - ext4 /dev/sda2 rw\n\
                    20 1 0:30 /@ / rw - btrfs none rw\n\
                    23 20 0:30 /@ /a rw - btrfs /dev/sda1 rw\n";
        let expected = [
            ("/".to_owned(), Kind::LocalVolumes),
            ("/mnt/disk".to_owned(), Kind::Local),
        ];
        assert_eq!(chosen(text), expected);
    }

    #[test]
    fn only_what_the_kernel_writes_is_an_escape() {
        assert_eq!(unescape(b"\\040\\011\\012\\134\\043"), b" \t\n\\#");
        for plain in [&b"\\"[..], b"\\04", b"\\089", b"\\777", b"a\\x"] {
            assert_eq!(unescape(plain), plain);
        }
        let long = [b"/".as_slice(), &b"\\040".repeat(4095)].concat();
        assert_eq!(unescape(&long).len(), 4096);
    }

    #[test]
    fn chooses_what_df_showed_when_this_was_recorded() {
        let mut points: Vec<_> = choose(table(RECORDED))
            .into_iter()
            .map(|mount| String::from_utf8(mount.point).unwrap())
            .collect();
        points.sort();
        // df --output=target; it writes a newline as `?`.
        let expected = [
            "/",
            "/dev",
            "/dev/shm",
            "/mnt",
            "/mnt/back\\slash#",
            "/mnt/hidden",
            "/mnt/new\nline",
            "/mnt/over",
            "/mnt/stacked",
            "/mnt/with space",
            "/mnt/ünï",
            "/sys/fs/cgroup",
        ];
        assert_eq!(points, expected);
    }

    #[test]
    fn a_mount_over_a_folder_hides_those_in_it() {
        let text = "1 1 0:1 / / rw - rootfs rootfs rw\n\
                    20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    21 20 0:30 / /mnt/a rw - tmpfs tmpfs rw\n\
                    22 21 0:31 / /mnt/a/b rw - tmpfs tmpfs rw\n\
                    23 20 8:2 / /mnt rw - ext4 /dev/sda2 rw\n\
                    24 20 8:3 / /mntx rw - ext4 /dev/sda3 rw\n";
        let local = |point: &str| (point.to_owned(), Kind::Local);
        assert_eq!(chosen(text), [local("/"), local("/mnt"), local("/mntx")]);
    }

    #[test]
    fn a_disk_below_a_server_may_hang_and_servers_differ_by_their_folder() {
        let text = "20 1 0:25 /@ / rw - btrfs /dev/sda1 rw\n\
                    21 20 0:40 / /net rw - nfs4 server:/a rw\n\
                    22 21 8:2 / /net/disk rw - ext4 /dev/sdb1 rw\n\
                    23 20 0:40 / /other rw - nfs4 server:/b rw\n\
                    24 20 0:40 / /again/longer rw - nfs4 server:/a rw\n\
                    25 20 0:41 / /new rw - never-heard-of none rw\n\
                    26 20 0:5 / /proc rw - proc proc rw\n";
        let hangs = |point: &str| (point.to_owned(), Kind::MayHang);
        let root = ("/".to_owned(), Kind::LocalVolumes);
        let expected = [
            root,
            hangs("/net"),
            hangs("/net/disk"),
            hangs("/other"),
            hangs("/new"),
        ];
        assert_eq!(chosen(text), expected);
    }

    #[test]
    fn the_whole_device_wins_over_a_part_and_a_path_over_a_word() {
        let text = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    21 20 8:2 /part /p rw - ext4 /dev/sda2 rw\n\
                    22 20 8:2 / /data/whole rw - ext4 /dev/sda2 rw\n\
                    23 20 0:50 / /t rw - tmpfs word rw\n\
                    24 20 0:50 / /tmp/longer rw - tmpfs /a/path rw\n";
        let points: Vec<_> = chosen(text).into_iter().map(|(point, _)| point).collect();
        // As df: a shorter place is not given up for a longer one, whole or not.
        assert_eq!(points, ["/", "/p", "/tmp/longer"]);
    }

    #[test]
    fn two_thousand_mounts() {
        let mut text = String::from("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        for number in 0..2000 {
            let (id, half) = (100 + number, number / 2);
            text += &format!("{id} 20 9:{half} / /mnt/{number} rw - xfs /dev/v{half} rw\n");
        }
        assert_eq!(chosen(&text).len(), 1001);
    }

    #[test]
    fn a_table_that_is_a_circle_leads_nowhere() {
        let text = "2 3 0:1 / /a rw - tmpfs a rw\n3 2 0:2 / /b rw - tmpfs b rw\n";
        assert_eq!(chosen(text), []);
    }

    /// Where a path leads, step by step as the kernel walks it.
    fn walk(mounts: &[Mount], path: &[u8]) -> Option<usize> {
        let enter = |mut index: usize, at: &[u8]| {
            // Each step goes to a later mount: the table has parents first.
            while let Some(next) = mounts.iter().rposition(|mount| {
                mount.parent == mounts[index].id && mount.id != mount.parent && mount.point == at
            }) {
                index = next;
            }
            index
        };
        let first = mounts.iter().position(|mount| mount.parent == 0)?;
        let mut index = enter(first, b"/");
        for end in 1..=path.len() {
            if end > 1 && (end == path.len() || path[end] == b'/') {
                index = enter(index, &path[..end]);
            }
        }
        Some(index)
    }

    /// Tables as a kernel could make them: every mount is made where a path led at that time.
    fn possible_table(points: &[usize]) -> Vec<Mount> {
        const POINTS: [&str; 6] = ["/a", "/a/b", "/a/b/c", "/ab", "/d", "/"];
        let mut mounts = table(b"1 0 8:1 / / rw - ext4 root rw\n");
        for (number, point) in points.iter().enumerate() {
            let point = POINTS[*point];
            let parent = mounts[walk(&mounts, point.as_bytes()).unwrap()].id;
            let id = number + 2;
            let line = format!("{id} {parent} 8:{id} / {point} rw - ext4 x rw\n");
            mounts.extend(table(line.as_bytes()));
        }
        mounts
    }

    proptest! {
        #[test]
        fn parse_never_panics(line: Vec<u8>) {
            let _ = parse(&line);
        }

        #[test]
        fn a_mount_is_chosen_where_its_path_leads_to_it(points in prop::collection::vec(0..6usize, 0..12)) {
            let mounts = possible_table(&points);
            let expected: Vec<_> = (0..mounts.len())
                .filter(|index| walk(&mounts, &mounts[*index].point) == Some(*index))
                .map(|index| mounts[index].id)
                .collect();
            let chosen: Vec<_> = choose(mounts).iter().map(|mount| mount.id).collect();
            prop_assert_eq!(chosen, expected);
        }

        #[test]
        fn no_table_makes_choose_panic_or_run_forever(
            lines in prop::collection::vec((0..5u32, 0..5u32, 0..3u32, "(/[ab]?){1,3}"), 0..12)
        ) {
            let mounts = lines.into_iter().map(|(id, parent, device, point)| Mount {
                id,
                parent,
                device: (0, device),
                point: point.into_bytes(),
                kind: Kind::MayHang,
                type_name: "x".into(),
                read_only: false,
                source: Vec::new(),
                root_length: 1,
            });
            let chosen = choose(mounts.collect());
            let points: HashSet<_> = chosen.iter().map(|mount| &mount.point).collect();
            prop_assert_eq!(points.len(), chosen.len());
        }
    }
}
