//! The socket below the HTTP client.
//!
//! ureq's own TCP transport sends the head and the body of a request apart, sets socket timeouts anew for
//! each read and write, and looks for a dead connection with three system calls. This one joins what is
//! written until an answer is awaited, sets the timeouts once a connection, and looks with one call. Its
//! resolver does not start a thread for each request. TLS is between the joined request and the socket, so
//! that a request is one record and one system call there too.

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

use crate::http::tls;

/// What is written goes out when it reaches half of this, in bytes, or when an answer is awaited.
const OUTPUT_SIZE: usize = 16 << 10;

/// The head of an answer may have this many bytes.
pub const MAX_HEAD: usize = 16 << 10;

/// How long an address that the name service gave is used before it is asked again.
const NAME_AGE: Duration = Duration::from_secs(60);

/// Opens connections.
#[derive(Debug)]
pub struct TcpConnector {
    /// No request may take longer.
    pub timeout: Duration,
    /// For https:// addresses.
    pub tls: Option<tls::Config>,
}

/// A connection and its buffers.
pub struct TcpTransport {
    stream: Stream,
    local: Option<SocketAddr>,
    buffers: JoinedBuffers,
}

enum Stream {
    Plain(Socket),
    Tls(tls::Session),
}

/// A socket whose reads and writes end at an instant: a server that sends one byte now and then would start a
/// timeout of the system's anew with each.
pub struct Socket {
    stream: TcpStream,
    limit: Duration,
    until: Instant,
    /// What the system was told last.
    read_timeout: Duration,
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
        let until = Instant::now() + self.timeout.min(*details.timeout.after);
        let mut last = None;
        let addresses = &*details.addrs;
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            // An address that does not answer leaves the others their share of the time.
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / left;
            match Socket::open(address, share, self.timeout) {
                Ok(socket) => return self.transport(details, socket, until).map(Some),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(Error::HostNotFound, Error::Io))
    }
}

impl TcpConnector {
    #[cfg_attr(
        not(feature = "tls"),
        expect(
            unreachable_code,
            unused_variables,
            reason = "without TLS there is no session"
        )
    )]
    fn transport(
        &self,
        details: &ConnectionDetails<'_>,
        mut socket: Socket,
        until: Instant,
    ) -> Result<TcpTransport, Error> {
        let local = socket.stream.local_addr().ok();
        let stream = match &self.tls {
            Some(config) if details.needs_tls() => {
                socket.until = until;
                let host = details.uri.host().map(bare).unwrap_or_default();
                let session = config.connect(host, socket);
                Stream::Tls(session.map_err(|error| Error::Other(Box::new(error)))?)
            }
            _ if details.needs_tls() => return Err(Error::TlsRequired),
            _ => Stream::Plain(socket),
        };
        Ok(TcpTransport {
            stream,
            local,
            buffers: JoinedBuffers::new(),
        })
    }
}

impl Socket {
    fn open(address: &SocketAddr, share: Duration, limit: Duration) -> io::Result<Socket> {
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stream = TcpStream::connect_timeout(address, share)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Socket {
            stream,
            limit,
            until: Instant::now() + limit,
            read_timeout: limit,
        })
    }

    fn time_left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.time_left()?;
        // The system is told only if it is off by much, so never for a server that answers soon.
        if left.abs_diff(self.read_timeout) > self.limit / 8 {
            self.stream.set_read_timeout(Some(left))?;
            self.read_timeout = left;
        }
        self.stream.read(buffer).map_err(late)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.time_left()?;
        self.stream.write(bytes).map_err(late)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.time_left()?;
        self.stream.write_vectored(pieces).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The system's word for a timeout of a socket is the one for a socket that does not wait.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(session) => session.socket(),
        }
    }

    fn set_time_left(&mut self, timeout: &NextTimeout) {
        let socket = self.socket();
        socket.until = Instant::now() + socket.limit.min(*timeout.after);
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(session) => session.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(session) => session.read(buffer),
        }
    }

    fn is_quiet(&self) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(session) => session.is_quiet(),
        }
    }
}

impl TcpTransport {
    fn flush(&mut self, timeout: &NextTimeout) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.buffers.pending);
        let output = self.buffers.output.get(..pending).unwrap_or_default();
        if output.is_empty() {
            return Ok(());
        }
        self.stream.set_time_left(timeout);
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
        .map_err(|error| failed(error, timeout.reason))
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.buffers.pending += amount;
        if self.buffers.pending >= OUTPUT_SIZE / 2 {
            self.flush(&timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(&timeout)?;
        self.stream.set_time_left(&timeout);
        let free = self.buffers.input_append_buf();
        if free.is_empty() {
            return Err(Error::LargeResponseHeader(MAX_HEAD, MAX_HEAD));
        }
        let count = loop {
            match self.stream.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| failed(error, timeout.reason))?,
            }
        };
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        if !self.stream.is_quiet() {
            return false;
        }
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // Waiting bytes are an answer that nobody asked for, none at all is the server's goodbye.
        matches!(
            recv(self.stream.socket().stream.as_raw_fd(), &mut byte, flags),
            Err(nix::errno::Errno::EAGAIN)
        )
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

fn failed(error: io::Error, reason: Timeout) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::Timeout(reason);
    }
    match tls::TlsError::in_use(error) {
        Ok(error) => Error::Other(Box::new(error)),
        Err(error) => Error::Io(error),
    }
}

impl JoinedBuffers {
    /// Empty ones.
    pub fn new() -> Self {
        JoinedBuffers {
            input: vec![0; MAX_HEAD],
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
        write!(f, "TcpTransport({:?})", self.local)
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The port of an address, which need not be given.
pub fn port(uri: &Uri) -> u16 {
    let default = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(default)
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
        let host = bare(host);
        let port = port(uri);
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
