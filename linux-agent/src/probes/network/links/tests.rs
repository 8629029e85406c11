//! The texts of the three files, and the thread that reads them.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

fn link(state: &'static str, carrier: Option<u8>, speed_mbit: Option<u32>) -> InterfaceLink {
    InterfaceLink {
        state: Some(state),
        carrier,
        speed_mbit,
    }
}

#[test]
fn what_the_kernel_writes() {
    let gigabit = link("up", Some(1), Some(1000));
    assert_eq!(InterfaceLink::parse(b"up\n", b"1\n", b"1000\n"), gigabit);
    let virtio = link("up", Some(1), None);
    assert_eq!(InterfaceLink::parse(b"up\n", b"1\n", b"-1\n"), virtio);
    let unplugged = link("down", Some(0), None);
    assert_eq!(
        InterfaceLink::parse(b"down\n", b"0\n", b"4294967295\n"),
        unplugged
    );
    // Down: neither can be read.
    assert_eq!(
        InterfaceLink::parse(b"down\n", b"", b""),
        link("down", None, None)
    );
    for state in STATES {
        let text = format!("{state}\n");
        assert_eq!(
            InterfaceLink::parse(text.as_bytes(), b"", b"").state,
            Some(state)
        );
    }
}

#[test]
fn what_it_never_writes_is_not_known() {
    for text in [
        "",
        "\n",
        "1",
        "up",
        "UP\n",
        " up\n",
        "2\n",
        "-2\n",
        "1 \n",
        "0x1\n",
        "\0\n",
        "99999999999999999999\n",
    ] {
        let text = text.as_bytes();
        let known = InterfaceLink::parse(text, text, text);
        // 2 Mbit/s is a speed.
        let slow = (text == b"2\n").then_some(2);
        let expected = InterfaceLink {
            speed_mbit: slow,
            ..InterfaceLink::default()
        };
        assert_eq!(known, expected, "{text:?}");
    }
}

/// A sysfs, and what is known of its links.
struct Bench {
    folder: tempfile::TempDir,
    links: Links,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        let links = Links::new(&roots).unwrap();
        Bench {
            folder,
            links,
            now: Instant::now(),
        }
    }

    fn write(&self, name: &str, file: &str, text: &str) {
        let folder = self.folder.path().join("class/net").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    /// What is known if it is asked at once. On a busy machine the thread may be late.
    fn links(&mut self, names: &[&str]) -> Vec<InterfaceLink> {
        let bytes = || names.iter().map(|name| name.as_bytes());
        loop {
            self.links.refresh(self.now, true, bytes());
            if self.links.asked.known(self.now).is_some() {
                return bytes().map(|name| self.links.of(self.now, name)).collect();
            }
        }
    }
}

#[test]
fn links_are_found_by_name() {
    let mut bench = Bench::new();
    bench.write("a", "operstate", "up\n");
    bench.write("a", "carrier", "1\n");
    bench.write("a", "speed", "2500\n");
    bench.write("b", "operstate", "down\n");
    let a = link("up", Some(1), Some(2500));
    let b = link("down", None, None);
    assert_eq!(
        bench.links(&["b", "a", "c"]),
        [b, a, InterfaceLink::default()]
    );
    for (name, link) in [
        ("a", a),
        ("a", a),
        ("c", InterfaceLink::default()),
        ("b", b),
        ("d", InterfaceLink::default()),
    ] {
        assert_eq!(bench.links.of(bench.now, name.as_bytes()), link);
    }
    bench.write("a", "operstate", "dormant\n");
    let a = link("dormant", Some(1), Some(2500));
    assert_eq!(bench.links(&["a", "b"]), [a, b]);
}

#[test]
fn odd_files_are_not_known_and_odd_names_lead_nowhere() {
    let mut bench = Bench::new();
    bench.write("a", "operstate", &"up\n".repeat(1 << 20));
    bench.write("a", "speed", &"1".repeat(1 << 20));
    fs::create_dir(bench.folder.path().join("class/net/a/carrier")).unwrap();
    bench.write("b", "operstate", "up\n");
    let b = bench.folder.path().join("class/net/b");
    std::os::unix::fs::symlink("/dev/zero", b.join("carrier")).unwrap();
    nix::unistd::mkfifo(&b.join("speed"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(bench.folder.path().join("class/operstate"), "up\n").unwrap();
    let names = [
        "a",
        "b",
        "..",
        ".",
        "",
        "../net/b",
        "a name that is too long",
        "b\0",
    ];
    let known = bench.links(&names);
    let up = link("up", None, None);
    assert_eq!(known[..2], [up, up]);
    assert_eq!(known[2..], [InterfaceLink::default(); 6]);
}

#[test]
fn no_link_of_ours_is_shown_for_another_host() {
    let of = |procfs: &str, sysfs: &str| {
        Links::new(&Roots {
            procfs: procfs.into(),
            sysfs: sysfs.into(),
            rootfs: Path::new("/").into(),
        })
    };
    assert!(of("/proc", "/sys").is_some());
    assert!(of("/hostproc", "/sys").is_none());
    assert!(of("/hostproc", "/hostsys").is_some());
}

proptest! {
    #[test]
    fn junk_never_panics(state: Vec<u8>, carrier: Vec<u8>, speed: Vec<u8>) {
        InterfaceLink::parse(&state, &carrier, &speed);
    }
}
