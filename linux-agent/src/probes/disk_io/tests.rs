//! Lines of `/proc/diskstats`, recorded and odd, and rates of disks that come and go.

use super::*;
use proptest::prelude::*;
use std::fs;

const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/proc/diskstats");

fn parsed(text: &[u8]) -> Result<Vec<(Vec<u8>, Work)>, Malformed> {
    let mut all = Vec::new();
    parse(text, |name, work| {
        all.extend(work.map(|work| (name.to_vec(), work)))
    })?;
    Ok(all)
}

#[test]
fn a_recorded_file() {
    let all = parsed(RECORDED).unwrap();
    let (name, work) = &all[2];
    assert_eq!(name, b"vda");
    let expected = Work {
        reads: 35547,
        sectors_read: 4_266_778,
        writes: 4044,
        sectors_written: 4_128_104,
        busy_ms: 9312,
        queue_ms: 36972,
    };
    assert_eq!(*work, expected);
    assert_eq!(parsed(b""), Ok(vec![]));
}

#[test]
fn a_cut_file_gives_fewer_devices_and_never_other_numbers() {
    let whole = parsed(RECORDED).unwrap();
    for cut in 0..RECORDED.len() {
        let part = &RECORDED[..cut];
        let lines = part.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(parsed(part).unwrap(), whole[..lines], "cut at {cut}");
    }
}

#[test]
fn a_line_of_something_else_is_malformed() {
    for line in [
        "\n",
        "8 0\n",
        "8 0 sda 1 2 3 4 5 6 7 8 9 10\n",
        "x 0 sda 1\n",
        "\0\n",
    ] {
        assert!(parsed(line.as_bytes()).is_err(), "{line:?} alone");
        let beside = [line, "8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n"].concat();
        let all = parsed(beside.as_bytes()).unwrap();
        assert_eq!(all.len(), 1, "{line:?}");
        assert_eq!(all[0].0, b"sdb", "{line:?}");
    }
    assert!(parsed(b"8 0 sda 1 2 3 4 5 6 7 8 9 10 -11\n").is_err());
}

#[test]
fn rates_have_units_and_are_all_there_or_none() {
    let before = Work {
        reads: 5,
        ..Work::default()
    };
    let mut now = Work {
        reads: 6,
        sectors_read: 3,
        writes: 5,
        sectors_written: 8,
        busy_ms: 500,
        queue_ms: 5000,
    };
    let data = rates(&now, &before, Duration::from_secs(2)).unwrap();
    assert_eq!((data.reads, data.writes), (0.5, 2.5));
    assert_eq!(data.read_bytes, 768.0);
    assert_eq!(data.written_bytes, 2048.0);
    assert_eq!((data.busy_p, data.queue), (25.0, 2.5));
    let data = rates(&now, &before, Duration::from_millis(499)).unwrap();
    assert_eq!(data.busy_p, 100.0);
    assert_eq!(rates(&now, &before, Duration::ZERO), None);
    now.reads = 4;
    assert_eq!(rates(&now, &before, Duration::from_secs(2)), None);
}

#[test]
fn counters_of_time_begin_anew_after_32_bits() {
    const MAX: u64 = u32::MAX as u64;
    let before = Work {
        busy_ms: MAX - 99,
        queue_ms: MAX - 999,
        ..Work::default()
    };
    let now = Work {
        busy_ms: 400,
        queue_ms: 1000,
        ..Work::default()
    };
    let data = rates(&now, &before, Duration::from_secs(1)).unwrap();
    assert_eq!((data.busy_p, data.queue), (50.0, 2.0));
    // A step backwards is none around the end, nor is it where the kernel has more digits.
    for (now_ms, before_ms) in [(999, 1000), (0, MAX / 2), (1, MAX + 1)] {
        let at = |queue_ms| Work {
            queue_ms,
            ..Work::default()
        };
        let rates = rates(&at(now_ms), &at(before_ms), Duration::from_secs(1));
        assert_eq!(rates, None, "{now_ms} after {before_ms}");
    }
}

fn line(name: &str, reads: u64) -> String {
    format!("8 0 {name} {reads} 0 {reads} 0 0 0 0 0 0 0 0\n")
}

/// The names that are reported, and how many are omitted, after the second of two readings.
fn reported(whole: &[&str], first: &str, second: &str) -> (Vec<String>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots {
        procfs: folder.path().to_owned(),
        sysfs: folder.path().to_owned(),
        ..Roots::default()
    };
    for name in whole {
        fs::create_dir_all(roots.sysfs.join("block").join(name)).unwrap();
    }
    fs::write(roots.procfs.join("diskstats"), first).unwrap();
    let mut context = Context::new();
    let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
    fs::write(roots.procfs.join("diskstats"), second).unwrap();
    context.now += Duration::from_secs(1);
    let items = disk_io.sample(&mut context).unwrap();
    let names = items.iter().map(|(name, _)| name.to_owned()).collect();
    (names, items.omitted())
}

#[test]
fn whole_devices_that_were_seen_before_and_are_no_idle_spares() {
    let whole = ["sda", "cciss!c0d0", "loop0", "loop1", "ram0", "new"];
    let first = ["sda", "sda1", "cciss/c0d0", "loop0", "loop1", "ram0"];
    let first: String = first.map(|name| line(name, 0)).concat();
    let second = line("sda", 0)
        + &line("sda1", 9)
        + &line("cciss/c0d0", 9)
        + &line("loop0", 1)
        + &line("loop1", 0)
        + &line("ram0", 0)
        + &line("new", 9);
    let (names, omitted) = reported(&whole, &first, &second);
    assert_eq!(names, ["sda", "cciss/c0d0", "loop0"]);
    assert_eq!(omitted, 0);
}

#[test]
fn odd_lines_are_counted_unless_they_are_partitions() {
    let first = line("sda", 0) + "8 1 sda1 1 2 3 4\n" + &line("sdb", 0);
    let second = line("sda", 0) + "8 1 sda1 1 2 3 4\n" + "8 16 sdb 1 2\n";
    let (names, omitted) = reported(&["sda", "sdb"], &first, &second);
    assert_eq!((names, omitted), (vec!["sda".to_owned()], 1));
}

#[test]
fn a_device_that_went_backwards_is_left_out_and_of_nothing_else_there_is_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots {
        procfs: folder.path().to_owned(),
        sysfs: folder.path().to_owned(),
        ..Roots::default()
    };
    for name in ["sda", "sdb"] {
        fs::create_dir_all(roots.sysfs.join("block").join(name)).unwrap();
    }
    let diskstats = roots.procfs.join("diskstats");
    fs::write(&diskstats, line("sda", 9) + &line("sdb", 9)).unwrap();
    let mut context = Context::new();
    let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
    let mut sample = |text: String| {
        fs::write(&diskstats, text).unwrap();
        context.now += Duration::from_secs(1);
        let items = disk_io.sample(&mut context)?;
        Ok(items
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>())
    };
    assert_eq!(sample(line("sda", 9) + &line("sdb", 8)).unwrap(), ["sda"]);
    assert!(matches!(
        sample(line("sda", 8) + &line("new", 1)),
        Err(ProbeError::NothingKnown)
    ));
    assert_eq!(sample(line("sda", 8)).unwrap(), ["sda"]);
}

#[test]
fn what_does_not_fit_is_counted() {
    let names: Vec<String> = (0..600).map(|i| format!("sd{i}")).collect();
    let whole: Vec<&str> = names.iter().map(String::as_str).collect();
    let text: String = names
        .iter()
        .map(|name| line(name, 1) + &line(&format!("{name}p1"), 1))
        .collect();
    let (reported_names, omitted) = reported(&whole, &text, &text);
    assert_eq!((reported_names.as_slice(), omitted), (&names[..512], 88));
    // More lines than are known again: the last devices cannot have rates.
    let partitions: String = (0..MAX_LINES).map(|i| line(&format!("p{i}"), 1)).collect();
    let text = partitions + &line("sda", 1);
    assert_eq!(reported(&["sda"], &text, &text), (vec![], 1));
}

#[test]
fn no_devices_are_reported_only_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots {
        procfs: folder.path().to_owned(),
        sysfs: folder.path().to_owned(),
        ..Roots::default()
    };
    fs::create_dir(roots.sysfs.join("block")).unwrap();
    let diskstats = roots.procfs.join("diskstats");
    fs::write(&diskstats, "").unwrap();
    let mut context = Context::new();
    let mut disk_io = DiskIo::open(&roots, &mut context).unwrap();
    assert_eq!(disk_io.sample(&mut context).unwrap().iter().count(), 0);
    fs::create_dir(roots.sysfs.join("block/sda")).unwrap();
    // Twice: the folder is listed from its start each time.
    for _ in 0..2 {
        let error = disk_io.sample(&mut context).err().unwrap().to_string();
        let expected = format!("{}: no valid line of a device", diskstats.display());
        assert_eq!(error, expected);
    }
    fs::remove_dir(roots.sysfs.join("block/sda")).unwrap();
    fs::write(&diskstats, "8 0 sd").unwrap();
    assert!(disk_io.sample(&mut context).is_err(), "cut");
}

proptest! {
    #[test]
    fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
        let _ = parsed(&text);
        let _ = parsed(&[&RECORDED[..cut], &text].concat());
    }
}
