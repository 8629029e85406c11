//! `mote serve`: the collector. It tells agents which services to monitor and keeps what they
//! report.
//!
//! ```text
//! POST /api/enroll                   a one-time code for a token
//! GET  /api/client/config/{id}       the services of a host, as JSON
//! POST /api/client/service/report/   one report, as JSON or as form fields
//! GET  /api/reports                  the reports kept: client_id, service, since, after, limit
//! GET  /api/accounting               received, duplicates and gaps of each run: client_id
//! GET  /                             what was reported last, for people
//! ```
//!
//! One thread answers requests, another owns the database.

mod auth;
mod digest;
mod http;
mod report;
mod settings;
mod store;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::system::secret::SecretError;
use auth::Guard;
use http::app::App;
use http::body::Room;
use http::connections;
use http::guesses::Guesses;
use store::database::OpenError;
use tls::TlsError;

pub use http::body::{BODY_TIMEOUT, MAX_BODIES_BYTES};
pub use http::connections::{
    IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD_BYTES, STOP_TIMEOUT, WRITE_TIMEOUT,
};
pub use http::enroll::MAX_BODY_BYTES as MAX_ENROLMENT_BYTES;
pub use http::guesses::{MAX_WRONG, WINDOW as WRONG_WINDOW};
pub use http::reports::MAX_BODY_BYTES;
pub use report::MAX_BOOT_BYTES;
pub use settings::ServerSettings;
pub use store::database::{MAX_PAGE, MAX_PAGE_BYTES};
pub use store::invitation::MAX_PER_HOST;
pub(crate) use store::invitation::{InviteError, invite, revoke};
pub use store::runs::{MAX_RUNS, MAX_RUNS_IN_ALL};
pub use tls::HANDSHAKE_TIMEOUT;

/// A collector that has its address and its database, and has not begun to answer.
///
/// It brings its own runtime: its functions block, and are not for tasks of another one.
pub struct Collector {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    tls: Option<TlsAcceptor>,
    store_thread: JoinHandle<()>,
}

/// A collector at work on a thread of its own. Dropped, it tells the thread to stop without
/// waiting for it.
pub struct Handle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Why the collector cannot begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken, or not one of this host.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A file with a token cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no thread or no event queue to give.
    #[error("the collector cannot start: {0}")]
    System(io::Error),
}

impl Collector {
    /// Listens and opens the database. Connections that come in from here on wait.
    pub fn bind(settings: ServerSettings) -> Result<Collector, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::System)?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let address = settings.listen;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(|cause| ServeError::Listen { address, cause })?;
        let address = listener.local_addr().map_err(ServeError::System)?;
        let (store, store_thread) = store::Store::open(&settings.database)?;
        if settings.hosts.is_empty() {
            log::warn!(
                "no hosts: every agent is refused until the settings have a table such as [hosts.web]"
            );
        }
        for clash in &settings.clashes {
            log::warn!("{clash}");
        }
        let hosts = Arc::new(settings.hosts);
        let guard = Guard::new(
            Arc::clone(&hosts),
            settings.require_tokens,
            settings.read_token_file,
            store.clone(),
        )?;
        for remark in runtime.block_on(guard.remarks()) {
            log::warn!("{remark}");
        }
        if is_overheard(address, tls.is_some()) && runtime.block_on(guard.has_tokens()) {
            log::warn!(
                "tokens go over the network in the clear to {address}; set tls_cert_file \
                 and tls_key_file, or listen on loopback"
            );
        }
        let app = App {
            hosts,
            room: Room::default(),
            store,
            guard,
            guesses: Guesses::default(),
        };
        Ok(Collector {
            runtime,
            listener,
            address,
            router: http::router(app),
            tls,
            store_thread,
        })
    }

    /// Where it listens; with the port that the system chose if the settings say 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Answers until `stop` is done, then lets requests under way end within [`STOP_TIMEOUT`].
    pub fn run(self, stop: impl Future<Output = ()>) {
        let Collector {
            runtime,
            listener,
            router,
            tls,
            store_thread,
            ..
        } = self;
        runtime.block_on(connections::accept_until(stop, listener, tls, router));
        // Ends what is left of the connections, and with the last of them the store. A token file
        // that is being read from a dead file server is not waited for.
        runtime.shutdown_timeout(STOP_TIMEOUT);
        if store_thread.join().is_err() {
            log::error!("the database's thread has panicked");
        }
    }

    /// Answers on a thread of its own.
    pub fn spawn(self) -> Result<Handle, ServeError> {
        let address = self.address;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || {
                self.run(async {
                    // A handle that is gone means the same.
                    let _ = stopped.await;
                });
            })
            .map_err(ServeError::System)?;
        Ok(Handle {
            address,
            stop,
            thread,
        })
    }
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests under way end within [`STOP_TIMEOUT`], then ends the rest, and waits until the
    /// database is closed.
    pub fn stop(self) {
        // Nobody listens if it has ended by itself.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            log::error!("the collector's thread has panicked");
        }
    }
}

/// Whether others than this host's own processes may see what is sent to `address`.
fn is_overheard(address: SocketAddr, has_tls: bool) -> bool {
    !has_tls && !address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_tls_are_not_overheard() {
        for (address, expected) in [
            ("127.0.0.1:9000", false),
            ("127.255.0.9:9000", false),
            ("[::1]:9000", false),
            ("[::ffff:127.0.0.1]:9000", false),
            ("0.0.0.0:9000", true),
            ("[::]:9000", true),
            ("192.0.2.1:9000", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_overheard(address, false), expected, "{address}");
            assert!(!is_overheard(address, true));
        }
    }
}
