//! The addresses of the server.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// How long an address that the name service gave is used before it is asked again.
const NAME_AGE: Duration = Duration::from_secs(60);

/// At most this many addresses of a name are tried.
pub const MAX_ADDRESSES: usize = 16;

/// Stack of the look-up thread: the C library takes some.
const STACK_BYTES: usize = 256 << 10;

/// Answers address literals itself and asks the name service for names, at most once a minute.
///
/// The name service has time limits of its own (by default 10 s a server of `resolv.conf`). So a thread asks it,
/// one name at a time, and the call's own time limit holds. While the name service does not answer or knows
/// nothing, its last addresses stay in use.
#[derive(Debug, Default)]
pub struct CachingResolver {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<Names>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Names {
    /// The name that was asked for last: there is one server.
    last: Option<Lookup>,
    is_asking: bool,
}

#[derive(Debug)]
struct Lookup {
    host: String,
    port: u16,
    /// `None` if the name was never resolved.
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let host = bare(host);
        let port = port(uri);
        let mut addresses = self.empty();
        if let Ok(literal) = host.parse() {
            addresses.push(SocketAddr::new(literal, port));
            return Ok(addresses);
        }
        let found = self.shared.lookup(host, port, *timeout.after)?;
        found.iter().for_each(|address| addresses.push(*address));
        match addresses.is_empty() {
            true => Err(Error::HostNotFound),
            false => Ok(addresses),
        }
    }
}

impl Shared {
    fn lookup(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, Error> {
        let asked = Instant::now();
        let mut names = self.names();
        if let Some(addresses) = names.fresh(host, port, asked) {
            return Ok(addresses.to_vec());
        }
        if !names.is_asking {
            names.is_asking = true;
            if let Err(error) = self.ask(host.to_owned(), port) {
                names.is_asking = false;
                return Err(Error::Io(error));
            }
        }
        let (names, waited) = self
            .answered
            .wait_timeout_while(names, limit, |names| {
                names.is_asking && names.fresh(host, port, asked).is_none()
            })
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match names.of(host, port) {
            Some(lookup) => Ok(lookup.addresses.clone()),
            None if waited.timed_out() => Err(Error::Timeout(Timeout::Resolve)),
            // The thread was busy with another name.
            None => Err(Error::HostNotFound),
        }
    }

    fn ask(self: &Arc<Self>, host: String, port: u16) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("resolver".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let found = (host.as_str(), port).to_socket_addrs();
                let found = found.map(|it| it.take(MAX_ADDRESSES).collect::<Vec<_>>());
                let mut names = shared.names();
                names.is_asking = false;
                names.note(host, port, found.unwrap_or_default());
                shared.answered.notify_all();
            })
            .map(drop)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Names {
    fn of(&self, host: &str, port: u16) -> Option<&Lookup> {
        self.last
            .as_ref()
            .filter(|it| it.host == host && it.port == port)
    }

    /// The addresses that are still fresh. An unknown name is asked for at each call.
    fn fresh(&self, host: &str, port: u16, asked: Instant) -> Option<&[SocketAddr]> {
        let lookup = self.of(host, port)?;
        let age = asked.saturating_duration_since(lookup.at);
        let is_fresh = match lookup.addresses.is_empty() {
            true => lookup.at > asked,
            false => age < NAME_AGE,
        };
        is_fresh.then_some(&lookup.addresses)
    }

    fn note(&mut self, host: String, port: u16, found: Vec<SocketAddr>) {
        let before = match self.of(&host, port) {
            Some(lookup) if found.is_empty() => lookup.addresses.clone(),
            _ => found,
        };
        self.last = Some(Lookup {
            host,
            port,
            addresses: before,
            at: Instant::now(),
        });
    }
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The port of an address, or the scheme's default.
pub(crate) fn port(uri: &Uri) -> u16 {
    let default = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_the_name_service_gave_is_used_for_a_minute() {
        let mut names = Names::default();
        names.note("srv".to_owned(), 80, vec![address("192.0.2.1:80")]);
        let at = names.last.as_ref().unwrap().at;
        let fresh = |after_s| {
            let asked = at + Duration::from_secs(after_s);
            names.fresh("srv", 80, asked).map(<[_]>::len)
        };
        assert_eq!((fresh(0), fresh(59), fresh(60)), (Some(1), Some(1), None));
        assert_eq!(names.fresh("other", 80, at), None);
        assert_eq!(names.fresh("srv", 81, at), None);
    }

    #[test]
    fn addresses_stay_in_use_while_the_name_service_knows_nothing() {
        let mut names = Names::default();
        names.note("srv".to_owned(), 80, vec![address("192.0.2.1:80")]);
        names.note("srv".to_owned(), 80, Vec::new());
        let kept = &names.of("srv", 80).unwrap().addresses;
        assert_eq!(*kept, [address("192.0.2.1:80")]);
        names.note("other".to_owned(), 80, Vec::new());
        assert!(names.of("srv", 80).is_none());
        assert_eq!(names.of("other", 80).unwrap().addresses, []);
    }

    #[test]
    fn a_name_that_is_not_known_is_asked_for_again() {
        let mut names = Names::default();
        let before = Instant::now();
        names.note("srv".to_owned(), 80, Vec::new());
        let at = names.last.as_ref().unwrap().at;
        assert_eq!(names.fresh("srv", 80, at), None);
        assert!(at == before || names.fresh("srv", 80, before) == Some(&[]));
    }

    #[test]
    fn a_call_waits_for_the_name_service_no_longer_than_it_may() {
        // As while a thread asks and hears nothing.
        let shared = Arc::new(Shared::default());
        shared.names().is_asking = true;
        let limit = Duration::from_millis(20);
        let error = shared.lookup("srv", 80, limit).unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Resolve)), "{error}");
        shared
            .names()
            .note("srv".to_owned(), 80, vec![address("192.0.2.1:80")]);
        shared.names().last.as_mut().unwrap().at -= NAME_AGE;
        let kept = shared.lookup("srv", 80, limit).unwrap();
        assert_eq!(kept, [address("192.0.2.1:80")]);
    }
}
