//! What is written into the queue's files: lines that a person can read and damage cannot pass.
//!
//! ```text
//! 17 1795339484886 {"client_id":1,"service_name":"LinuxCPU",…}*1A2B3C4D     a report, its number and when it was queued
//! = 5d1f… 1795330000000 {"unstored":0,"dropped":{…},"below":0}*1A2B3C4D     the head of a segment
//! - 3-17 19-19 {"unstored":0,"dropped":{…},"below":0}*1A2B3C4D              numbers of reports that are done with
//! ```
//!
//! Each line is sealed as one of the serial protocol is ([`mote_core::frame`]), so that a reader is in step again after
//! damage. Times are milliseconds of the queue's own clock ([`QueueClock`](super::chore::QueueClock)).

use std::io::Write;
use std::ops::RangeInclusive;

use mote_core::frame;

use super::totals::Totals;

/// No number, time or count in the files is above this, so sums of a few cannot overflow, and all are exact in
/// JSON.
const MAX_NUMBER: u64 = 1 << 53;

/// No number in a file's name is above this, so that there are always numbers for the reports to come.
const MAX_FIRST: u64 = 1 << 52;

/// A line that is whole.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// A report.
    Report {
        /// Its number; they count up.
        number: u64,
        /// When it was queued.
        at_ms: u64,
        /// The report as it is sent.
        report: &'a [u8],
    },
    /// The head of a segment.
    Head {
        /// Linux's id of its run.
        kernel: &'a str,
        /// The queue's clock minus the uptime in that run, in milliseconds.
        ahead_ms: u64,
        /// The totals when the segment began.
        totals: Totals,
    },
    /// Reports that are done with.
    Done {
        /// Their numbers as text, for [`ranges`].
        numbers: &'a str,
        /// The totals when this line was written.
        totals: Totals,
    },
}

/// Appends the line of a report to `out`. The report holds no newline, since it is JSON without white space.
pub fn write_report(out: &mut Vec<u8>, number: u64, at_ms: u64, report: &[u8]) {
    let start = out.len();
    // Writing to a vector cannot fail; here and below.
    let _ = write!(out, "{number} {at_ms} ");
    out.extend_from_slice(report);
    seal(out, start);
}

/// Appends the head of a segment to `out`.
pub fn write_head(out: &mut Vec<u8>, kernel: &str, ahead_ms: u64, totals: &Totals) {
    let start = out.len();
    let _ = write!(out, "= {kernel} {ahead_ms} ");
    let _ = serde_json::to_writer(&mut *out, totals);
    seal(out, start);
}

/// Appends the numbers of reports that are done with to `out`.
pub fn write_done(
    out: &mut Vec<u8>,
    numbers: impl IntoIterator<Item = RangeInclusive<u64>>,
    totals: &Totals,
) {
    let start = out.len();
    out.extend_from_slice(b"- ");
    for range in numbers {
        let _ = write!(out, "{}-{} ", range.start(), range.end());
    }
    let _ = serde_json::to_writer(&mut *out, totals);
    seal(out, start);
}

/// Reads a line without its newline; `None` if it is not whole.
pub fn read(line: &[u8]) -> Option<Line<'_>> {
    match frame::open(line)? {
        [b'=', b' ', text @ ..] => {
            let (kernel, rest) = std::str::from_utf8(text).ok()?.split_once(' ')?;
            let (ahead_ms, totals) = rest.split_once(' ')?;
            Some(Line::Head {
                kernel,
                ahead_ms: number(ahead_ms)?,
                totals: read_totals(totals)?,
            })
        }
        [b'-', b' ', text @ ..] => {
            let text = std::str::from_utf8(text).ok()?;
            let (numbers, totals) = text.split_at_checked(text.find('{')?)?;
            Some(Line::Done {
                numbers,
                totals: read_totals(totals)?,
            })
        }
        text => {
            let mut parts = text.splitn(3, |byte| *byte == b' ');
            let mut next = || number(std::str::from_utf8(parts.next()?).ok()?);
            Some(Line::Report {
                number: next()?,
                at_ms: next()?,
                report: parts.next()?,
            })
        }
    }
}

/// The number of a report whose line was cut after it.
pub fn number_of_cut(text: &[u8]) -> Option<u64> {
    if read(text).is_some() {
        return None;
    }
    let end = text.iter().position(|byte| *byte == b' ')?;
    number(std::str::from_utf8(text.get(..end)?).ok()?)
}

/// The numbers of a [`Line::Done`].
pub fn ranges(numbers: &str) -> impl Iterator<Item = RangeInclusive<u64>> {
    numbers.split_ascii_whitespace().filter_map(|range| {
        let (first, last) = range.split_once('-')?;
        Some(number(first)?..=number(last)?)
    })
}

/// The number of a file's name.
pub fn first(text: &str) -> Option<u64> {
    number(text).filter(|first| *first <= MAX_FIRST)
}

/// A number of a line.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= MAX_NUMBER)
}

fn read_totals(text: &str) -> Option<Totals> {
    let totals: Totals = serde_json::from_str(text).ok()?;
    let Totals {
        unstored,
        dropped,
        below,
    } = &totals;
    let counts = dropped.reasons().map(|(_, count)| count);
    let mut counts = counts.chain([*unstored, below.unwrap_or_default()]);
    counts.all(|count| count <= MAX_NUMBER).then_some(totals)
}

fn seal(out: &mut Vec<u8>, start: usize) {
    let seal = frame::seal_of(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&seal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Dropped;

    fn whole(out: &[u8]) -> Line<'_> {
        read(out.strip_suffix(b"\n").unwrap()).unwrap()
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        let totals = Totals {
            unstored: 3,
            dropped: Dropped {
                overflow: 7,
                ..Dropped::default()
            },
            below: Some(12),
        };
        let mut out = vec![];
        write_report(&mut out, 17, 1_795_339_484_886, b"{\"a\": 1}");
        let report = Line::Report {
            number: 17,
            at_ms: 1_795_339_484_886,
            report: b"{\"a\": 1}",
        };
        assert_eq!(whole(&out), report);

        out.clear();
        write_head(&mut out, "5d1f-77", 99, &totals);
        let head = Line::Head {
            kernel: "5d1f-77",
            ahead_ms: 99,
            totals,
        };
        assert_eq!(whole(&out), head);

        out.clear();
        write_done(&mut out, [3..=17, 19..=19], &totals);
        let Line::Done {
            numbers,
            totals: read,
        } = whole(&out)
        else {
            panic!("{out:?}");
        };
        assert_eq!(read, totals);
        assert_eq!(ranges(numbers).collect::<Vec<_>>(), [3..=17, 19..=19]);
    }

    #[test]
    fn no_damage_passes() {
        let mut out = vec![];
        write_report(&mut out, 17, 1_795_339_484_886, b"{\"a\": 1}");
        let line = out.strip_suffix(b"\n").unwrap();
        for length in 0..line.len() {
            assert_eq!(read(&line[..length]), None);
        }
        for index in 0..line.len() {
            for bit in 0..8 {
                let mut damaged = line.to_vec();
                damaged[index] ^= 1 << bit;
                // A digit in the other case is the same digit.
                let in_digits = index >= line.len() - 8;
                let is_same = in_digits && damaged.eq_ignore_ascii_case(line);
                assert_eq!(read(&damaged).is_some(), is_same, "{index} {bit}");
            }
        }
    }
}
