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
mod data;
mod digest;
mod files;
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

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Sender;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::system::secret::SecretError;
use alarms::duty::Alarms;
use auth::Guard;
use auth::sessions::Sessions;
use http::app::{App, Rules, Sight};
use http::connections::{self, Listeners};
use http::frames::Live;
use http::hashing::Hashing;
use lateness::Lateness;
use now::steady_ms;
use reload::{Loaded, Reloader, Watched};
use settings::host::Host;
use store::Store;
use store::fleet;
use store::open::OpenError;
use tls::TlsFilesError;
use watch::Watch;

pub use alarms::courier::{MAIL_TIMEOUT, WEBHOOK_TIMEOUT};
pub use alarms::duty::MAX_UNWRITTEN;
pub use alarms::engine::MAX_REMEMBERED;
pub use alarms::figures::MAX_SAID;
pub use alarms::message::MAX_NAMED;
pub use alarms::outbox::{
    MAX_AGE_MS as MAX_MESSAGE_AGE_MS, MAX_LISTED, MAX_WAITING as MAX_MESSAGES,
};
pub use alarms::records::MAX_ROWS as MAX_ALARM_ROWS;
pub use alarms::silences::MAX_SILENCES;
pub use auth::attempts::{MAX_ADDRESSES as MAX_LOGIN_ADDRESSES, MAX_WAIT as MAX_LOGIN_WAIT};
pub use auth::sessions::{LIFE_S as SESSION_LIFE_S, MAX_PER_USER as MAX_SESSIONS};
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
pub use http::reports::{MAX_BODY_BYTES, MAX_SERVICES_OF_CLIENT};
pub use http::unpack::MAX_WINDOW_BYTES;
pub use notices::{MAX_LINES, SAY_AGAIN};
pub(crate) use password::PasswordHash;
pub use password::{LENGTH as PASSWORD_BYTES, MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES};
pub use report::{MAX_BOOT_BYTES, SEQ_END};
pub use settings::access::Role;
pub(crate) use settings::access::is_user_name;
pub use settings::alarms::{MAX_ALARMS, MAX_TEXT as MAX_ALARM_TEXT};
pub use settings::notify::MAX_TARGETS;
pub use settings::{MAX_CONNECTIONS, ServerSettings};
pub(crate) use store::backup::backup;
pub use store::history::open::MAX_COLUMNS as MAX_HISTORY_COLUMNS;
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
    watched: Option<Watched>,
    hangups: Signal,
    store_thread: JoinHandle<()>,
}

/// A collector on a thread of its own. Dropping this tells the thread to stop, without waiting.
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

impl Collector {
    /// Listens and opens the database. Connections wait from now on.
    pub fn bind(settings: ServerSettings) -> Result<Collector, ServeError> {
        let watched = Watched::new(&settings);
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
        let sight = Sight {
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

/// Who may have what by these settings, with the log told what a person should know of them.
async fn rules(
    settings: &ServerSettings,
    address: SocketAddr,
    store: Store,
) -> Result<Rules, ServeError> {
    let rules = made(settings, store).await?;
    let (guard, hosts) = (&rules.guard, &rules.hosts);
    let has_tokens = guard.has_tokens().await;
    let client_certificates = settings
        .tls
        .as_ref()
        .is_some_and(|it| it.client_authorities.is_some());
    let is_local = address.ip().to_canonical().is_loopback();
    if !is_local && !has_tokens && !client_certificates && !settings.allow_anonymous {
        return Err(ServeError::Anonymous(address));
    }
    if hosts.is_empty() {
        log::warn!(
            "no hosts: every agent is refused until the settings have a table such as [hosts.web]"
        );
    }
    for clash in &settings.clashes {
        log::warn!("{clash}");
    }
    for remark in guard.remarks().await {
        log::warn!("{remark}");
    }
    if !is_local && settings.tls.is_none() && has_tokens {
        log::warn!(
            "tokens go over the network in the clear to {address}; set tls_cert_file \
             and tls_key_file, or listen on loopback"
        );
    }
    Ok(rules)
}

/// What follows from the settings and from who has enrolled.
async fn made(settings: &ServerSettings, store: Store) -> Result<Rules, ServeError> {
    let mut hosts = settings.hosts.clone();
    let mut fleet = BTreeSet::new();
    let enrolled = store.look_up(fleet::read).await;
    for (client, group) in enrolled.map_err(|_| ServeError::Unavailable)? {
        // What a file says goes first. A group that is gone has no hosts.
        if let Some(host) = settings.groups.get(&group) {
            hosts.entry(client).or_insert_with_key(|client| {
                fleet.insert(client.clone());
                Host {
                    label: client.to_string(),
                    ..host.clone()
                }
            });
        }
    }
    let hosts = Arc::new(hosts);
    let reader = settings.read_token_file.clone();
    let guard = Guard::new(Arc::clone(&hosts), settings.require_tokens, reader, store).await?;
    Ok(Rules {
        hosts,
        guard,
        fleet: Arc::new(fleet),
        groups: Arc::clone(&settings.groups),
        enroll_into: settings.enroll_into.clone(),
        access: Arc::clone(&settings.access),
        has_tls: settings.tls.is_some(),
    })
}

/// From now on these rules count, for alarms and sessions too: of who has enrolled as of who stands in the settings.
async fn in_force(app: &App, rules: Rules, settings: &ServerSettings) {
    let access = Arc::clone(&rules.access);
    app.alarms
        .follow(Arc::clone(&rules.hosts), settings.notify.clone());
    app.follow(rules);
    app.sessions.follow(&access).await;
}

/// Never done. Requests under way keep the rules that they began with, and connections their encryption.
async fn follow_settings(
    settings: ServerSettings,
    watched: Option<Watched>,
    mut hangups: Signal,
    address: SocketAddr,
    app: Arc<App>,
    tls: Sender<Option<TlsAcceptor>>,
) {
    let (follow, mut loaded) = mpsc::unbounded_channel();
    let Some(watched) = watched else {
        return std::future::pending().await;
    };
    let reloader = match Reloader::start(watched, follow) {
        Ok(reloader) => reloader,
        Err(cause) => {
            log::error!("the settings are not read again when they change: {cause}");
            return std::future::pending().await;
        }
    };
    let mut current = settings.clone();
    loop {
        let new = tokio::select! {
            () = app.has_enrolled.notified() => {
                match made(&current, app.store.clone()).await {
                    Ok(rules) => in_force(&app, rules, &current).await,
                    Err(error) => log::error!("{error}; who enrolled last is not known yet"),
                }
                continue;
            }
            _ = hangups.recv() => {
                reloader.hang_up();
                continue;
            }
            new = loaded.recv() => new,
        };
        // The thread ends only with `reloader`.
        let Some(Loaded {
            settings: new,
            tls: encryption,
        }) = new
        else {
            return std::future::pending().await;
        };
        match rules(&new, address, app.store.clone()).await {
            Ok(rules) => {
                log::info!("the settings were read again; hosts: {}", rules.hosts.len());
                let at_start = |it: &ServerSettings| {
                    (it.listen, it.database.clone(), it.max_connections, it.store)
                };
                if at_start(&new) != at_start(&settings) {
                    log::warn!(
                        "`listen`, `database`, `max_connections`, `keep_…` and `commit_pause_ms` are read at start only: restart the collector to \
                         change them"
                    );
                }
                in_force(&app, rules, &new).await;
                tls.send_replace(encryption);
                current = new;
            }
            Err(error) => {
                log::error!("{error}; the settings that were read before stay in force");
            }
        }
    }
}
