//! Why calls fail, in one sentence each.

use std::fmt;
use std::io;
use std::time::Duration;

use ureq::http::{StatusCode, Uri};

use super::outcome::Outcome;
use crate::http::buffers::{MAX_HEAD, MAX_INTERIM};
use crate::http::redirect::MAX_REDIRECTS;
use crate::http::tls::TlsError;
use crate::protocol::MAX_DOCUMENT;

/// Why a call got no usable answer. It displays as one sentence.
#[derive(Debug)]
pub struct CallError {
    url: String,
    fault: CallFault,
    /// What follows it, after a colon.
    reason: Option<String>,
    is_denial: bool,
}

#[derive(Debug)]
pub(crate) enum CallFault {
    BadUrl,
    /// Token or certificates cannot be read.
    NoAccess(String),
    Unreachable(ureq::Error),
    Status(StatusCode, Option<Duration>),
    /// The first line of an answer says yes, and why the rest of its head cannot be read.
    BrokenHead(StatusCode, ureq::Error),
    RedirectedAway(String),
    /// A redirect that does not keep the body that was sent, and its `Location`.
    BodyRedirected(StatusCode, String),
    TooManyRedirects,
    TooLarge,
    /// HTML where JSON should be.
    Page,
    /// The encoding, which was not asked for.
    Encoded(String),
}

impl CallFault {
    pub(crate) fn of(self, url: &Uri) -> CallError {
        CallError {
            url: url.to_string(),
            fault: self,
            reason: None,
            is_denial: false,
        }
    }
}

impl CallError {
    /// What the call means for the report that it brought.
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.fault {
            CallFault::Status(_, retry_after) => Outcome::Busy {
                retry_after: *retry_after,
            },
            CallFault::NoAccess(_) => Outcome::Unreachable,
            CallFault::Unreachable(error) if is_no_connection(error) => Outcome::Unreachable,
            _ => Outcome::Unanswered,
        }
    }

    pub(crate) fn status(&self) -> Option<StatusCode> {
        match &self.fault {
            CallFault::Status(status, _) => Some(*status),
            _ => None,
        }
    }

    /// The status of an answer that says yes, though the rest of its head cannot be read.
    pub(crate) fn broken_yes(&self) -> Option<StatusCode> {
        match &self.fault {
            CallFault::BrokenHead(status, _) => Some(*status),
            _ => None,
        }
    }

    /// Whether the server refuses this client's token, or wants one.
    pub(crate) fn is_denial(&self) -> bool {
        self.is_denial
    }

    /// Whether a connection came about, but what came over it was no HTTP.
    pub(crate) fn is_no_http(&self) -> bool {
        match &self.fault {
            CallFault::Unreachable(ureq::Error::Protocol(_)) | CallFault::BrokenHead(..) => true,
            CallFault::Unreachable(ureq::Error::Io(error)) => {
                error.kind() == io::ErrorKind::UnexpectedEof
            }
            _ => false,
        }
    }

    /// Whether certificates may be why.
    pub(crate) fn is_of_tls(&self) -> bool {
        matches!(&self.fault, CallFault::Unreachable(error) if of_tls(error).is_some())
    }

    /// The same, about the token.
    pub(crate) fn of_token(self) -> CallError {
        CallError {
            is_denial: true,
            ..self
        }
    }

    /// The same with a reason.
    pub(crate) fn because(self, reason: Option<String>) -> CallError {
        CallError { reason, ..self }
    }
}

fn of_tls(error: &ureq::Error) -> Option<&TlsError> {
    match error {
        ureq::Error::Other(error) => error.downcast_ref(),
        _ => None,
    }
}

/// Whether there was no connection at all: an open connection never gives errors of these kinds.
fn is_no_connection(error: &ureq::Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut
        ),
        error => of_tls(error).is_some_and(TlsError::is_before_request),
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.write(&self.url, f)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl CallFault {
    fn write(&self, url: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFault::BadUrl => write!(f, "{url} is not a valid address"),
            CallFault::NoAccess(sentence) => f.write_str(sentence),
            CallFault::Unreachable(ureq::Error::Timeout(_)) => {
                write!(f, "{url} did not answer in time")
            }
            CallFault::Unreachable(ureq::Error::HostNotFound) => {
                write!(f, "{url}: the name of the host is not known")
            }
            CallFault::Unreachable(ureq::Error::Io(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                write!(
                    f,
                    "{url} closed the connection before its answer was complete"
                )
            }
            CallFault::Unreachable(ureq::Error::Io(error))
                if error.kind() == io::ErrorKind::QuotaExceeded =>
            {
                write!(
                    f,
                    "{url} announced an answer (1xx) more than {MAX_INTERIM} times and gave none"
                )
            }
            CallFault::Unreachable(ureq::Error::Io(error)) => write!(f, "{url}: {error}"),
            CallFault::Unreachable(ureq::Error::Protocol(error))
            | CallFault::BrokenHead(_, ureq::Error::Protocol(error)) => {
                write!(f, "{url} does not answer in valid HTTP: {error}")
            }
            CallFault::Unreachable(ureq::Error::LargeResponseHeader(..))
            | CallFault::BrokenHead(_, ureq::Error::LargeResponseHeader(..)) => {
                write!(
                    f,
                    "{url} answered with a head of more than {} KiB",
                    MAX_HEAD >> 10
                )
            }
            CallFault::Unreachable(error) | CallFault::BrokenHead(_, error) => {
                match of_tls(error) {
                    Some(error) => write!(f, "{url}: {error}"),
                    None => write!(f, "{url}: {error}"),
                }
            }
            CallFault::Encoded(encoding) => write!(
                f,
                "{url} answered in the encoding {encoding:?}, which was not asked for"
            ),
            CallFault::Status(status, _) => write!(f, "{url} answered {status}"),
            CallFault::RedirectedAway(location) if location.is_empty() => {
                write!(f, "{url} redirects without saying where")
            }
            CallFault::RedirectedAway(location) => write!(
                f,
                "{url} redirects to {:.200}, which is another server and not followed",
                // The only control character that the head of an answer may have.
                location.replace('\t', " ")
            ),
            CallFault::BodyRedirected(status, location) => write!(
                f,
                "{url} answered {status} and leads to {:.200}, so it took nothing; if that is a login page, let agents in \
                 without it, else correct the address and the paths in the settings",
                location.replace('\t', " ")
            ),
            CallFault::Page => write!(
                f,
                "{url} answered with a page for people (HTML); if that is a login page, let agents in without it, else \
                 correct the address and the paths in the settings"
            ),
            CallFault::TooManyRedirects => {
                write!(f, "{url} redirects more than {MAX_REDIRECTS} times")
            }
            CallFault::TooLarge => {
                write!(
                    f,
                    "{url} answered with more than {} KiB",
                    MAX_DOCUMENT >> 10
                )
            }
        }
    }
}

impl std::error::Error for CallError {}
