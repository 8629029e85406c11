//! What the answers are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use tokio::sync::{Notify, watch};

use super::body::Room;
use super::frames::Live;
use super::guesses::Guesses;
use super::hashing::Hashing;
use crate::client_name::ClientName;
use crate::collector::alarms::duty::Alarms;
use crate::collector::auth::Guard;
use crate::collector::auth::attempts::Attempts;
use crate::collector::auth::link::OneTimeLink;
use crate::collector::auth::sessions::Sessions;
use crate::collector::lateness::Lateness;
use crate::collector::notices::Notices;
use crate::collector::now::now_ms;
use crate::collector::settings::access::Access;
use crate::collector::settings::host::Host;
use crate::collector::store::Store;
use crate::collector::watch::Watch;

/// What the answers are made from.
pub struct App {
    rules: RwLock<Arc<Rules>>,
    /// The database.
    pub store: Store,
    /// The room for bodies of requests.
    pub room: Room,
    /// Recent wrong codes.
    pub guesses: Guesses,
    /// Recent wrong passwords.
    pub attempts: Attempts,
    /// Where passwords are compared.
    pub hashing: Hashing,
    /// Who has logged in.
    pub sessions: Sessions,
    /// The link of this start.
    pub link: OneTimeLink,
    /// Who listens to the state of the hosts.
    pub live: Live,
    /// Somebody has enrolled whom no file names: the rules are made anew.
    pub has_enrolled: Notify,
    followed: watch::Sender<()>,
    /// What the log says of clients.
    pub notices: Notices,
    /// What reports say of the hosts.
    pub watch: Arc<Watch>,
    /// Who is late.
    pub lateness: Arc<Lateness>,
    /// What is wrong with hosts, and who hears of it.
    pub alarms: Arc<Alarms>,
    /// When this collector started, in milliseconds since 1970-01-01 00:00 UTC.
    pub started_ms: i64,
}

/// What the settings say, for as long as they are in force. A request keeps those that it began with.
pub struct Rules {
    /// Every host of the settings.
    pub hosts: Arc<BTreeMap<ClientName, Host>>,
    /// Those of them that no file names: they enrolled into a group.
    pub fleet: Arc<BTreeSet<ClientName>>,
    /// What a host of each group that no file names monitors.
    pub groups: Arc<BTreeMap<String, Host>>,
    /// The group of hosts that enrol without one being named.
    pub enroll_into: Option<String>,
    /// Which hosts and programs may have which answer.
    pub guard: Guard,
    /// Which people may, and how requests may come.
    pub access: Arc<Access>,
    /// Whether connections are encrypted.
    pub has_tls: bool,
    /// The certificate that hosts have to be told of, in base64, if there is one.
    pub certificate: Option<String>,
}

/// The same for all requests.
pub type SharedApp = State<Arc<App>>;

/// What is seen of hosts.
pub struct HostViews {
    /// What reports say of them.
    pub watch: Arc<Watch>,
    /// Who is late.
    pub lateness: Arc<Lateness>,
    /// What is wrong with them.
    pub alarms: Arc<Alarms>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

impl App {
    /// With the rules that hold at first.
    pub fn new(
        rules: Rules,
        store: Store,
        sessions: Sessions,
        hashing: Hashing,
        sight: HostViews,
        live: Live,
    ) -> App {
        let HostViews {
            watch,
            lateness,
            alarms,
        } = sight;
        App {
            rules: RwLock::new(Arc::new(rules)),
            store,
            room: Room::default(),
            guesses: Guesses::default(),
            attempts: Attempts::default(),
            hashing,
            sessions,
            link: OneTimeLink::default(),
            live,
            has_enrolled: Notify::new(),
            followed: watch::Sender::new(()),
            notices: Notices::default(),
            watch,
            lateness,
            alarms,
            started_ms: now_ms(),
        }
    }

    /// Those in force.
    pub fn rules(&self) -> Arc<Rules> {
        // Nothing can panic while it has them.
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From the next request on these are in force.
    pub fn follow(&self, rules: Rules) {
        self.watch.retain(|client| rules.hosts.contains_key(client));
        self.lateness
            .retain(|client| rules.hosts.contains_key(client));
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.followed.send_replace(());
    }

    /// Done when rules are in force that know `client`, who has enrolled into a group.
    pub async fn until_known(&self, client: &ClientName) {
        let mut followed = self.followed.subscribe();
        self.has_enrolled.notify_one();
        while !self.rules().hosts.contains_key(client) && followed.changed().await.is_ok() {}
    }
}
