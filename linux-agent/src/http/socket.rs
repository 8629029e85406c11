//! A TCP connection whose reads and writes have a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use rustix::net::sockopt::set_tcp_quickack;
use std::os::fd::AsRawFd;

/// The system's timeout would start again with each byte that a slow server sends, so this has a deadline for the
/// whole.
pub struct Socket {
    stream: TcpStream,
    limit: Duration,
    until: Instant,
    /// The timeout that the system was given last.
    read_timeout: Duration,
}

impl Socket {
    /// Over a connection whose reads and writes may take `limit` at most.
    pub fn new(stream: TcpStream, limit: Duration) -> io::Result<Socket> {
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

    /// The agent's end of it.
    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Reads and writes end at this instant.
    pub fn end_at(&mut self, until: Instant) {
        self.until = until;
    }

    /// Reads and writes end after `left`, or after the limit given at the beginning if that is shorter.
    pub fn end_in(&mut self, left: Duration) {
        self.until = Instant::now() + self.limit.min(left);
    }

    /// Acknowledges what came at once. A server that writes an answer in two pieces holds the second back until
    /// then, and the system would wait 40 ms for a request to carry the acknowledgement.
    pub fn acknowledge(&self) {
        // Without it the answer is late, not lost.
        let _ = set_tcp_quickack(&self.stream, true);
    }

    /// Whether the connection is idle and open. Bytes would be an answer that nobody asked for, an end of file the
    /// server's close.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(
            recv(self.stream.as_raw_fd(), &mut byte, flags),
            Err(nix::errno::Errno::EAGAIN)
        )
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
        // The system's timeout is set only if it is off by much, so never for a server that answers soon.
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

/// Gives a timeout its own error: the system reports one as for a socket that does not wait.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
