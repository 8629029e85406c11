//! What the thread that writes is asked to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::intake::{Arrived, Outcome};
use super::invitation::{Enrolled, Redeemed};
use super::outage::Unavailable;
use crate::client_name::ClientName;
use crate::collector::digest::Digest;
use crate::collector::settings::host::Host;

/// Where the answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;

/// What there is to do.
pub enum Job {
    /// Store reports.
    Insert {
        arrived: Vec<Arrived>,
        room: Option<OwnedSemaphorePermit>,
        reply: Reply<Vec<Outcome>>,
    },
    /// Write to the tables what is known only in memory and in the log.
    WriteDown { reply: Reply<()> },
    /// Give all enrolled tokens.
    Tokens { reply: Reply<Vec<Enrolled>> },
    /// Exchange a code for a token.
    Redeem {
        code: Digest,
        token: Digest,
        hosts: Arc<BTreeMap<ClientName, Host>>,
        reply: Reply<Redeemed>,
    },
    /// Change other tables, in a transaction.
    Change { work: Work, reply: Reply<()> },
}

/// What changes other tables.
pub type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;
