//! What the thread that writes is asked to do.

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::intake::{Arrived, Outcome};
use super::invitation::Enrolled;
use super::outage::Unavailable;

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
    /// Change other tables, in a transaction.
    Change { work: Work, reply: Reply<()> },
}

/// What changes other tables.
pub type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;
