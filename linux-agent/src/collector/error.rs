//! Why the collector cannot begin.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::store::open::OpenError;
use super::tls::TlsFilesError;
use crate::system::secret::SecretError;

/// Why the collector cannot begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken, or not one of this host.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Two would not know of each other's reports.
    #[error(
        "another collector runs with the database {}; stop it, or name another file", .0.display()
    )]
    Running(PathBuf),
    /// Everybody could report and read.
    #[error(
        "whoever reaches {0} could report as any host and read everything, since no host has a token; set \
         `require_tokens = true` and invite the hosts (mote invite HOST), listen on loopback, or allow it with \
         `allow_anonymous = true`"
    )]
    Anonymous(SocketAddr),
    /// A file with a token cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// Nobody knows who has enrolled.
    #[error("the database is out of order, so the hosts that have enrolled are not known")]
    Unavailable,
    /// The system gives no thread or no event queue.
    #[error("the collector cannot start: {0}")]
    System(io::Error),
}
