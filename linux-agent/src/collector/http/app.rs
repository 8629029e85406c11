//! What the answers come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;

use super::body::Room;
use super::guesses::Guesses;
use crate::collector::auth::Guard;
use crate::collector::settings::host::{Host, HostId};
use crate::collector::store::Store;

/// What the answers come from.
pub struct App {
    /// Every host of the settings.
    pub hosts: Arc<BTreeMap<HostId, Host>>,
    /// The database.
    pub store: Store,
    /// Who may have which answer.
    pub guard: Guard,
    /// Where the bodies of requests are while they come.
    pub room: Room,
    /// Wrong codes of late.
    pub guesses: Guesses,
}

/// The same for all requests.
pub type Shared = State<Arc<App>>;
