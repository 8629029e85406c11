//! Recorded and odd files, and whole hosts.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

const CPUINFO: &[u8] = include_bytes!("../../../../tests/fixtures/proc/cpuinfo");
const OS_RELEASE: &[u8] = include_bytes!("../../../../tests/fixtures/root/usr/lib/os-release");

fn os_release(text: &[u8]) -> String {
    let mut os = String::from("before");
    parse_os_release(text, &mut os);
    os
}

fn cpus(text: &[u8]) -> (u32, String) {
    let mut cpus = Cpus::default();
    let mut model = String::new();
    lines(text).for_each(|line| cpus.line(line, &mut model));
    (cpus.count, model)
}

fn write(path: PathBuf, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn everything_comes_from_the_roots() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(root.join("proc/sys/kernel/ostype"), b"Linux\n");
    write(root.join("proc/sys/kernel/osrelease"), b"6.1.0-28-amd64\n");
    write(root.join("proc/sys/kernel/hostname"), b"the-container\n");
    write(root.join("etc/hostname"), b"# comment\n\ndb-1\n");
    write(
        root.join("proc/meminfo"),
        b"MemTotal:       49368172 kB\nMemFree: 1 kB\n",
    );
    write(root.join("proc/cpuinfo"), CPUINFO);
    write(root.join("usr/lib/os-release"), OS_RELEASE);
    write(root.join("sys/class/dmi/id/sys_vendor"), b"Dell Inc.\n");
    write(root.join("sys/class/dmi/id/product_serial"), b"7\xff7\n");
    write(
        root.join("sys/firmware/devicetree/base/model"),
        b"A Board\0",
    );
    let roots = Roots {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.to_owned(),
    };
    let mut context = Context::new();
    let mut probe = SysInfo::open(&roots, &mut context).unwrap();
    let expected = serde_json::json!({
        "status": 0,
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "Linux 6.1.0-28-amd64",
        "hostname": "db-1",
        "cpu_model": "Intel(R) Xeon(R) Processor",
        "cpu_count": 2,
        "ram": 49368172,
        "vendor": "Dell Inc.",
        "product": "A Board",
        "serial": "7\u{fffd}7",
    });
    // Twice: the texts are reused.
    for _ in 0..2 {
        let data = probe.sample(&mut context).unwrap();
        assert_eq!(serde_json::to_value(data).unwrap(), expected);
    }
    write(root.join("etc/os-release"), b"PRETTY_NAME=Alpine");
    assert_eq!(probe.sample(&mut context).unwrap().os, "Alpine");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let roots = Roots {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.to_owned(),
    };
    let sample = || {
        let mut context = Context::new();
        let mut probe = SysInfo::open(&roots, &mut context)?;
        Ok::<_, ProbeError>(serde_json::to_value(probe.sample(&mut context)?).unwrap())
    };
    let error = sample().unwrap_err().to_string();
    assert!(error.contains("proc: "), "{error}");
    write(root.join("proc/meminfo"), b"MemTotal: 7 kB\n");
    assert_eq!(
        sample().unwrap(),
        serde_json::json!({"status": 0, "ram": 7})
    );
    // Cut, and a file that never answers.
    write(root.join("proc/meminfo"), b"MemTotal:       49368172");
    write(root.join("proc/sys/kernel/osrelease"), b"6.1.0\n");
    write(root.join("proc/cpuinfo"), b"processor : 0\nprocess");
    let fifo = root.join("proc/sys/kernel/ostype");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        sample().unwrap(),
        serde_json::json!({"status": 0, "kernel": "6.1.0"})
    );
}

#[test]
fn a_watched_host_has_no_name_of_the_watchers() {
    let tree = tempfile::tempdir().unwrap();
    let procfs = tree.path();
    write(procfs.join("sys/kernel/hostname"), b"the-container\n");
    write(procfs.join("sys/kernel/osrelease"), b"6.1.0\n");
    let roots = Roots {
        procfs: procfs.to_owned(),
        sysfs: procfs.to_owned(),
        ..Roots::default()
    };
    let mut context = Context::new();
    let mut probe = SysInfo::open(&roots, &mut context).unwrap();
    let data = probe.sample(&mut context).unwrap();
    assert_eq!((data.hostname.as_str(), data.os.as_str()), ("", ""));
    write(procfs.join("1/root/etc/hostname"), b"the-host\n");
    write(
        procfs.join("1/root/etc/os-release"),
        b"PRETTY_NAME=Alpine\n",
    );
    let data = probe.sample(&mut context).unwrap();
    assert_eq!(
        (data.hostname.as_str(), data.os.as_str()),
        ("the-host", "Alpine")
    );
}

#[test]
fn links_of_a_watched_host_lead_to_its_own_files() {
    let tree = tempfile::tempdir().unwrap();
    let ours = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(root.join("proc/meminfo"), b"MemTotal: 7 kB\n");
    write(root.join("proc/1/root/persist/hostname"), b"by-process\n");
    write(root.join("persist/hostname"), b"by-rootfs\n");
    write(root.join("opt/os/os-release"), b"PRETTY_NAME=Theirs\n");
    write(ours.path().join("persist/hostname"), b"ours\n");
    write(ours.path().join("os-release"), b"PRETTY_NAME=Ours\n");
    let link = |target: &Path, at: &str| {
        fs::create_dir_all(root.join(at).parent().unwrap()).unwrap();
        let _ = fs::remove_file(root.join(at));
        std::os::unix::fs::symlink(target, root.join(at)).unwrap();
    };
    link(Path::new("/persist/hostname"), "etc/hostname");
    link(Path::new("/persist/hostname"), "proc/1/root/etc/hostname");
    link(Path::new("/opt/os"), "usr/lib");
    link(Path::new("../usr/lib/os-release"), "etc/os-release");
    let sample = |rootfs: &Path| {
        let roots = Roots {
            procfs: root.join("proc"),
            sysfs: root.join("sys"),
            rootfs: rootfs.to_owned(),
        };
        let mut context = Context::new();
        let mut probe = SysInfo::open(&roots, &mut context).unwrap();
        let data = probe.sample(&mut context).unwrap();
        (data.hostname.clone(), data.os.clone())
    };
    assert_eq!(sample(root), ("by-rootfs".into(), "Theirs".into()));
    assert_eq!(sample(Path::new("/")), ("by-process".into(), "".into()));
    // What is there for this process only is not the host's.
    link(&ours.path().join("persist/hostname"), "etc/hostname");
    link(&ours.path().join("os-release"), "etc/os-release");
    let (hostname, os) = sample(root);
    assert_eq!((hostname.as_str(), os.as_str()), ("", "Theirs"));
}

#[test]
fn addresses_beyond_the_bound_are_counted() {
    let roots = Roots::default();
    let mut probe = SysInfo::open(&roots, &mut Context::new()).unwrap();
    let addresses = |count: u8| (0..count).map(|n| IpAddr::from([192, 0, 2, n]));
    for (count, omitted) in [(64, None), (67, Some(3)), (1, None)] {
        probe.data.addresses.clear();
        write_addresses(&mut probe.data, addresses(count));
        assert_eq!(probe.data.addresses_omitted, omitted);
        let listed = probe.data.addresses.split(' ').count();
        assert_eq!(listed, MAX_ADDRESSES.min(count.into()));
    }
}

#[test]
fn an_os_name_may_be_quoted() {
    assert_eq!(os_release(b"PRETTY_NAME='A B'\n"), "A B");
    assert_eq!(
        os_release(b"PRETTY_NAME=\"A \\\"B\\\" \\\\ \\$C\"\n"),
        "A \"B\" \\ $C"
    );
    assert_eq!(os_release(b"NAME=A\n"), "");
    assert_eq!(os_release(b""), "");
    assert_eq!(
        os_release(&[b"PRETTY_NAME=", &[b'x'; 999][..]].concat()).len(),
        MAX_TEXT
    );
}

#[test]
fn the_model_is_found_on_other_architectures() {
    let arm = b"processor\t: 0\nCPU part\t: 0xd08\n\nprocessor\t: 1\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B\n";
    assert_eq!(cpus(arm), (2, "Raspberry Pi 4 Model B".into()));
    let power = b"processor\t: 0\ncpu\t\t: POWER9\n";
    assert_eq!(cpus(power), (1, "POWER9".into()));
    assert_eq!(cpus(b"\0\xff:\n::\n"), (0, String::new()));
}

#[test]
fn cut_texts_never_give_another_number() {
    for cut in 0..CPUINFO.len() {
        assert!(cpus(&CPUINFO[..cut]).0 <= 2);
    }
    let meminfo = b"MemTotal:       49368172 kB\n";
    for cut in 0..meminfo.len() {
        assert!(parse_ram(&meminfo[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn only_addresses_that_others_can_reach_are_told() {
    let told = |text: &str| is_reachable(&text.parse().unwrap());
    assert!(told("192.0.2.7") && told("2001:db8::7"));
    for hidden in ["127.0.0.1", "169.254.1.1", "::1", "fe80::1"] {
        assert!(!told(hidden), "{hidden}");
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text: Vec<u8>) {
        let _ = os_release(&text);
        let _ = cpus(&text);
        let _ = parse_ram(&text);
    }
}
