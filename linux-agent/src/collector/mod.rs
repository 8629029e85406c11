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

pub(crate) mod auth;
mod http;
mod report;
mod settings;
mod store;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use auth::Guard;
use axum::Router;
use http::App;
use http::enroll::Guesses;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

pub use auth::TokenSource;
pub use auth::digest::{Digest, SecretError};
pub use http::MAX_BODY_BYTES;
pub use http::body::{BODY_TIMEOUT, MAX_BODIES_BYTES};
pub use http::enroll::{MAX_BODY_BYTES as MAX_ENROLMENT_BYTES, MAX_WRONG, WINDOW as WRONG_WINDOW};
pub use report::MAX_BOOT_BYTES;
pub use settings::host::{Host, HostId, Service};
pub use settings::{Clash, Settings, SettingsError};
pub use store::database::{MAX_PAGE, MAX_PAGE_BYTES, OpenError};
pub use store::invitation::{InviteError, MAX_PER_HOST, Revoked, invite, revoke};
pub use store::runs::{MAX_RUNS, MAX_RUNS_IN_ALL};
pub use tls::{HANDSHAKE_TIMEOUT, TlsError, TlsFiles};

/// Most connections at a time; more of them wait to be accepted. Together with the database this
/// stays below 1024, the usual limit of open files.
pub const MAX_CONNECTIONS: usize = 960;

/// How long a connection may lie idle, and how long the head of a request may take. Agents that
/// report once a minute keep theirs.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may leave its answer lying before its connection is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests under way may take to end once the collector is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest head of a request, in bytes; hyper takes at most 100 headers.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// How long to wait before accepting again after the system refused, for want of memory or of
/// files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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
#[derive(Debug)]
pub enum ServeError {
    /// The address is taken, or not one of this host.
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The database cannot be used.
    Store(OpenError),
    /// A file with a token cannot be used.
    Secret(SecretError),
    /// A file for TLS cannot be used.
    Tls(TlsError),
    /// The system has no thread or no event queue to give.
    System(io::Error),
}

impl Collector {
    /// Listens and opens the database. Connections that come in from here on wait.
    pub fn bind(settings: Settings) -> Result<Collector, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::System)?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose();
        let tls = tls.map_err(ServeError::Tls)?;
        let address = settings.listen;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(|cause| ServeError::Listen { address, cause })?;
        let address = listener.local_addr().map_err(ServeError::System)?;
        let (store, store_thread) =
            store::Store::open(&settings.database).map_err(ServeError::Store)?;
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
        )
        .map_err(ServeError::Secret)?;
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
            room: http::body::Room::default(),
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
        runtime.block_on(accept_until(stop, listener, tls, router));
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

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen { address, cause } => {
                write!(f, "cannot listen on {address}: {cause}")
            }
            ServeError::Store(cause) => cause.fmt(f),
            ServeError::Secret(cause) => cause.fmt(f),
            ServeError::Tls(cause) => cause.fmt(f),
            ServeError::System(cause) => write!(f, "the collector cannot start: {cause}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// Whether others than this host's own processes may see what is sent to `address`.
fn is_overheard(address: SocketAddr, has_tls: bool) -> bool {
    !has_tls && !address.ip().to_canonical().is_loopback()
}

async fn accept_until(
    stop: impl Future<Output = ()>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
) {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        // What it reads ahead counts with no body.
        .max_buf_size(2 * MAX_HEAD_BYTES);
    let mut stop = pin!(stop);
    loop {
        let (stream, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let (http, tls, watcher) = (http.clone(), tls.clone(), connections.watcher());
        tokio::spawn(async move {
            // Whatever ends a connection is the client's affair; it has its answer or asks again.
            match tls {
                None => {
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    let _ = watcher.watch(connection).await;
                }
                Some(tls) => {
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        let connection = http.serve_connection(TokioIo::new(stream), service);
                        let _ = watcher.watch(connection).await;
                    }
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_TIMEOUT, connections.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // None only if somebody closes the semaphore, which nobody does.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Should one of these fail, the connection works nevertheless.
                let _ = stream.set_nodelay(true);
                let timeout_ms = WRITE_TIMEOUT.as_millis() as u32;
                let _ = setsockopt(&stream, TcpUserTimeout, &timeout_ms);
                return (stream, slot);
            }
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(cause) => {
                log::warn!("cannot accept connections: {cause}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
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
