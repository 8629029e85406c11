//! `get_tcp`: the TCP sockets by state, from `/proc/net/tcp` and `/proc/net/tcp6` (proc_net_tcp(5)),
//! a line a socket with its state as a hexadecimal number:
//!
//! ```text
//!   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
//!    0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1076 …
//! ```
//!
//! and two counters of the stack, from `/proc/net/snmp` and `/proc/net/netstat`, a line of names
//! above a line of values a table:
//!
//! ```text
//! Tcp: RtoAlgorithm RtoMin RtoMax MaxConn … RetransSegs InErrs OutRsts InCsumErrors
//! Tcp: 1 200 120000 -1 … 68 0 87 0
//! ```
//!
//! The kernel hands out the sockets piece by piece, so those that come or go meanwhile may be
//! counted or not.

use std::time::Instant;

use mote_core::Status;
use serde::Serialize;

use super::kit::file::{lines, number, optional, words};
use super::kit::rate::rate;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// The TCP sockets of IPv4 and IPv6 by state, and what went wrong since the last sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TcpData {
    /// Always [`Status::OK`].
    status: Status,
    /// How many sockets are in each state.
    #[serde(flatten)]
    states: SocketStates,
    /// Segments sent again, per second. Left out where the kernel does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<f64>,
    /// Connections that were dropped because a listener's queue was full, per second. Left out as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_overflows: Option<f64>,
}

/// Sockets by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketStates {
    /// Open on both sides.
    established: u32,
    /// We asked for a connection.
    syn_sent: u32,
    /// A connection was asked of us. Requests that wait in a listener's queue are shown here too.
    syn_recv: u32,
    /// We closed; not acknowledged yet.
    fin_wait1: u32,
    /// We closed, which was acknowledged; the other side has not closed.
    fin_wait2: u32,
    /// Closed on both sides, kept against late segments.
    time_wait: u32,
    /// Not in use.
    close: u32,
    /// The other side closed; our program has not.
    close_wait: u32,
    /// Closed after the other side; our end is not acknowledged yet.
    last_ack: u32,
    /// Waiting for connections.
    listen: u32,
    /// Both closed at the same time.
    closing: u32,
    /// The kernel's own name for requests in a listener's queue.
    new_syn_recv: u32,
    /// In a state that this agent does not know.
    #[serde(skip_serializing_if = "is_zero")]
    omitted: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl SocketStates {
    /// The counter of a state by the kernel's number for it (`include/net/tcp_states.h`).
    fn of(&mut self, state: &[u8]) -> &mut u32 {
        match state {
            b"01" => &mut self.established,
            b"02" => &mut self.syn_sent,
            b"03" => &mut self.syn_recv,
            b"04" => &mut self.fin_wait1,
            b"05" => &mut self.fin_wait2,
            b"06" => &mut self.time_wait,
            b"07" => &mut self.close,
            b"08" => &mut self.close_wait,
            b"09" => &mut self.last_ack,
            b"0A" => &mut self.listen,
            b"0B" => &mut self.closing,
            b"0C" => &mut self.new_syn_recv,
            _ => &mut self.omitted,
        }
    }

    /// Counts one socket. `line` is one of the table, below its heading.
    pub fn count(&mut self, line: &[u8]) {
        let counter = self.of(words(line).nth(3).unwrap_or_default());
        *counter = counter.saturating_add(1);
    }
}

/// The value of `name` in the table whose two lines begin with `table`.
pub fn counter(text: &[u8], table: &[u8], name: &[u8]) -> Option<u64> {
    let mut rows = lines(text).filter(|line| words(line).next() == Some(table));
    let names = words(rows.next()?);
    let values = words(rows.next()?);
    let (_, value) = names.zip(values).find(|(found, _)| *found == name)?;
    number(value)
}

/// The probe: its files, open, and the counters of its last sample.
pub(crate) struct Tcp {
    tcp: SourceFile,
    /// None where IPv6 is off.
    tcp6: Option<SourceFile>,
    /// None where there is no such table, or none that the agent may read: the sockets are still
    /// worth a report.
    snmp: Option<SourceFile>,
    netstat: Option<SourceFile>,
    last: TcpCounters,
}

#[derive(Clone, Copy)]
struct TcpCounters {
    retransmits: Option<u64>,
    listen_overflows: Option<u64>,
    at: Instant,
}

impl Sample for Tcp {
    type Data<'a> = TcpData;

    /// Opens the files and takes the baseline of the rates.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let tcp = roots.open_of_process("net/tcp")?;
        let snmp = optional(roots.open_of_process("net/snmp"))?;
        let netstat = optional(roots.open_of_process("net/netstat"))?;
        Ok(Tcp {
            tcp,
            tcp6: match roots.open_of_process("net/tcp6") {
                Err(error) if error.is_not_found() => None,
                file => Some(file?),
            },
            last: counters(snmp.as_ref(), netstat.as_ref(), context)?,
            snmp,
            netstat,
        })
    }

    /// The sockets now, and the rates since the last sample.
    fn sample(&mut self, context: &mut Context) -> Result<TcpData, ProbeError> {
        let mut states = SocketStates::default();
        count_sockets(&self.tcp, &mut states, context)?;
        if let Some(tcp6) = &self.tcp6 {
            count_sockets(tcp6, &mut states, context)?;
        }
        let now = counters(self.snmp.as_ref(), self.netstat.as_ref(), context)?;
        let before = std::mem::replace(&mut self.last, now);
        let elapsed = now.at.saturating_duration_since(before.at);
        Ok(TcpData {
            status: Status::OK,
            states,
            retransmits: rate(now.retransmits, before.retransmits, elapsed)?,
            listen_overflows: rate(now.listen_overflows, before.listen_overflows, elapsed)?,
        })
    }
}

fn counters(
    snmp: Option<&SourceFile>,
    netstat: Option<&SourceFile>,
    context: &mut Context,
) -> Result<TcpCounters, ProbeError> {
    let mut read = |file: Option<&SourceFile>, table: &[u8], name: &[u8]| match file {
        Some(file) => Ok(counter(file.read(&mut context.scratch)?, table, name)),
        None => Ok::<_, ProbeError>(None),
    };
    Ok(TcpCounters {
        retransmits: read(snmp, b"Tcp:", b"RetransSegs")?,
        listen_overflows: read(netstat, b"TcpExt:", b"ListenOverflows")?,
        at: context.now,
    })
}

fn count_sockets(
    file: &SourceFile,
    states: &mut SocketStates,
    context: &mut Context,
) -> Result<(), ProbeError> {
    let mut heading_seen = false;
    file.read_lines(&mut context.scratch, |line| {
        if heading_seen {
            states.count(line);
            return Ok(());
        }
        heading_seen = words(line).nth(3) == Some(b"st");
        heading_seen.then_some(()).ok_or(HEADING)
    })?;
    // The heading is there even where there is no socket.
    heading_seen
        .then_some(())
        .ok_or_else(|| file.malformed(HEADING))
}

const HEADING: Malformed = Malformed("heading of a socket table");

#[cfg(test)]
mod tests;
