//! Lines of mount tables, and which of their mounts are chosen.

use super::*;
use proptest::prelude::*;

const RECORDED: &[u8] = include_bytes!("../../../../../tests/fixtures/proc/self/mountinfo");

fn table(text: &[u8]) -> Vec<Mount> {
    let lines = crate::probes::kit::file::lines(text);
    lines.map(|line| parse(line).unwrap()).collect()
}

fn chosen(text: &str) -> Vec<(String, MountKind)> {
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
        kind: MountKind::Local,
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
        ("/".to_owned(), MountKind::LocalVolumes),
        ("/mnt/disk".to_owned(), MountKind::Local),
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
    let local = |point: &str| (point.to_owned(), MountKind::Local);
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
    let hangs = |point: &str| (point.to_owned(), MountKind::MayHang);
    let root = ("/".to_owned(), MountKind::LocalVolumes);
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
            kind: MountKind::MayHang,
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
