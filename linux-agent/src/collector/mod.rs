//! `mote serve`: the collector. It tells agents which services to monitor and keeps what they
//! report.
//!
//! ```text
//! POST /api/enroll                   a one-time code for a token
//! GET  /api/client/config/{id}       the services of a host, as JSON
//! POST /api/client/service/report/   one report, as JSON or as form fields
//! POST /api/client/service/reports   many, a line of JSON each
//! GET  /api/me                       who asks, and how to become somebody
//! GET  /api/live                     the hosts as they change, as server-sent events
//! POST /api/invitations              a code with which hosts enrol into a group, of an admin
//! POST /api/login                    a name and a password for a session; /api/logout ends it
//! POST /api/enter                    the code in the link of the start for a session
//! GET  /api/reports                  the reports kept: client_id, service, since, after, limit
//! GET  /api/accounting               received, duplicates and gaps of each run: client_id
//! GET  /api/alarms                   what is wrong, what was, and who heard of it: client_id, before, limit
//! GET  /api/events                   what happened: client_id, from, to, before, limit
//! POST /api/silences                 no messages about a host for a time
//! DELETE /api/silences/{id}          the end of that
//! GET  /                             what was reported last, for people: a page, or text
//! GET  /page/{name}                  the files of the page
//! ```
//!
//! One thread answers requests, another owns the database, a third looks after the settings.

mod alarms;
mod auth;
mod certificate;
mod data;
mod digest;
mod error;
mod files;
mod following;
mod http;
mod lateness;
mod notices;
mod now;
mod page;
pub(crate) mod password;
mod reload;
mod report;
mod settings;
pub(crate) mod socket;
pub(crate) mod span;
mod store;
mod tag;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::sync::watch::Sender;
use tokio_rustls::TlsAcceptor;

use alarms::duty::Alarms;
use auth::sessions::Sessions;
use following::{follow_settings, rules};
use http::app::{App, HostViews};
use http::connections::{self, Listeners};
use http::frames::Live;
use http::hashing::Hashing;
use lateness::Lateness;
use now::steady_ms;
use reload::WatchedFiles;
use store::Store;
use watch::Watch;

pub use alarms::duty::MAX_UNWRITTEN;
pub use alarms::engine::MAX_REMEMBERED;
pub use alarms::figures::MAX_SAID;
pub use alarms::message::MAX_NAMED;
pub use alarms::messenger::{MAIL_TIMEOUT, WEBHOOK_TIMEOUT};
pub use alarms::outbox::{
    MAX_AGE_MS as MAX_MESSAGE_AGE_MS, MAX_LISTED, MAX_WAITING as MAX_MESSAGES,
};
pub use alarms::records::MAX_ROWS as MAX_ALARM_ROWS;
pub use alarms::silences::MAX_SILENCES;
pub use auth::attempts::{MAX_ADDRESSES as MAX_LOGIN_ADDRESSES, MAX_WAIT as MAX_LOGIN_WAIT};
pub use auth::sessions::{LIFE_S as SESSION_LIFE_S, MAX_PER_USER as MAX_SESSIONS};
pub use error::ServeError;
pub use http::alarms::{MAX_HISTORY as MAX_ALARM_HISTORY, MAX_REASON, MAX_SILENCE_S};
pub use http::batch::MAX_SENTENCE;
pub use http::body::{BODY_TIMEOUT, MAX_BODIES_BYTES};
pub use http::connections::{IDLE_TIMEOUT, MAX_HEAD_BYTES, MAX_OWN_CONNECTIONS, STOP_TIMEOUT};
pub use http::events::MAX_EVENTS;
pub use http::frames::{MAX_STREAMS, STREAM_SHARE};
pub use http::guesses::MAX_DELAY as MAX_GUESS_DELAY;
pub use http::hashing::{MAX_HASHING, MAX_WAITING as MAX_LOGINS};
pub use http::idle::{MIN_PACE, STALL};
pub use http::invitations::MAX_TIMES as MAX_INVITED;
pub use http::json::MAX_BODY_BYTES as MAX_JSON_BYTES;
pub use http::places::WRITE_TIMEOUT;
pub use http::refusal::Refusal;
pub use http::reports::{MAX_BODY_BYTES, MAX_SERVICES_OF_CLIENT};
pub use http::unpack::{Coding, MAX_WINDOW_BYTES, unpack};
pub use notices::{MAX_LINES, SAY_AGAIN};
pub(crate) use password::PasswordHash;
pub use password::{LENGTH as PASSWORD_BYTES, MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES};
pub use report::{MAX_BOOT_BYTES, Report as CollectedReport, SEQ_END, TIME_S};
pub use settings::access::Role;
pub(crate) use settings::access::is_user_name;
pub use settings::alarms::{MAX_ALARMS, MAX_TEXT as MAX_ALARM_TEXT};
pub use settings::notify::MAX_TARGETS;
pub use settings::{MAX_CONNECTIONS, ServerSettings};
pub(crate) use store::backup::backup;
pub use store::history::open::MAX_COLUMNS as MAX_HISTORY_COLUMNS;
pub use store::history::partials::Partials;
pub use store::history::points::Points;
pub use store::history::samples::MAX_NAME_BYTES as MAX_HISTORY_NAME;
pub use store::history::seal::MAX_CELLS;
pub use store::history::series::{MAX_BINS, MAX_COLUMNS, MAX_VALUES};
pub use store::invitation::MAX_PER_HOST;
pub(crate) use store::invitation::{InviteError, invite, invite_fleet, revoke};
pub use store::numbers::MAX_RANGES;
pub use store::readers::{MAX_TIME as MAX_QUERY_TIME, MAX_WAITING};
pub use store::reports::{MAX_PAGE, MAX_PAGE_BYTES};
pub use store::runs::{MAX_RUNS, MAX_RUNS_IN_ALL};
pub use store::settings::{Retention, StoreSettings};
pub use tls::HANDSHAKE_TIMEOUT;

/// A collector that has its address and its database, and has not begun to answer.
///
/// It has its own runtime: its functions block, and must not be called from tasks of another one.
pub struct Collector {
    runtime: Runtime,
    listeners: Listeners,
    address: SocketAddr,
    app: Arc<App>,
    max_connections: u32,
    tls: Sender<Option<TlsAcceptor>>,
    settings: ServerSettings,
    watched: Option<WatchedFiles>,
    hangups: Signal,
    store_thread: JoinHandle<()>,
}

/// A collector on a thread of its own. Dropping this tells the thread to stop, without waiting.
pub struct Handle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Listens and opens the database. Connections wait from now on.
    pub fn bind(settings: ServerSettings) -> Result<Collector, ServeError> {
        let watched = WatchedFiles::new(&settings);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::System)?;
        // From here on, a hangup does not end the process.
        let hangups = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup()).map_err(ServeError::System)?
        };
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let address = settings.listen;
        let port = runtime
            .block_on(TcpListener::bind(address))
            .map_err(|cause| ServeError::Listen { address, cause })?;
        let address = port.local_addr().map_err(ServeError::System)?;
        if socket::connect(&settings.database).is_ok() {
            return Err(ServeError::Running(settings.database));
        }
        let (store, store_thread) = Store::open(&settings.database, settings.store)?;
        let socket = runtime.block_on(async { own_socket(&settings.database) })?;
        let listeners = Listeners { port, socket };
        let rules = runtime.block_on(rules(&settings, address, store.clone()))?;
        let sessions = Sessions::start(store.clone(), &rules.access, now::now_ms());
        let sessions = runtime.block_on(sessions);
        let hashing = Hashing::new().map_err(ServeError::System)?;
        let (watch, lateness) = (
            Arc::<Watch>::default(),
            Arc::new(Lateness::new(steady_ms())),
        );
        let alarms = Arc::new(runtime.block_on(Alarms::load(
            Arc::clone(&rules.hosts),
            settings.notify.clone(),
            store.clone(),
            Arc::clone(&lateness),
            Arc::clone(&watch),
        )));
        let sight = HostViews {
            watch,
            lateness,
            alarms,
        };
        let max_connections = files::allow(settings.max_connections);
        let live = Live::new(max_connections);
        Ok(Collector {
            runtime,
            listeners,
            address,
            app: Arc::new(App::new(rules, store, sessions, hashing, sight, live)),
            max_connections,
            tls: Sender::new(tls),
            settings,
            watched,
            hangups,
            store_thread,
        })
    }

    /// The address that it listens on. If the settings say port 0, the system chose one.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address with a code that lets in whoever opens it first, if nobody could look from elsewhere otherwise.
    pub fn link(&self) -> Result<Option<String>, ServeError> {
        let access = &self.app.rules().access;
        let is_local = self.address.ip().to_canonical().is_loopback();
        if is_local || !access.users.is_empty() || self.settings.read_token_file.is_some() {
            return Ok(None);
        }
        let code = self.app.link.make().map_err(ServeError::System)?;
        let scheme = if self.has_tls() { "https" } else { "http" };
        let address = self.address;
        let at = match (address.ip().is_unspecified(), http::machine()) {
            (true, name) if !name.is_empty() => format!("{name}:{}", address.port()),
            _ => address.to_string(),
        };
        Ok(Some(format!("{scheme}://{at}/#/enter/{code}")))
    }

    /// Does what needs the runtime, such as taking signals.
    pub(crate) fn in_runtime<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        work()
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// Answers until `stop` is done, then lets requests under way end within [`STOP_TIMEOUT`]. On SIGHUP, and when they
    /// change, the settings are read again.
    pub fn run(self, stop: impl Future<Output = ()>) {
        let Collector {
            runtime,
            listeners,
            app,
            max_connections,
            tls,
            settings,
            watched,
            hangups,
            store_thread,
            address,
        } = self;
        let encryption = tls.subscribe();
        let (has_socket, database) = (listeners.socket.is_some(), settings.database.clone());
        let router = http::router(Arc::clone(&app));
        let ends = Arc::clone(&app);
        let stop = async move {
            stop.await;
            ends.live.close();
        };
        runtime.block_on(async {
            let watching = Arc::clone(&app.alarms).work();
            let reload =
                follow_settings(settings, watched, hangups, address, Arc::clone(&app), tls);
            let serve = connections::accept_until(
                stop,
                max_connections,
                listeners,
                encryption,
                router,
                app,
            );
            tokio::select! {
                () = serve => {}
                () = reload => {}
                () = watching => {}
            }
        });
        if has_socket {
            socket::remove(&database);
        }
        // Ends the connections that are left, and with the last of them the store. A token file on a dead file
        // server is not waited for.
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
                    // A dropped handle means the same.
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
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests under way end within [`STOP_TIMEOUT`], then ends the rest, and waits until the
    /// database is closed.
    pub fn stop(self) {
        // Fails if the thread has ended by itself.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            log::error!("the collector's thread has panicked");
        }
    }
}

/// Reports matter more than commands, so a collector without a socket runs too.
fn own_socket(database: &Path) -> Result<Option<UnixListener>, ServeError> {
    let socket = match socket::listen(database) {
        Ok(Some(socket)) => UnixListener::from_std(socket),
        Ok(None) => return Err(ServeError::Running(database.to_owned())),
        Err(cause) => Err(cause),
    };
    match socket {
        Ok(socket) => Ok(Some(socket)),
        Err(cause) => {
            let path = socket::path_of(database);
            log::warn!(
                "commands such as `mote hosts` cannot ask this collector: {}: {cause}",
                path.display()
            );
            Ok(None)
        }
    }
}
