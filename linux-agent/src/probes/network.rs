//! `GetNetworkStatus`: traffic of each interface, from `/proc/net/dev` (proc_pid_net(5)), in counts
//! since the interface came up:
//!
//! ```text
//! Inter-|   Receive                                                |  Transmit
//!  face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo …
//!     lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0 …
//! ```
//!
//! Old kernels glue the first number to the colon.

use std::time::{Duration, Instant};

use mote_core::Envelope;
use serde::Serialize;

use super::kit::counters::Counters;
use super::kit::items::{Items, MAX_ITEMS};
use super::kit::rate::{per_second, per_second_of};
use super::kit::scan::Scan;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// Traffic of one interface since this service's last sample, two decimals: what a counter grew by,
/// over the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InterfaceData {
    /// Received, KiB/s.
    t_in: f64,
    /// Sent, KiB/s.
    t_out: f64,
    /// Packets received a second.
    packets_in: f64,
    /// Packets sent a second.
    packets_out: f64,
    /// Errors while receiving, a second.
    errors_in: f64,
    /// Errors while sending, a second.
    errors_out: f64,
    /// Packets dropped while receiving, a second.
    drops_in: f64,
    /// Packets dropped while sending, a second.
    drops_out: f64,
}

/// Counts since the interface came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    received: Direction,
    sent: Direction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Direction {
    bytes: u64,
    packets: u64,
    errors: u64,
    drops: u64,
}

/// Calls `each` with the name and the counts of every interface, and gives how many lines are of
/// something else. A last line without its newline was cut and is left out.
pub fn parse(text: &[u8], mut each: impl FnMut(&[u8], Traffic)) -> Result<usize, Malformed> {
    let mut scan = Scan::new(text);
    let header = scan.rest().starts_with(b"Inter-|") && scan.next_line() && scan.next_line();
    if !header {
        return Err(Malformed("header of two lines"));
    }
    let (mut found, mut odd) = (0, 0);
    while !scan.rest().is_empty() {
        let line = interface(&mut scan);
        if !scan.next_line() {
            break;
        }
        match line {
            Some((name, traffic)) => {
                found += 1;
                each(name, traffic);
            }
            None => odd += 1,
        }
    }
    if found == 0 && odd > 0 {
        return Err(Malformed("line of an interface"));
    }
    Ok(odd)
}

fn interface<'a>(line: &mut Scan<'a>) -> Option<(&'a [u8], Traffic)> {
    line.blanks();
    let name = name(line.rest())?;
    line.expect(name)?;
    line.expect(b":")?;
    let received = direction(line)?;
    for _fifo_frame_compressed_multicast in 0..4 {
        line.number()?;
    }
    let sent = direction(line)?;
    Some((name, Traffic { received, sent }))
}

/// What stands before the last colon: a name has at most 15 bytes, and on old kernels colons.
fn name(line: &[u8]) -> Option<&[u8]> {
    let start = line.get(..16).unwrap_or(line);
    let length = start.iter().rposition(|byte| *byte == b':')?;
    let name = start.get(..length)?;
    let odd = name.is_empty() || name.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
    (!odd).then_some(name)
}

fn direction(line: &mut Scan<'_>) -> Option<Direction> {
    Some(Direction {
        bytes: line.number()?,
        packets: line.number()?,
        errors: line.number()?,
        drops: line.number()?,
    })
}

/// `None` if a counter went backwards: an interface is reported whole or not at all.
fn rates(now: &Traffic, before: &Traffic, elapsed: Duration) -> Option<InterfaceData> {
    let kib = |now, before| per_second_of(now, before, elapsed, 1.0 / 1024.0);
    let count = |now, before| per_second(now, before, elapsed);
    let (received, sent) = (&now.received, &now.sent);
    let (received_before, sent_before) = (&before.received, &before.sent);
    Some(InterfaceData {
        t_in: kib(received.bytes, received_before.bytes)?,
        t_out: kib(sent.bytes, sent_before.bytes)?,
        packets_in: count(received.packets, received_before.packets)?,
        packets_out: count(sent.packets, sent_before.packets)?,
        errors_in: count(received.errors, received_before.errors)?,
        errors_out: count(sent.errors, sent_before.errors)?,
        drops_in: count(received.drops, received_before.drops)?,
        drops_out: count(sent.drops, sent_before.drops)?,
    })
}

/// The probe: `/proc/net/dev`, open, and the last reading.
pub(crate) struct Network {
    file: SourceFile,
    counters: Counters<Traffic>,
    items: Items<InterfaceData>,
    read_at: Instant,
}

impl Sample for Network {
    /// Opens the file and takes the baseline.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut network = Network {
            file: roots.open_of_process("net/dev")?,
            counters: Counters::new(MAX_ITEMS),
            items: Items::new(MAX_ITEMS),
            read_at: context.now,
        };
        ProbeError::unless_nothing_known(network.sample(context))?;
        Ok(network)
    }

    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(self.sample(context)?.encode(envelope, buffer)?)
    }
}

impl Network {
    /// The rates since the last sample. An interface has none at its first sight, nor where a counter
    /// went backwards: it is left out of that sample. Those that do not fit or cannot be read are counted.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<InterfaceData>, ProbeError> {
        let text = self.file.read_short(&mut context.scratch)?;
        let elapsed = context.now.saturating_duration_since(self.read_at);
        let (counters, items) = (&mut self.counters, &mut self.items);
        counters.start();
        items.clear();
        let mut left_out = false;
        let parsed = parse(text, |name, traffic| {
            let before = counters.before(name);
            if !counters.keep(name, traffic) {
                return items.omit(1);
            }
            match before.and_then(|before| rates(&traffic, &before, elapsed)) {
                Some(data) => items.push(name, data),
                None => left_out = true,
            }
        });
        match parsed {
            Ok(odd) => items.omit(odd),
            Err(malformed) => {
                counters.undo();
                return Err(self.file.malformed(malformed));
            }
        }
        self.read_at = context.now;
        if left_out && items.is_empty() {
            return Err(ProbeError::NothingKnown);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/net/dev");
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
        let data = rates(&now, &before, 2 * SECOND).unwrap();
        assert_eq!((data.t_in, data.t_out), (1.5, 0.05));
        assert_eq!((data.packets_in, data.packets_out), (1.5, 0.0));
        assert_eq!((data.errors_in, data.drops_in), (2.0, 0.0));
        assert_eq!(rates(&now, &before, Duration::ZERO), None);
        now.received.errors = 4;
        assert_eq!(rates(&now, &before, 2 * SECOND), None, "all or nothing");
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
}
