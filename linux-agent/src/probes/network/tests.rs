//! The text of the table, rates, and interfaces that come and go.

use super::*;
use proptest::prelude::*;
use std::fs;

const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/proc/net/dev");
const SECOND: Duration = Duration::from_secs(1);

fn parsed(text: &[u8]) -> Result<Vec<(Vec<u8>, Traffic)>, Malformed> {
    let mut all = Vec::new();
    parse(text, |name, traffic| all.push((name.to_vec(), traffic)))?;
    Ok(all)
}

fn with_header(lines: &[u8]) -> Vec<u8> {
    [b"Inter-|   Receive\n face |bytes\n", lines].concat()
}

#[test]
fn a_recorded_file() {
    let all = parsed(RECORDED).unwrap();
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b"lo".as_slice(), b"ifb0", b"ifb1", b"eth0"]);
    let received = Direction {
        bytes: 92_654_599,
        packets: 5221,
        errors: 1,
        drops: 2,
    };
    let sent = Direction {
        bytes: 422_590,
        packets: 3675,
        errors: 7,
        drops: 8,
    };
    assert_eq!(all[3].1, Traffic { received, sent });
}

#[test]
fn odd_names() {
    let all = parsed(&with_header(
        b"eth0:1:5 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n\
          a\xff:5 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n\
          fifteen-bytes-x: 5 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
    ))
    .unwrap();
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b"eth0:1".as_slice(), b"a\xff", b"fifteen-bytes-x"]);
    assert!(all.iter().all(|(_, traffic)| traffic.received.bytes == 5));
}

#[test]
fn a_cut_file_gives_fewer_interfaces_and_never_other_numbers() {
    let whole = parsed(RECORDED).unwrap();
    for cut in 0..RECORDED.len() {
        let part = &RECORDED[..cut];
        let lines = part.iter().filter(|byte| **byte == b'\n').count();
        let expected = lines.checked_sub(2).map(|interfaces| &whole[..interfaces]);
        assert_eq!(parsed(part).ok().as_deref(), expected, "cut at {cut}");
    }
}

#[test]
fn a_line_of_something_else_is_counted_and_hides_no_other() {
    for line in [
        "\n",
        "lo\n",
        ": 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
        "lo: 1 2 3 4 0 0 0 0 5 6 7\n",
        "lo: 1 2 3 x 0 0 0 0 5 6 7 8 0 0 0 0\n",
        "lo: -1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
        "a\n lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
    ] {
        let file = with_header(line.as_bytes());
        if !line.contains(" lo") {
            assert!(parsed(&file).is_err(), "{line:?} alone");
        }
        let good = b"eth0: 5 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        let mut names = Vec::new();
        let odd = parse(&[&file[..], good].concat(), |name, _| {
            names.push(name.to_vec())
        });
        assert_eq!(odd, Ok(1), "{line:?}");
        assert_eq!(names.last().unwrap(), b"eth0", "{line:?}");
    }
    assert!(parsed(b"").is_err());
    assert!(parsed(b"\0\xff\n\n\n").is_err());
}

#[test]
fn rates_have_units_and_none_goes_backwards() {
    let before = Traffic {
        received: Direction {
            bytes: 1000,
            packets: 10,
            errors: 5,
            drops: 0,
        },
        sent: Direction::default(),
    };
    let mut now = before;
    now.received.bytes += 3072;
    now.received.packets += 3;
    now.sent.bytes = 100;
    now.received.errors = 9;
    let data = rates(&now, &before, 2 * SECOND, &InterfaceLink::default()).unwrap();
    assert_eq!((data.t_in, data.t_out), (1.5, 0.05));
    assert_eq!((data.packets_in, data.packets_out), (1.5, 0.0));
    assert_eq!((data.errors_in, data.drops_in), (2.0, 0.0));
    assert_eq!(
        rates(&now, &before, Duration::ZERO, &InterfaceLink::default()),
        None
    );
    now.received.errors = 4;
    assert_eq!(
        rates(&now, &before, 2 * SECOND, &InterfaceLink::default()),
        None,
        "all or nothing"
    );
}

/// A procfs of which only this file exists, and the probe on it.
struct Bench {
    roots: Roots,
    context: Context,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(path: &str, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench {
            roots: Roots {
                procfs: folder.path().to_owned(),
                ..Roots::default()
            },
            context: Context::new(),
            _folder: folder,
        };
        bench.write(path, lines);
        bench
    }

    fn write(&self, path: &str, lines: &str) {
        let path = self.roots.procfs.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, with_header(lines.as_bytes())).unwrap();
    }
}

fn line(name: &str, bytes: u64) -> String {
    format!("{name}: {bytes} 0 0 0 0 0 0 0 {bytes} 0 0 0 0 0 0 0\n")
}

#[test]
fn interfaces_come_and_go() {
    let mut bench = Bench::new("net/dev", &(line("a", 0) + &line("b", 0)));
    let mut network = Network::open(&bench.roots, &mut bench.context).unwrap();
    let mut sample = |lines: &str| {
        bench.write("net/dev", lines);
        bench.context.now += SECOND;
        let items = network.sample(&mut bench.context).ok()?;
        let rates = items
            .iter()
            .map(|(name, data)| (name.to_owned(), data.t_in));
        Some(rates.collect::<Vec<_>>())
    };
    let rates = sample(&(line("new", 1 << 20) + &line("b", 1024)));
    assert_eq!(rates, Some(vec![("b".to_owned(), 1.0)]));
    assert_eq!(sample("junk\n"), None);
    let rates = sample(&(line("b", 5120) + &line("new", 1 << 10)));
    let expected = vec![("b".to_owned(), 2.0)];
    assert_eq!(rates, Some(expected), "over two seconds");
    let rates = sample(&(line("b", 5119) + &line("new", 1 << 9)));
    assert_eq!(rates, None, "all went backwards");
    let rates = sample(&(line("b", 6143) + &line("new", 1 << 9)));
    let expected = vec![("b".to_owned(), 1.0), ("new".to_owned(), 0.0)];
    assert_eq!(rates, Some(expected));
}

#[test]
fn what_does_not_fit_is_counted() {
    for (interfaces, reported, omitted) in [(500, 500, 0), (600, 512, 88)] {
        let lines: String = (0..interfaces)
            .map(|i| line(&format!("veth{i}"), i))
            .collect();
        let mut bench = Bench::new("net/dev", &lines);
        let mut network = Network::open(&bench.roots, &mut bench.context).unwrap();
        bench.context.now += SECOND;
        let items = network.sample(&mut bench.context).unwrap();
        assert_eq!((items.iter().count(), items.omitted()), (reported, omitted));
    }
}

#[test]
fn another_hosts_procfs_is_asked_for_its_first_process() {
    let mut bench = Bench::new("net/dev", &line("mine", 0));
    bench.write("1/net/dev", &line("theirs", 0));
    let mut network = Network::open(&bench.roots, &mut bench.context).unwrap();
    bench.context.now += SECOND;
    let items = network.sample(&mut bench.context).unwrap();
    assert_eq!(items.iter().map(|(name, _)| name).next(), Some("theirs"));
}

proptest! {
    #[test]
    fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
        let _ = parsed(&text);
        let _ = parsed(&[&RECORDED[..cut], &text].concat());
    }
}

/// The link is there from the first report on, and gone where nobody knows it.
#[test]
fn the_link_stands_beside_the_rates() {
    let mut bench = Bench::new("net/dev", &(line("a", 0) + &line("b", 0)));
    let folder = bench.roots.procfs.join("sys/class/net/a");
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in [
        ("operstate", "up\n"),
        ("carrier", "1\n"),
        ("speed", "1000\n"),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
    bench.roots.sysfs = bench.roots.procfs.join("sys");
    let mut network = Network::open(&bench.roots, &mut bench.context).unwrap();
    let mut sample = || {
        bench.context.now += SECOND;
        let items = network.sample(&mut bench.context).unwrap();
        let known = items
            .iter()
            .map(|(_, it)| (it.link, it.carrier, it.speed_mbit));
        known.collect::<Vec<_>>()
    };
    let up = (Some("up"), Some(1), Some(1000));
    // On a busy machine the thread may be late.
    let mut known = sample();
    while known[0].0.is_none() {
        known = sample();
    }
    assert_eq!(known, [up, (None, None, None)]);
}
