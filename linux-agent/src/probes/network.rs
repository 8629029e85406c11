//! `GetNetworkStatus`: traffic of each interface, from `/proc/net/dev` (proc_pid_net(5)), in counts
//! since the interface came up:
//!
//! ```text
//! Inter-|   Receive                                                |  Transmit
//!  face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo …
//!     lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0 …
//! ```
//!
//! Old kernels glue the first number to the colon. `links.rs` asks for the state of the links.

mod links;

use std::time::{Duration, Instant};

use serde::Serialize;

use super::kit::counters::Counters;
use super::kit::items::{Items, MAX_ITEMS};
use super::kit::rate::{per_second, per_second_of};
use super::kit::scan::Scan;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};
use links::{InterfaceLink, Links};

/// Traffic of one interface since this service's last sample, two decimals: what a counter grew by,
/// over the time. And its link, as far as that is known.
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
    /// What the link does, one of the seven states of RFC 2863.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'static str>,
    /// 1 if there is a carrier, 0 if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<u8>,
    /// What the link could carry, in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_mbit: Option<u32>,
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
fn rates(
    now: &Traffic,
    before: &Traffic,
    elapsed: Duration,
    link: &InterfaceLink,
) -> Option<InterfaceData> {
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
        link: link.state,
        carrier: link.carrier,
        speed_mbit: link.speed_mbit,
    })
}

/// The probe: `/proc/net/dev`, open, and the last reading.
pub(crate) struct Network {
    file: SourceFile,
    links: Option<Links>,
    /// Whether an interface was seen for the first time: its link is asked for before it is reported.
    has_new: bool,
    counters: Counters<Traffic>,
    items: Items<InterfaceData>,
    read_at: Instant,
}

impl Sample for Network {
    type Data<'a> = &'a mut Items<InterfaceData>;

    /// Opens the file and takes the baseline.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let mut network = Network {
            file: roots.open_of_process("net/dev")?,
            links: Links::new(roots),
            has_new: false,
            counters: Counters::new(MAX_ITEMS),
            items: Items::new(MAX_ITEMS),
            read_at: context.now,
        };
        ProbeError::unless_nothing_known(network.sample(context))?;
        Ok(network)
    }

    /// The rates since the last sample. An interface has none at its first sight, nor where a counter
    /// went backwards: it is left out of that sample. Those that do not fit or cannot be read are counted.
    fn sample(&mut self, context: &mut Context) -> Result<&mut Items<InterfaceData>, ProbeError> {
        let text = self.file.read_short(&mut context.scratch)?;
        let elapsed = context.now.saturating_duration_since(self.read_at);
        let (counters, items) = (&mut self.counters, &mut self.items);
        let has_new = std::mem::take(&mut self.has_new);
        if let Some(links) = &mut self.links {
            links.refresh(context.now, has_new, counters.names());
        }
        counters.start();
        items.clear();
        let mut left_out = false;
        let parsed = parse(text, |name, traffic| {
            let before = counters.before(name);
            if !counters.keep(name, traffic) {
                return items.omit(1);
            }
            let Some(before) = before else {
                self.has_new = true;
                left_out = true;
                return;
            };
            let link = self
                .links
                .as_mut()
                .map_or_else(InterfaceLink::default, |links| links.of(context.now, name));
            match rates(&traffic, &before, elapsed, &link) {
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
mod tests;
