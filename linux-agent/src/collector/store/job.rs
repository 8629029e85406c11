//! What the thread that writes is asked to do.

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::intake::{Arrived, StoreOutcome};
use super::invitation::Enrolled;
use super::outage::Unavailable;

/// Where the answer goes.
pub type ReplyTo<T> = oneshot::Sender<Result<T, Unavailable>>;

/// What there is to do.
pub enum StoreJob {
    /// Store reports.
    Insert {
        arrived: Vec<Arrived>,
        room: Option<OwnedSemaphorePermit>,
        reply: ReplyTo<Vec<StoreOutcome>>,
    },
    /// Write to the tables what is known only in memory and in the log.
    WriteDown { reply: ReplyTo<()> },
    /// Give all enrolled tokens.
    Tokens { reply: ReplyTo<Vec<Enrolled>> },
    /// Change other tables, in a transaction.
    Change {
        work: TableChange,
        reply: ReplyTo<()>,
    },
}

/// What changes other tables.
pub type TableChange = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;
