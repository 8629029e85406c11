//! What is known of each service of each client: its place in the database, its last report, and those in no block yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use serde_json::value::RawValue;

use super::open::{OpenReports, OpenRow};
use super::places::RunPlace;
use crate::client_name::ClientName;
use crate::collector::store::file_id::FileId;

/// The services of all clients. The writer changes them after each commit, readers look.
#[derive(Default)]
pub struct SharedStreams {
    streams: Mutex<Streams>,
    /// How many readers have the file open.
    pub readers: AtomicUsize,
    /// They are to begin nothing new for a moment.
    pub is_quiet: AtomicBool,
}

/// See [`SharedStreams`].
#[derive(Default)]
pub struct Streams {
    /// The file that they are in, and how many were opened before it. `None`: none is open.
    pub file: Option<(FileId, u64)>,
    ids: BTreeMap<ClientName, BTreeMap<String, i64>>,
    streams: BTreeMap<i64, Stream>,
    cells: usize,
}

/// One service of one client.
#[derive(Default)]
pub struct Stream {
    /// Whose it is.
    pub client: String,
    /// Its name.
    pub service: String,
    /// The reports up to this number of the log are in blocks.
    pub sealed: i64,
    /// The report that was stored last.
    pub last: Option<Last>,
    /// The reports in no block yet.
    pub open: OpenReports,
}

/// A report that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its number in the log.
    pub id: i64,
    /// When it came, in milliseconds since 1970-01-01 00:00 UTC.
    pub received_ms: i64,
}

impl SharedStreams {
    /// The streams, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Streams> {
        // What is known is right even if a thread panicked.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Reads what the database has of them. Their open reports are still in the log.
    pub fn read(connection: &Connection) -> rusqlite::Result<Streams> {
        let mut all = Streams::default();
        let mut statement =
            connection.prepare("SELECT id, client, service, sealed, last, last_ms FROM streams")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let last = match (row.get(4)?, row.get(5)?) {
                (Some(id), Some(received_ms)) => Some(Last { id, received_ms }),
                _ => None,
            };
            let stream = Stream {
                client: row.get(1)?,
                service: row.get(2)?,
                sealed: row.get(3)?,
                last,
                ..Stream::default()
            };
            all.add(row.get(0)?, stream);
        }
        Ok(all)
    }

    /// Adds one that the database has now.
    pub fn add(&mut self, id: i64, stream: Stream) {
        let client = ClientName::from_text(&stream.client);
        let services = self.ids.entry(client).or_default();
        services.insert(stream.service.clone(), id);
        self.streams.insert(id, stream);
    }

    /// Which one it is, if it ever had a report.
    pub fn id(&self, client: &ClientName, service: &str) -> Option<i64> {
        self.ids.get(client)?.get(service).copied()
    }

    /// One of them.
    pub fn get(&self, id: i64) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Stream)> {
        self.streams.iter().map(|(id, stream)| (*id, stream))
    }

    /// The number for the next one.
    pub fn next_id(&self) -> i64 {
        self.streams.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Values in no block yet.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Notes a report that was stored.
    pub fn push(
        &mut self,
        stream: i64,
        row: OpenRow,
        received_ms: i64,
        place: RunPlace<'_>,
        data: &RawValue,
    ) {
        let Some(stream) = self.streams.get_mut(&stream) else {
            return;
        };
        let id = row.id;
        if stream.last.is_none_or(|last| last.id < id) {
            stream.last = Some(Last { id, received_ms });
        }
        if id <= stream.sealed {
            return;
        }
        let before = stream.open.cells();
        stream.open.push(row, received_ms, place, data);
        self.cells += stream.open.cells() - before;
    }

    /// Notes that the reports of a stream up to this number of the log are in blocks.
    pub fn sealed(&mut self, stream: i64, through: i64) {
        let Some(stream) = self.streams.get_mut(&stream) else {
            return;
        };
        let before = stream.open.cells();
        stream.open.forget_through(through);
        stream.sealed = through;
        self.cells -= before - stream.open.cells();
    }

    /// The number in the log before the first report that is in no block.
    pub fn sealed_through(&self, last: i64) -> i64 {
        let open = self.streams.values();
        let first = open.filter_map(|it| it.open.rows().first()).map(|it| it.id);
        first.min().map_or(last, |first| first - 1)
    }

    /// The last reports of those that had one after this number of the log.
    pub fn changed_last(&self, after: i64) -> Vec<(i64, Last)> {
        let last = self.iter().filter_map(|(id, it)| Some((id, it.last?)));
        last.filter(|(_, last)| last.id > after).collect()
    }

    /// How many services a client has reported.
    pub fn services_of(&self, client: &ClientName) -> usize {
        self.ids.get(client).map_or(0, BTreeMap::len)
    }
}
