//! Which of a server's addresses is connected to: the one that worked last goes first, and one that does not answer
//! soon does not hold up the next (the way of RFC 8305, "Happy Eyeballs", with one server and without its sorting).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, getsockopt, socket,
    sockopt::SocketError,
};

/// The next address is tried after this long without an answer (RFC 8305 recommends 250 ms).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Opens connections, and remembers which address answered.
#[derive(Debug, Default)]
pub struct Addresses {
    last: Mutex<Option<SocketAddr>>,
}

impl Addresses {
    /// Connects to one of `addresses` by the instant `until`. The error is that of the last address.
    pub fn connect(&self, addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // The others stay in the order that the name service gave.
        let (mut tried, others): (Vec<_>, Vec<_>) = addresses
            .iter()
            .partition(|address| Some(**address) == *last);
        tried.extend(others);
        let (stream, address) = first_of(&tried, until)?;
        *last = Some(address);
        Ok(stream)
    }
}

fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "the name of the host has no address",
    )
}

fn first_of(addresses: &[SocketAddr], until: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting: Vec<(OwnedFd, SocketAddr)> = Vec::new();
    let mut untried = addresses.iter();
    let mut failure = None;
    loop {
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let next = untried.next();
        if let Some(address) = next {
            match begin(address) {
                Ok(socket) => waiting.push((socket, *address)),
                Err(error) => failure = Some(error),
            }
        }
        if waiting.is_empty() {
            match untried.len() {
                0 => return Err(failure.map_or_else(no_address, io::Error::from)),
                _ => continue,
            }
        }
        let pause = match untried.len() {
            0 => left,
            _ => left.min(NEXT_AFTER),
        };
        let wait_until = now + pause;
        while !waiting.is_empty() {
            let Some(ready) = ready_of(&waiting, wait_until)? else {
                break;
            };
            let (socket, address) = waiting.remove(ready);
            match getsockopt(&socket, SocketError)? {
                0 => {
                    let stream = TcpStream::from(socket);
                    stream.set_nonblocking(false)?;
                    return Ok((stream, address));
                }
                error => failure = Some(Errno::from_raw(error)),
            }
            // After a refusal the next address is tried at once.
            if untried.len() > 0 {
                break;
            }
        }
    }
}

/// A socket that has begun to connect.
fn begin(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(*address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// The socket that has connected or failed by `until`, if any.
fn ready_of(waiting: &[(OwnedFd, SocketAddr)], until: Instant) -> Result<Option<usize>, Errno> {
    let mut events: Vec<PollFd<'_>> = waiting
        .iter()
        .map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT))
        .collect();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the loop does not spin in the last millisecond.
        let left = left + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut events, timeout) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(events.iter().position(|it| it.any() == Some(true))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    /// A listener that accepts nobody: its backlog is full, so it answers no more.
    struct Dead {
        address: SocketAddr,
        _listener: OwnedFd,
        _full: Vec<OwnedFd>,
    }

    fn dead() -> Dead {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Tcp,
        )
        .unwrap();
        bind(listener.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let bound: SockaddrStorage = nix::sys::socket::getsockname(listener.as_raw_fd()).unwrap();
        let port = bound.as_sockaddr_in().unwrap().port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut full = Vec::new();
        // One more connection than fits stays unanswered.
        while full.len() < 8 {
            let socket = begin(&address).unwrap();
            let soon = Instant::now() + Duration::from_millis(100);
            let pair = [(socket, address)];
            let is_connected = ready_of(&pair, soon).unwrap().is_some();
            let [(socket, _)] = pair;
            full.push(socket);
            if !is_connected {
                break;
            }
        }
        Dead {
            address,
            _listener: listener,
            _full: full,
        }
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_dead_address_does_not_hold_up_the_next_and_is_last_from_then_on() {
        let dead = dead();
        let living = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = living.local_addr().unwrap();
        let addresses = Addresses::default();
        let stream = addresses
            .connect(&[dead.address, at], in_a_minute())
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), at);
        assert_eq!(*addresses.last.lock().unwrap(), Some(at));
        // Begun with the one that worked: the dead one alone would not end within this.
        let stream = addresses
            .connect(&[dead.address, at], in_a_minute())
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), at);
    }

    #[test]
    fn an_address_that_refuses_leaves_its_time_to_the_next() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        let living = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = living.local_addr().unwrap();
        let addresses = Addresses::default();
        let stream = addresses.connect(&[refusing, at], in_a_minute()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), at);
        let error = addresses.connect(&[refusing], in_a_minute()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn addresses_that_do_not_answer_end_in_time() {
        let dead = dead();
        let soon = Instant::now() + Duration::from_millis(30);
        let error = Addresses::default()
            .connect(&[dead.address], soon)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn no_address_is_an_error() {
        assert!(Addresses::default().connect(&[], in_a_minute()).is_err());
    }
}
