//! The connections below the HTTP client.
//!
//! ureq's own TCP transport sends head and body of a request apart, sets socket timeouts for each read and write,
//! and checks for a dead connection with three system calls. This one joins what is written until an answer is
//! awaited, sets the timeouts once for each connection, and checks with one call. TLS is between the joined request
//! and the socket, so that a request is one record and one system call there too.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

use crate::http::buffers::{JoinedBuffers, MAX_HEAD};
use crate::http::connect::Addresses;
use crate::http::resolver::bare;
use crate::http::socket::Socket;
use crate::http::tls;

/// Opens connections.
#[derive(Debug)]
pub struct TcpConnector {
    /// The time limit of a request.
    pub timeout: Duration,
    /// For https:// addresses.
    pub tls: Option<tls::TlsConfig>,
    /// Which address answered last.
    pub addresses: Addresses,
    /// Whether requests without a body tell this end's address, as the protocol has it.
    pub tells_address: bool,
}

/// A connection and its buffers.
pub struct TcpTransport {
    stream: Stream,
    /// This end's address, if requests tell it.
    local: Option<SocketAddr>,
    buffers: JoinedBuffers,
}

enum Stream {
    Plain(Socket),
    Tls(tls::TlsStream),
}

impl Connector<()> for TcpConnector {
    type Out = TcpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<TcpTransport>, Error> {
        let until = Instant::now() + self.timeout.min(*details.timeout.after);
        let stream = self.addresses.connect(&details.addrs, until);
        let socket = stream.and_then(|stream| Socket::new(stream, self.timeout));
        self.transport(details, socket.map_err(Error::Io)?, until)
            .map(Some)
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
        let local = socket.local().filter(|_| self.tells_address);
        let stream = match &self.tls {
            Some(config) if details.needs_tls() => {
                socket.end_at(until);
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

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(session) => session.socket(),
        }
    }

    fn set_time_left(&mut self, timeout: &NextTimeout) {
        self.socket().end_in(*timeout.after);
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
        let output = self.buffers.take_output();
        if output.is_empty() {
            return Ok(());
        }
        self.stream.set_time_left(timeout);
        // Only the request for a services document has no body.
        let asks = output.ends_with(b"\r\n\r\n");
        let line_end = output.windows(2).position(|pair| pair == b"\r\n");
        match (self.local, line_end) {
            // Only here is it known which connection carries the request.
            (Some(local), Some(at)) if asks => {
                let (line, rest) = output.split_at(at);
                let head = [line, format!("\r\nMote-Address: {local}").as_bytes(), rest].concat();
                self.stream.write_all(&head)
            }
            _ => self.stream.write_all(output),
        }
        .map_err(|error| failed(error, timeout.reason))
    }
}

thread_local! {
    static UNREAD: Cell<Option<StatusCode>> = const { Cell::new(None) };
}

/// The status of the answer to the last request of this thread, if its head was not read to its end. ureq gives an error
/// for a head that it does not understand, and drops the connection, but does not say what its first line was.
pub fn take_unread_status() -> Option<StatusCode> {
    UNREAD.take()
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        UNREAD.set(self.buffers.unread_status());
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.buffers.add_output(amount) {
            self.flush(&timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.buffers.is_put_off() {
            return Err(Error::Io(io::ErrorKind::QuotaExceeded.into()));
        }
        match self.buffers.has_output() {
            true => self.flush(&timeout)?,
            // A part of the answer was there, but not all.
            false => self.stream.socket().acknowledge(),
        }
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
        // The rest of an answer would be taken for the next one.
        self.buffers.input().is_empty() && self.stream.is_quiet() && self.stream.socket().is_quiet()
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

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpTransport({:?})", self.local)
    }
}
