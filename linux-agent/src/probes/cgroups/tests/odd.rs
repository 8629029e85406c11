//! Many groups, and odd files and names.

use super::*;
use crate::probes::kit::Sampler;

#[test]
fn thousands_of_groups_are_bounded() {
    let mut bench = Bench::new();
    for n in 0..3000 {
        bench.write(&format!("s{n:04}.service/pids.current"), "1\n");
    }
    bench.open();
    let (all, omitted) = bench.sample(SECOND);
    assert_eq!(all.len(), MAX_REPORTED + 1);
    assert_eq!(omitted, 3000 - MAX_REPORTED);
    let read = MAX_GROUPS - MAX_REPORTED;
    assert_eq!(all[OTHERS].tasks, Some(read as u64));
}

#[test]
fn odd_files_and_names_hide_no_other() {
    use std::os::unix::ffi::OsStrExt;
    let mut bench = Bench::new();
    bench.group("good.service", 0, 5);
    bench.group("a\nb \"c\".service", 0, 5);
    for name in [b"x\xff.service".as_slice(), b"x\xfe.service"] {
        let folder = bench.path("").join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("pids.current"), "1\n").unwrap();
    }
    fs::create_dir(bench.path("empty.service")).unwrap();
    let junk: String = ('\u{1}'..'\u{7f}').cycle().take(9999).collect();
    for (n, text) in [
        "",
        "\n",
        "-1\n",
        "x\n",
        "1",
        &junk,
        &"9".repeat(1 << 20),
        "99999999999999999999\n",
    ]
    .iter()
    .enumerate()
    {
        for file in [
            "cpu.stat",
            "cpu.max",
            "memory.current",
            "memory.stat",
            "memory.events",
            "io.stat",
            "pids.current",
        ] {
            bench.write(&format!("junk{n}.service/{file}"), text);
        }
        fs::remove_file(bench.path(&format!("junk{n}.service/io.stat"))).unwrap();
    }
    // What never ends, what nobody writes, and what leads back.
    fs::create_dir(bench.path("odd.service")).unwrap();
    let symlink = |to: &str, file: &str| std::os::unix::fs::symlink(to, bench.path(file)).unwrap();
    symlink("/dev/zero", "odd.service/cpu.stat");
    symlink("..", "odd.service/loop.service");
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&bench.path("odd.service/pids.current"), mode).unwrap();
    bench.open();
    let (all, omitted) = bench.sample(SECOND);
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "a\nb \"c\".service",
            "good.service",
            "x\u{fffd}.service",
            "x\u{fffd}.service #2"
        ]
    );
    // The empty one, the odd one, and those of junk.
    assert_eq!(omitted, 10);
    // They come to their senses.
    bench.group("junk0.service", 5, 5);
    bench.sample(SECOND);
    assert!(bench.sample(SECOND).0.contains_key("junk0.service"));
}

#[test]
fn without_a_hierarchy_there_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots {
        sysfs: folder.path().to_owned(),
        ..Roots::default()
    };
    let error = Cgroups::open(&roots, &mut Context::new()).err().unwrap();
    let sentence = error.to_string();
    assert!(
        sentence.ends_with("fs/cgroup: needs a mounted hierarchy of cgroups, of version 2 or 1"),
        "{sentence}"
    );
}

/// Long names, and numbers with as many digits as there are.
#[test]
fn the_largest_report_fits() {
    let mut bench = Bench::new();
    for n in 0..60 {
        let path = format!("{}{n:03}.service", "\u{1}".repeat(240));
        bench.group(&path, 0, u64::MAX);
        bench.write(&format!("{path}/io.stat"), "8:0 rbytes=0 wbytes=0\n");
    }
    bench.open();
    for n in 0..60 {
        let path = format!("{}{n:03}.service", "\u{1}".repeat(240));
        bench.group(&path, u64::MAX, u64::MAX);
        let most = u64::MAX;
        bench.write(
            &format!("{path}/io.stat"),
            &format!("8:0 rbytes={most} wbytes={most}\n"),
        );
    }
    bench.context.now += 7 * SECOND;
    let envelope = mote_core::Envelope {
        client_id: mote_core::ClientId::Number(1),
        service_name: "S",
        stamp: mote_core::Stamp::Uptime {
            seconds: 0,
            millis: None,
            age: 0,
            boot: None,
        },
        seq: 0,
    };
    let mut buffer = vec![0; crate::probes::MAX_REPORT];
    let cgroups = bench.cgroups.as_mut().unwrap();
    let length = cgroups
        .report(&mut bench.context, &envelope, &mut buffer)
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
    let kept = report["data"]["data"].as_object().unwrap().len();
    assert!(kept > 30, "{kept}");
}
