//! The socket below the HTTP client.
//!
//! ureq's own TCP transport sends the head and the body of a request apart, sets socket timeouts anew for
//! each read and write, and looks for a dead connection with three system calls. This one joins what is
//! written until an answer is awaited, sets the timeouts once a connection, and looks with one call. Its
//! resolver does not start a thread for each request.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// What is written goes out when it reaches half of this, in bytes, or when an answer is awaited.
const OUTPUT_SIZE: usize = 16 << 10;

/// Room for the head of an answer, in bytes.
const INPUT_SIZE: usize = 16 << 10;

/// How long an address that the name service gave is used before it is asked again.
const NAME_AGE: Duration = Duration::from_secs(60);

/// Opens plain TCP connections.
#[derive(Debug)]
pub struct TcpConnector {
    /// No read or write may take longer.
    pub timeout: Duration,
}

/// A TCP connection and its buffers.
pub struct TcpTransport {
    stream: TcpStream,
    local: Option<SocketAddr>,
    buffers: JoinedBuffers,
}

/// Input between `start` and `end`, output that grows until it is flushed.
pub struct JoinedBuffers {
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// What was there was of use, so more of it may be.
    progress: bool,
    output: Vec<u8>,
    pending: usize,
}

impl Connector<()> for TcpConnector {
    type Out = TcpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<TcpTransport>, Error> {
        let mut last = None;
        for address in &details.addrs {
            match self.open(address) {
                Ok(transport) => return Ok(Some(transport)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(Error::HostNotFound, Error::Io))
    }
}

impl TcpConnector {
    fn open(&self, address: &SocketAddr) -> io::Result<TcpTransport> {
        let stream = TcpStream::connect_timeout(address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(TcpTransport {
            local: stream.local_addr().ok(),
            stream,
            buffers: JoinedBuffers::new(),
        })
    }
}

impl JoinedBuffers {
    /// Empty ones.
    pub fn new() -> Self {
        JoinedBuffers {
            input: vec![0; INPUT_SIZE],
            start: 0,
            end: 0,
            progress: false,
            output: vec![0; OUTPUT_SIZE],
            pending: 0,
        }
    }
}

impl Default for JoinedBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl TcpTransport {
    fn flush(&mut self, reason: Timeout) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.buffers.pending);
        let output = self.buffers.output.get(..pending).unwrap_or_default();
        if output.is_empty() {
            return Ok(());
        }
        let get = output.starts_with(b"GET ");
        let line_end = output.windows(2).position(|pair| pair == b"\r\n");
        match (self.local, line_end) {
            // Only here is it known which connection carries the request.
            (Some(local), Some(at)) if get => {
                let (line, rest) = output.split_at(at);
                let head = [line, format!("\r\nMote-Address: {local}").as_bytes(), rest].concat();
                self.stream.write_all(&head)
            }
            _ => self.stream.write_all(output),
        }
        .map_err(|error| timed_out(error, reason))
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.buffers.pending += amount;
        if self.buffers.pending >= OUTPUT_SIZE / 2 {
            self.flush(timeout.reason)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(timeout.reason)?;
        let free = self.buffers.input_append_buf();
        if free.is_empty() {
            return Err(Error::LargeResponseHeader(INPUT_SIZE, INPUT_SIZE));
        }
        let count = loop {
            match self.stream.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| timed_out(error, timeout.reason))?,
            }
        };
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // Waiting bytes are an answer that nobody asked for, none at all is the server's goodbye.
        matches!(
            recv(self.stream.as_raw_fd(), &mut byte, flags),
            Err(nix::errno::Errno::EAGAIN)
        )
    }
}

fn timed_out(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}

impl Buffers for JoinedBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.get_mut(self.pending..).unwrap_or_default()
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = (self.end + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start = (self.start + amount).min(self.end);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // A request begins with no input left over, so there is room.
        let tmp = self.input.get_mut(self.end..).unwrap_or_default();
        let output = self.output.get_mut(self.pending..).unwrap_or_default();
        (tmp, output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.start < self.end
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpTransport({:?})", self.stream)
    }
}

/// Answers address literals itself and asks the name service for names, at most once a minute.
///
/// The name service has no time limit of ours: `resolv.conf` bounds it (by default 10 s a server).
#[derive(Debug, Default)]
pub struct CachingResolver {
    last: Mutex<Option<Lookup>>,
}

#[derive(Debug)]
struct Lookup {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(80);
        let mut addresses = self.empty();
        if let Ok(literal) = host.parse() {
            addresses.push(SocketAddr::new(literal, port));
            return Ok(addresses);
        }
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let usable =
            |it: &&mut Lookup| it.host == host && it.port == port && it.at.elapsed() < NAME_AGE;
        let lookup = match last.as_mut().filter(usable) {
            Some(lookup) => lookup,
            None => {
                let found = (host, port)
                    .to_socket_addrs()
                    .map_err(|_| Error::HostNotFound)?;
                last.insert(Lookup {
                    host: host.to_owned(),
                    port,
                    addresses: found.take(16).collect(),
                    at: Instant::now(),
                })
            }
        };
        // A server with several addresses gets its turn with each.
        lookup
            .addresses
            .iter()
            .for_each(|address| addresses.push(*address));
        if addresses.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(addresses)
    }
}
