//! The thread that owns the database. Requests come to it one by one, over a channel.

pub(crate) mod database;
pub(crate) mod file;
pub(crate) mod invitation;
pub(crate) mod open;
mod outage;
pub(crate) mod runs;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::digest::Digest;
use super::report::Report;
use super::settings::host::Host;
use crate::client_name::ClientName;
use database::{Inserter, LATEST, Page, Query, Stored, now_ms};
use file::DatabaseFile;
use invitation::{Enrolled, Redeemed};
use open::OpenError;
use outage::Outage;
use runs::ClientRuns;

pub use outage::Unavailable;

/// How long to wait before trying again to open a database that was deleted or replaced.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// A handle on the thread that owns the database. Copies share the thread; it ends when the last copy is gone.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or creates the database at `path` and starts its thread.
    pub fn open(path: &Path) -> Result<(Store, JoinHandle<()>), OpenError> {
        let file = DatabaseFile::open(path)?;
        let (requests, inbox) = mpsc::channel();
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                if let Err(cause) = work(file, &path, &inbox) {
                    log::error!("{} cannot be used: {cause}", path.display());
                }
            })
            .map_err(OpenError::Thread)?;
        Ok((Store { requests }, thread))
    }

    /// Stores a report that arrived at `received_ms`, unless it is there already.
    pub async fn insert(&self, report: Report, received_ms: i64) -> Result<(), Unavailable> {
        self.ask(|reply| Job::Insert {
            report,
            received_ms,
            reply,
        })
        .await
    }

    /// Reads what `query` asks for.
    pub async fn read(&self, query: Query) -> Result<Page, Unavailable> {
        self.ask(|reply| Job::Read { query, reply }).await
    }

    /// The report of each of these services of `client` that was received last.
    pub async fn latest(
        &self,
        client: ClientName,
        services: Vec<String>,
    ) -> Result<Vec<Option<Stored>>, Unavailable> {
        self.ask(|reply| Job::Latest {
            client,
            services,
            reply,
        })
        .await
    }

    /// The accounts of these clients.
    pub async fn accounting(
        &self,
        clients: Vec<ClientName>,
    ) -> Result<Vec<ClientRuns>, Unavailable> {
        self.ask(|reply| Job::Account { clients, reply }).await
    }

    /// All enrolled tokens; see [`invitation::tokens`].
    pub async fn tokens(&self) -> Result<Vec<Enrolled>, Unavailable> {
        self.ask(|reply| Job::Tokens { reply }).await
    }

    /// Exchanges a code for a token; see [`invitation::redeem`].
    pub async fn redeem(
        &self,
        code: Digest,
        token: Digest,
        hosts: Arc<BTreeMap<ClientName, Host>>,
    ) -> Result<Redeemed, Unavailable> {
        self.ask(|reply| Job::Redeem {
            code,
            token,
            hosts,
            reply,
        })
        .await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Job) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(Unavailable))
    }
}

type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;

enum Job {
    Insert {
        report: Report,
        received_ms: i64,
        reply: Reply<()>,
    },
    Read {
        query: Query,
        reply: Reply<Page>,
    },
    Latest {
        client: ClientName,
        services: Vec<String>,
        reply: Reply<Vec<Option<Stored>>>,
    },
    Account {
        clients: Vec<ClientName>,
        reply: Reply<Vec<ClientRuns>>,
    },
    Tokens {
        reply: Reply<Vec<Enrolled>>,
    },
    Redeem {
        code: Digest,
        token: Digest,
        hosts: Arc<BTreeMap<ClientName, Host>>,
        reply: Reply<Redeemed>,
    },
}

/// Why the thread stops answering.
enum End {
    /// All handles are gone.
    NobodyAsks,
    /// The open file is not the one that a restart would find.
    Displaced,
}

/// Answers requests until all handles are gone.
fn work(mut file: DatabaseFile, path: &Path, inbox: &mpsc::Receiver<Job>) -> rusqlite::Result<()> {
    let name = &path.display().to_string();
    while let End::Displaced = answer(&file, name, inbox)? {
        log::error!(
            "{name} was deleted or replaced, requests are refused until it can be opened again"
        );
        match reopen(file, path, inbox) {
            Some(reopened) => file = reopened,
            None => break,
        }
    }
    Ok(())
}

/// Dropping a request refuses it.
fn answer(file: &DatabaseFile, name: &str, inbox: &mpsc::Receiver<Job>) -> rusqlite::Result<End> {
    let connection = file.connection();
    let mut inserter = Inserter::new(connection)?;
    let mut latest = connection.prepare(LATEST)?;
    let mut writing = Outage::new(name, "written", connection);
    let mut reading = Outage::new(name, "read", connection);
    for request in inbox {
        // Tokens are looked up for another request, which will notice.
        if !matches!(request, Job::Tokens { .. }) && !file.is_in_place() {
            return Ok(End::Displaced);
        }
        // Whoever asked may be gone.
        match request {
            Job::Insert {
                report,
                received_ms,
                reply,
            } => {
                let result = inserter.insert(&report, received_ms);
                // SQLite writes to a deleted file without complaint.
                if !file.is_in_place() {
                    return Ok(End::Displaced);
                }
                let _ = reply.send(writing.note(result));
            }
            Job::Read { query, reply } => {
                let _ = reply.send(reading.note(database::read(connection, &query)));
            }
            Job::Latest {
                client,
                services,
                reply,
            } => {
                let result = services
                    .iter()
                    .map(|service| database::latest(&mut latest, &client, service))
                    .collect();
                let _ = reply.send(reading.note(result));
            }
            Job::Account { clients, reply } => {
                let _ = reply.send(reading.note(runs::read(connection, clients)));
            }
            Job::Tokens { reply } => {
                let _ = reply.send(reading.note(invitation::tokens(connection)));
            }
            Job::Redeem {
                code,
                token,
                hosts,
                reply,
            } => {
                let is_host = |id: &ClientName| hosts.contains_key(id);
                let result = invitation::redeem(connection, &code, &token, now_ms(), is_host);
                if !file.is_in_place() {
                    return Ok(End::Displaced);
                }
                let _ = reply.send(writing.note(result));
            }
        }
    }
    Ok(End::NobodyAsks)
}

fn close(file: &mut Option<DatabaseFile>) -> Result<(), OpenError> {
    if let Some(open) = file {
        open.empty_log()?;
    }
    *file = None;
    Ok(())
}

/// Opens the file that is there now, or a new one. Refuses requests until that succeeds. `None`: all handles are
/// gone.
fn reopen(
    displaced: DatabaseFile,
    path: &Path,
    inbox: &mpsc::Receiver<Job>,
) -> Option<DatabaseFile> {
    let mut old = Some(displaced);
    let mut told = String::new();
    loop {
        let existed = path.exists();
        match close(&mut old).and_then(|()| DatabaseFile::open(path)) {
            Ok(file) => {
                let what = if existed {
                    "the file that is there now is in use"
                } else {
                    "a new file was created; it has none of the earlier reports"
                };
                log::warn!("{}: {what}", path.display());
                return Some(file);
            }
            Err(cause) => {
                let sentence = cause.to_string();
                if sentence != told {
                    log::error!("{sentence}");
                    told = sentence;
                }
            }
        }
        let next = Instant::now() + REOPEN_PAUSE;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match inbox.recv_timeout(left) {
                Ok(request) => drop(request),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::collector::store::database::MAX_PAGE;
    use crate::collector::store::open::BUSY_TIMEOUT;

    #[test]
    fn a_locked_database_refuses_all_that_wait_in_the_time_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        let (store, worker) = Store::open(&path).unwrap();
        let locker = rusqlite::Connection::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let insert = |seq| store.insert(report(seq), 0);
            locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
            let began = Instant::now();
            for seq in 0..100 {
                assert_eq!(insert(seq).await, Err(Unavailable));
            }
            // One after the other they would take a hundred times the timeout.
            assert!(began.elapsed() < 50 * BUSY_TIMEOUT);
            locker.execute_batch("COMMIT").unwrap();
            assert_eq!(insert(0).await, Ok(()));
        });
        drop(store);
        worker.join().unwrap();
    }

    fn report(seq: i64) -> Report {
        Report {
            client_id: ClientName::Number(1),
            service_name: "LinuxCPU".to_owned(),
            data: RawValue::from_string("{}".to_owned()).unwrap(),
            time: None,
            uptime: None,
            boot: Some("a".to_owned()),
            seq: Some(seq),
            error: None,
        }
    }

    #[test]
    fn a_full_disk_refuses_reports_and_keeps_those_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        let file = DatabaseFile::open(&path).unwrap();
        file.connection()
            .pragma_update(None, "max_page_count", 20)
            .unwrap();
        let (requests, inbox) = mpsc::channel();
        let worker = std::thread::spawn(move || work(file, &path, &inbox).unwrap());

        let insert = |seq| {
            let (reply, answer) = oneshot::channel();
            let report = report(seq);
            let request = Job::Insert {
                report,
                received_ms: 0,
                reply,
            };
            requests.send(request).unwrap();
            answer.blocking_recv().unwrap()
        };
        let stored = (0..10_000).take_while(|seq| insert(*seq).is_ok()).count();
        assert!(stored > 10 && stored < 10_000, "{stored}");
        assert_eq!(insert(20_000), Err(Unavailable));

        let (reply, page) = oneshot::channel();
        let query = Query {
            client: None,
            service: None,
            since_ms: None,
            after: 0,
            limit: MAX_PAGE,
        };
        requests.send(Job::Read { query, reply }).unwrap();
        let page = page.blocking_recv().unwrap().unwrap();
        assert_eq!(page.reports.len(), stored);
        drop(requests);
        worker.join().unwrap();
    }
}
