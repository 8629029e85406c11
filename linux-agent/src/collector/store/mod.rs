//! The database. One thread writes, two read; requests come to them over channels.
//!
//! ```text
//! report ──► log (committed: acknowledged) ──► open reports, in memory ──► blocks of points and partials
//!             48 h, as it came                  240 of a service, or 1 h    400 days; for ever
//! ```

pub(crate) mod backup;
pub(crate) mod begun;
pub(crate) mod file;
mod file_id;
pub(crate) mod fleet;
mod gathered;
pub(crate) mod history;
mod intake;
pub(crate) mod invitation;
mod job;
pub(crate) mod numbers;
pub(crate) mod open;
mod outage;
pub(crate) mod readers;
pub(crate) mod reports;
mod retention;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod sessions;
pub(crate) mod settings;
mod wal;
mod writer;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::now::steady_ms;
use crate::client_name::ClientName;
use history::series::{self, Question, Series};
use history::streams::{Last, SharedStreams};
use invitation::Enrolled;
use job::{ReplyTo, StoreJob};
use open::OpenError;
use readers::Readers;
use reports::{MAX_PAGE_BYTES, Page, Query, Stored};
use runs::ClientRuns;
use settings::StoreSettings;
use writer::Writer;

pub(crate) use intake::{Arrived, StoreOutcome};
pub use outage::Unavailable;

/// A handle on the threads that own the database. Copies share them; they end when the last copy is gone.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<StoreJob>,
    readers: Readers,
    streams: Arc<SharedStreams>,
    trouble: Arc<AtomicI64>,
}

impl Store {
    /// Opens or creates the database at `path` and starts its threads. The handle is that of the one that writes.
    pub fn open(
        path: &Path,
        settings: StoreSettings,
    ) -> Result<(Store, JoinHandle<()>), OpenError> {
        let streams = Arc::new(SharedStreams::default());
        let (jobs, inbox) = mpsc::channel();
        let writer = Writer::open(path, settings, Arc::clone(&streams), 0)?;
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.work(&inbox))
            .map_err(OpenError::Thread)?;
        let readers = Readers::start(path, &streams).map_err(OpenError::Thread)?;
        let store = Store {
            jobs,
            readers,
            streams,
            trouble: Arc::default(),
        };
        Ok((store, thread))
    }

    /// Stores reports that came together, all of them or none, unless they are there already. Says of each whether it
    /// is there now. `room` is what they take in memory: it is free once they are stored, whoever still waits for that.
    pub async fn insert(
        &self,
        arrived: Vec<Arrived>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<StoreOutcome>, Unavailable> {
        let ask = self.ask(|reply| StoreJob::Insert {
            arrived,
            room,
            reply,
        });
        let stored = ask.await;
        self.note_trouble(stored.is_err());
        stored
    }

    /// Since when no report could be stored, by the steady clock.
    pub fn trouble_ms(&self) -> Option<i64> {
        Some(self.trouble.load(Ordering::Relaxed)).filter(|since_ms| *since_ms > 0)
    }

    fn note_trouble(&self, is_trouble: bool) {
        let now_ms = if is_trouble { steady_ms() } else { 0 };
        let before = self.trouble.load(Ordering::Relaxed);
        if !is_trouble || before == 0 {
            self.trouble.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Reads what `query` asks for.
    pub async fn read(&self, query: Query) -> Result<Page, Unavailable> {
        self.readers
            .read(move |connection| reports::read(connection, &query))
            .await
    }

    /// Answers a question about the history of a service. `None`: the client never reported it.
    pub async fn series(&self, question: Question) -> Result<Option<Series>, Unavailable> {
        let streams = Arc::clone(&self.streams);
        self.readers
            .read(move |connection| series::read(connection, &streams, &question))
            .await
    }

    /// When the last report of a service came, if it was this version that stored it.
    pub fn last(&self, client: &ClientName, service: &str) -> Option<Last> {
        let streams = self.streams.lock();
        streams.get(streams.id(client, service)?)?.last
    }

    /// How many services a client has reported so far.
    pub fn services_of(&self, client: &ClientName) -> usize {
        self.streams.lock().services_of(client)
    }

    /// The report of each of these services that was received last, unless it is too old to be kept, or those before it
    /// are [`MAX_PAGE_BYTES`] already.
    pub async fn latest(
        &self,
        services: Vec<(ClientName, String)>,
    ) -> Result<Vec<Option<Stored>>, Unavailable> {
        let last = services.into_iter().map(|(client, service)| {
            let last = self.last(&client, &service);
            (client, service, last)
        });
        let last: Vec<_> = last.collect();
        self.readers
            .read(move |connection| {
                let mut bytes = 0;
                let latest = last.iter().map(|(client, service, last)| {
                    if bytes >= MAX_PAGE_BYTES {
                        return Ok(None);
                    }
                    let report = match last {
                        Some(last) => reports::in_log(connection, last.id),
                        None => reports::latest_of_earlier_version(connection, client, service),
                    }?;
                    bytes += report.as_ref().map_or(0, |it| it.data.get().len());
                    Ok(report)
                });
                latest.collect()
            })
            .await
    }

    /// The accounts of these clients.
    pub async fn accounting(
        &self,
        clients: Vec<ClientName>,
    ) -> Result<Vec<ClientRuns>, Unavailable> {
        self.ask(|reply| StoreJob::WriteDown { reply }).await?;
        self.readers
            .read(move |connection| runs::read(connection, clients))
            .await
    }

    /// How many of each of these parts of runs never came. `None`: that is not known.
    pub async fn missing(
        &self,
        client: ClientName,
        parts: Vec<(String, Range<u64>)>,
    ) -> Result<Vec<Option<u64>>, Unavailable> {
        self.ask(|reply| StoreJob::WriteDown { reply }).await?;
        self.readers
            .read(move |connection| {
                let client = client.to_string();
                let parts = parts.iter();
                parts
                    .map(|(boot, range)| numbers::missing(connection, &client, boot, range.clone()))
                    .collect()
            })
            .await
    }

    /// All enrolled tokens; see [`invitation::tokens`].
    pub async fn tokens(&self) -> Result<Vec<Enrolled>, Unavailable> {
        self.ask(|reply| StoreJob::Tokens { reply }).await
    }

    /// Reads from tables other than those of reports.
    pub async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.readers.read(work).await
    }

    /// Changes tables other than those of reports, whole or not at all.
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (tell, told) = oneshot::channel();
        let work = Box::new(move |connection: &Connection| {
            // Whoever asked may be gone.
            let _ = tell.send(work(connection)?);
            Ok(())
        });
        self.ask(|reply| StoreJob::Change { work, reply }).await?;
        told.await.map_err(|_| Unavailable)
    }

    async fn ask<T>(&self, job: impl FnOnce(ReplyTo<T>) -> StoreJob) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(Unavailable))
    }
}

#[cfg(test)]
mod tests;
