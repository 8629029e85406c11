//! The lines of CPUs, and many of them.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/proc/stat");

fn parsed(text: &[u8]) -> Result<(Vec<u32>, usize), Malformed> {
    let mut numbers = Vec::new();
    let odd = parse(text, |number, _| numbers.push(number))?;
    Ok((numbers, odd))
}

#[test]
fn a_recorded_file() {
    let mut all = Vec::new();
    assert_eq!(
        parse(RECORDED, |number, ticks| all.push((number, ticks))),
        Ok(0)
    );
    let numbers: Vec<u32> = all.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1]);
    let second = Ticks::parse(b" 10962 0 4602 93739 660 0 108 236 0 0").unwrap();
    assert_eq!(all[1].1, second);
}

#[test]
fn a_cut_file_gives_fewer_and_never_other_numbers() {
    let mut whole = Vec::new();
    parse(RECORDED, |number, ticks| whole.push((number, ticks))).unwrap();
    for cut in 0..RECORDED.len() {
        let mut part = Vec::new();
        if parse(&RECORDED[..cut], |number, ticks| part.push((number, ticks))).is_ok() {
            assert_eq!(part, whole[..part.len()], "cut at {cut}");
        }
    }
}

#[test]
fn odd_lines_are_counted_and_hide_no_other() {
    for odd in [
        "cpu",
        "cpux 1 2 3 4 5 6 7 8",
        "cpu1 1 2 3",
        "cpu1 1 2 x 4 5 6 7 8",
        "cpu99999999999 1 2 3 4 5 6 7 8",
    ] {
        let text = format!("cpu  9 9 9 9 9 9 9 9\n{odd}\ncpu7 1 2 3 4 5 6 7 8 9 0\n");
        assert_eq!(parsed(text.as_bytes()), Ok((vec![7], 1)), "{odd}");
        assert!(parsed(format!("{odd}\n").as_bytes()).is_err(), "{odd}");
    }
    assert!(parsed(b"").is_err());
    // They come first, or not at all.
    assert!(parsed(b"intr 1\ncpu0 1 2 3 4 5 6 7 8\n").is_err());
}

#[test]
fn what_drivers_write() {
    let facts = Facts::parse(b"3400123\n", b"12\n", b"0\n");
    let expected = Facts {
        frequency_mhz: Some(3400),
        core_throttles: Some(12),
        package_throttles: Some(0),
    };
    assert_eq!(facts, expected);
    assert_eq!(Facts::parse(b"799500\n", b"", b"").frequency_mhz, Some(800));
    for odd in [
        "",
        "0",
        "0\n",
        "<unknown>\n",
        "-1\n",
        "1",
        "1 2\n",
        "99999999999999999999\n",
    ] {
        let odd = odd.as_bytes();
        assert_eq!(Facts::parse(odd, b"", b""), Facts::default(), "{odd:?}");
    }
    assert_eq!(Facts::parse(&[b'9'; 32], b"x", b"1").core_throttles, None);
    let largest = Facts::parse(b"18446744073709551615\n", b"", b"");
    assert_eq!(largest.frequency_mhz, Some(u64::MAX / 1000 + 1));
}

/// A procfs and a sysfs, and the probe on them.
struct Bench {
    roots: Roots,
    context: Context,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(stat: &str) -> (Bench, Cores) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            procfs: folder.path().to_owned(),
            sysfs: folder.path().to_owned(),
            ..Roots::default()
        };
        let mut bench = Bench {
            roots,
            context: Context::new(),
            _folder: folder,
        };
        bench.write("stat", stat);
        let cores = Cores::open(&bench.roots, &mut bench.context).unwrap();
        (bench, cores)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.roots.procfs.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sample(
        &mut self,
        cores: &mut Cores,
        stat: &str,
    ) -> Result<Vec<(String, CoreData)>, ProbeError> {
        self.write("stat", stat);
        self.context.now += Duration::from_secs(1);
        let items = cores.sample(&mut self.context)?;
        Ok(items
            .iter()
            .map(|(name, data)| (name.to_owned(), *data))
            .collect())
    }
}

/// user, system, idle, iowait and steal of each CPU.
fn stat(cores: &[(u32, [u64; 5])]) -> String {
    let mut text = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
    for (number, [user, system, idle, iowait, steal]) in cores {
        writeln!(
            text,
            "cpu{number} {user} 0 {system} {idle} {iowait} 0 0 {steal} 0 0"
        )
        .unwrap();
    }
    text + "intr 1\n"
}

#[test]
fn shares_are_of_the_time_of_each() {
    let (mut bench, mut cores) = Bench::new(&stat(&[(0, [0; 5]), (1, [0; 5])]));
    let all = bench
        .sample(
            &mut cores,
            &stat(&[(0, [30, 10, 50, 0, 10]), (1, [0, 0, 150, 50, 0])]),
        )
        .unwrap();
    let shares: Vec<_> = all
        .iter()
        .map(|(name, it)| (name.as_str(), it.busy_p, it.steal_p))
        .collect();
    assert_eq!(shares, [("cpu0", 50.0, 10.0), ("cpu1", 0.0, 0.0)]);
}

#[test]
fn cores_come_and_go() {
    let (mut bench, mut cores) = Bench::new(&stat(&[(0, [9; 5]), (2, [9; 5])]));
    let mut names = |cores_now: &[(u32, [u64; 5])]| {
        let all = bench.sample(&mut cores, &stat(cores_now)).ok()?;
        Some(all.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    assert_eq!(
        names(&[(0, [10; 5]), (1, [9; 5])]),
        Some(vec!["cpu0".to_owned()]),
        "1 is new, 2 is off"
    );
    let expected = ["cpu1".to_owned()];
    assert_eq!(
        names(&[(0, [10; 5]), (1, [10; 5])]).unwrap(),
        expected,
        "0 stood still"
    );
    assert_eq!(
        names(&[(0, [9; 5]), (1, [10; 5])]),
        None,
        "backwards, and still"
    );
    assert_eq!(names(&[(0, [10; 5]), (1, [11; 5])]).unwrap().len(), 2);
}

#[test]
fn of_many_the_busiest_are_reported() {
    let cores = |busy: &dyn Fn(u32) -> u64| -> Vec<(u32, [u64; 5])> {
        (0..1500)
            .map(|number| (number, [busy(number), 0, 10_000, 0, 0]))
            .collect()
    };
    let (mut bench, mut probe) = Bench::new(&stat(&cores(&|_| 0)));
    // Of those that are counted, 900 and the 127 that follow are the busiest.
    let busy = |number: u32| {
        if number >= 900 {
            5_000 - u64::from(number)
        } else {
            1
        }
    };
    let mut now = cores(&busy);
    now.iter_mut().for_each(|(_, ticks)| ticks[2] = 20_000);
    let all = bench.sample(&mut probe, &stat(&now)).unwrap();
    // The order of equals is that of their numbers.
    let expected: Vec<String> = (900..1024)
        .chain(0..4)
        .map(|number| format!("cpu{number}"))
        .collect();
    let names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, expected);
    assert_eq!(probe.items.omitted(), 1500 - MAX_CORES);
}

#[test]
fn what_sysfs_says_stands_beside_the_shares() {
    let (mut bench, mut cores) = Bench::new(&stat(&[(0, [0; 5]), (11, [0; 5])]));
    bench.write(
        "devices/system/cpu/cpu11/cpufreq/scaling_cur_freq",
        "2100000\n",
    );
    bench.write(
        "devices/system/cpu/cpu11/thermal_throttle/core_throttle_count",
        "3\n",
    );
    bench.write(
        "devices/system/cpu/cpu11/thermal_throttle/package_throttle_count",
        "4\n",
    );
    // On a busy machine the thread may be late.
    let known = (1..).find_map(|n| {
        let all = bench
            .sample(&mut cores, &stat(&[(0, [n; 5]), (11, [n; 5])]))
            .unwrap();
        assert_eq!(all[0].1.frequency_mhz, None);
        let it = all[1].1;
        it.frequency_mhz.is_some().then_some((
            it.frequency_mhz,
            it.core_throttles,
            it.package_throttles,
        ))
    });
    assert_eq!(known, Some((Some(2100), Some(3), Some(4))));
}

proptest! {
    #[test]
    fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
        let _ = parsed(&text);
        let _ = parsed(&[&RECORDED[..cut], &text].concat());
        Facts::parse(&text, &text, &text);
    }
}
