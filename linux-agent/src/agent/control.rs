//! The control socket of a running agent: one line in, one answer out.
//!
//! `status` is answered with a JSON document, `reload` with `ok` or a sentence that says what is wrong.
//! The socket lies in the state folder and only its owner may use it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::system::files::{FileError, short_path};
use crate::system::own_socket;

const SOCKET_FILE: &str = "agent.sock";

/// Connections at a time; more wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 4;

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 64;

/// A connection that takes longer is closed.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// The longest answer that a client reads, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// What an operator asks of a running agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// The agent's state.
    Status,
    /// Read the settings anew.
    Reload,
}

/// The listening side.
pub struct Control {
    listener: UnixListener,
    connections: heapless::Vec<Connection, MAX_CONNECTIONS>,
}

struct Connection {
    stream: UnixStream,
    since: Instant,
    request: heapless::Vec<u8, MAX_REQUEST>,
    answer: Vec<u8>,
    written: usize,
}

impl Control {
    /// Opens the socket. The caller holds the lock, so a socket that is there is left over.
    pub fn bind(state_dir: &Path) -> Result<Control, FileError> {
        let (_folder, short) = short_path(state_dir)?;
        match own_socket::listen(&short.join(SOCKET_FILE)) {
            Ok(listener) => Ok(Control {
                listener,
                connections: heapless::Vec::new(),
            }),
            Err(cause) => Err(FileError {
                path: state_dir.join(SOCKET_FILE),
                cause,
            }),
        }
    }

    /// The descriptors to poll, and for what.
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let accepts = self.connections.len() < MAX_CONNECTIONS;
        let listener = accepts.then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        let connections = self.connections.iter().map(|it| {
            let flags = match it.answer.is_empty() {
                true => PollFlags::POLLIN,
                false => PollFlags::POLLOUT,
            };
            (it.stream.as_fd(), flags)
        });
        listener.into_iter().chain(connections)
    }

    /// When the next connection is to be closed, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.connections.iter().map(|it| it.since + MAX_AGE).min()
    }

    /// Accepts connections and takes the requests that are there, without waiting.
    pub fn take_requests(&mut self) -> heapless::Vec<Pending, MAX_CONNECTIONS> {
        while self.connections.len() < MAX_CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() {
                let _ = self.connections.push(Connection {
                    stream,
                    since: Instant::now(),
                    request: heapless::Vec::new(),
                    answer: Vec::new(),
                    written: 0,
                });
            }
        }
        self.connections.retain_mut(|connection| {
            connection.since.elapsed() < MAX_AGE && connection.read().is_ok()
        });
        let connections = self.connections.iter().enumerate();
        connections
            .filter_map(|(connection, it)| {
                let what = it.asked().filter(|_| it.answer.is_empty())?;
                Some(Pending {
                    what,
                    since: it.since,
                    connection,
                })
            })
            .collect()
    }

    /// Answers a request. Call nothing else on this between taking the request and answering it.
    pub fn answer(&mut self, pending: &Pending, answer: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(pending.connection) {
            connection.answer = answer;
        }
    }

    /// Writes what can be written without waiting.
    pub fn write_answers(&mut self) {
        self.connections
            .retain_mut(|connection| connection.write().is_ok());
    }
}

/// A request that waits for its answer.
pub struct Pending {
    /// The request.
    pub what: ControlRequest,
    /// When its connection was accepted.
    pub since: Instant,
    connection: usize,
}

impl Connection {
    fn asked(&self) -> Option<ControlRequest> {
        match self.request.strip_suffix(b"\n")? {
            b"status" => Some(ControlRequest::Status),
            b"reload" => Some(ControlRequest::Reload),
            _ => None,
        }
    }

    /// An error means that the connection is done with.
    fn read(&mut self) -> io::Result<()> {
        while self.asked().is_none() {
            let mut piece = [0; MAX_REQUEST];
            let count = match self.stream.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            };
            let piece = piece.get(..count).unwrap_or_default();
            if piece.is_empty() || self.request.extend_from_slice(piece).is_err() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// An error means that the connection is done with.
    fn write(&mut self) -> io::Result<()> {
        while let Some(rest) = self
            .answer
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => self.written += result?,
            }
        }
        match self.answer.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// Asks the agent of `state_dir`; it has `timeout` to answer.
pub fn ask(
    state_dir: &Path,
    request: ControlRequest,
    timeout: Duration,
) -> Result<String, FileError> {
    let (_folder, short) = short_path(state_dir)?;
    let end = Instant::now() + timeout;
    let call = || {
        let mut stream = UnixStream::connect(short.join(SOCKET_FILE))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.write_all(match request {
            ControlRequest::Status => b"status\n",
            ControlRequest::Reload => b"reload\n",
        })?;
        read_answer(stream, end)
    };
    call().map_err(|cause: io::Error| FileError {
        path: state_dir.join(SOCKET_FILE),
        cause: match cause.kind() {
            io::ErrorKind::WouldBlock => {
                let sentence = format!("no answer within {} s", timeout.as_secs_f64());
                io::Error::new(io::ErrorKind::TimedOut, sentence)
            }
            _ => cause,
        },
    })
}

/// Reads the whole answer, by `end`. Another user may have written it, so only text reaches the terminal of whoever
/// asks.
fn read_answer(mut stream: UnixStream, end: Instant) -> io::Result<String> {
    let mut answer = Vec::new();
    let mut piece = [0; 8 << 10];
    while answer.len() < MAX_ANSWER {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut answer = String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    answer.retain(|it| it == '\n' || !it.is_control());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_FILE);
        std::fs::write(&path, "a person's").unwrap();
        let error = Control::bind(folder.path()).map(drop).unwrap_err();
        assert!(error.to_string().ends_with("move it elsewhere"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a person's");
    }

    #[test]
    fn an_answer_is_text_and_comes_in_time_or_not_at_all() {
        let (asking, mut answering) = UnixStream::pair().unwrap();
        answering.write_all("ok \u{1b}[31mä\n".as_bytes()).unwrap();
        drop(answering);
        let end = Instant::now() + Duration::from_secs(60);
        assert_eq!(read_answer(asking, end).unwrap(), "ok [31mä\n");

        let (asking, mut answering) = UnixStream::pair().unwrap();
        let drips = std::thread::spawn(move || {
            while answering.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let end = Instant::now() + Duration::from_millis(200);
        let error = read_answer(asking, end).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drips.join().unwrap();
    }
}
