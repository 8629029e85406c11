//! The threads that read, beside the one that writes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::file_id::FileId;
use super::history::streams::SharedStreams;
use super::open::BUSY_TIMEOUT;
use super::outage::{Outage, Unavailable};

/// How many threads read.
const THREADS: usize = 2;

/// At most this many requests wait for them; further ones are refused.
pub const MAX_WAITING: usize = 128;

/// A query that takes longer is broken off.
pub const MAX_TIME: Duration = Duration::from_secs(10);

/// How often a thread looks whether the file is still the one to read.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// And whether it may go on, when none is to begin anything.
const QUIET_PAUSE: Duration = Duration::from_millis(5);

/// Steps of SQLite's machine after which it is asked whether anybody still waits.
const STEPS: i32 = 200;

/// A handle on the threads. They end when the last copy is gone.
#[derive(Clone)]
pub struct Readers {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

type Job = Box<dyn FnOnce(Option<&Connection>) + Send>;

/// Tells the thread that nobody waits for the answer any more.
struct Asking(Arc<AtomicBool>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    /// Starts the threads, which read the database at `path`.
    pub fn start(path: &Path, streams: &Arc<SharedStreams>) -> std::io::Result<Readers> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let inbox = Arc::new(Mutex::new(inbox));
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..THREADS {
            let (inbox, path) = (Arc::clone(&inbox), path.to_owned());
            let streams = Arc::clone(streams);
            std::thread::Builder::new()
                .name("reader".to_owned())
                .spawn(move || work(&inbox, &path, &streams))?;
        }
        Ok(Readers { jobs, waiting })
    }

    /// Has a thread do `work`. If the caller goes away, it is broken off.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable);
        }
        let asking = Asking(Arc::default());
        let is_over = Arc::clone(&asking.0);
        let waiting = Arc::clone(&self.waiting);
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            waiting.fetch_sub(1, Ordering::Relaxed);
            // Whoever asked may be gone.
            if let Some(connection) = connection
                && !is_over.load(Ordering::Relaxed)
            {
                let _ = reply.send(bounded(connection, is_over, work));
            }
        });
        self.jobs.send(job).map_err(|_| Unavailable)?;
        answer.await.unwrap_or(Err(Unavailable))
    }
}

fn bounded<T>(
    connection: &Connection,
    is_over: Arc<AtomicBool>,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Unavailable> {
    // What an outage has taken away comes back with each query.
    let _ = connection.busy_timeout(BUSY_TIMEOUT);
    let end = Instant::now() + MAX_TIME;
    let watch = Arc::clone(&is_over);
    let is_enough = move || watch.load(Ordering::Relaxed) || Instant::now() >= end;
    // Without it the query ends by itself.
    let _ = connection.progress_handler(STEPS, Some(is_enough));
    let result = work(connection);
    let _ = connection.progress_handler(STEPS, None::<fn() -> bool>);
    if is_over.load(Ordering::Relaxed) {
        return Err(Unavailable);
    }
    let name = connection.path().unwrap_or_default().to_owned();
    Outage::new(&name, "read", connection).note(result)
}

fn work(inbox: &Mutex<mpsc::Receiver<Job>>, path: &Path, streams: &SharedStreams) {
    let of_writer = streams.lock().file;
    let mut open = Open::new(of_writer, path, streams);
    loop {
        let inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let job = inbox.recv_timeout(LOOK_PAUSE);
        drop(inbox);
        while job.is_ok() && streams.is_quiet.load(Ordering::Acquire) {
            std::thread::sleep(QUIET_PAUSE);
        }
        // Of a file that took the place of another one, the writer has to know the streams first.
        let of_writer = streams.lock().file;
        let in_place = of_writer.filter(|(id, _)| FileId::at(path) == Some(*id));
        if open.as_ref().map(|it| it.file) != in_place {
            // First the old one goes.
            drop(open.take());
            open = Open::new(in_place, path, streams);
        }
        match job {
            Ok(job) => job(open.as_ref().map(|it| &it.connection)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A connection to a file. The writer opens no other one until all are gone.
struct Open<'s> {
    connection: Connection,
    file: (FileId, u64),
    _counted: Counted<'s>,
}

struct Counted<'s>(&'s SharedStreams);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Release);
    }
}

impl<'s> Open<'s> {
    fn new(
        file: Option<(FileId, u64)>,
        path: &Path,
        streams: &'s SharedStreams,
    ) -> Option<Open<'s>> {
        let file = file?;
        streams.readers.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(streams);
        // Counted first: what the writer gives up from now on, it waits for.
        if streams.lock().file != Some(file) {
            return None;
        }
        let connection = connect(path)?;
        let is_it = FileId::at(path) == Some(file.0);
        is_it.then_some(Open {
            connection,
            file,
            _counted: counted,
        })
    }
}

fn connect(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // The first query opens the files beside it, which then are there before anybody asks.
        connection.query_row("SELECT count(*) FROM streams", [], |_| Ok(()))?;
        Ok(connection)
    };
    match connect() {
        Ok(connection) => Some(connection),
        Err(cause) => {
            let cause: rusqlite::Error = cause;
            log::error!("{} cannot be read: {cause}", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    /// Counts further than anybody lives.
    const ENDLESS: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn readers() -> (tempfile::TempDir, Readers) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        drop(open::open(&path, BUSY_TIMEOUT).unwrap());
        let streams = Arc::new(SharedStreams::default());
        streams.lock().file = FileId::at(&path).map(|id| (id, 0));
        (folder, Readers::start(&path, &streams).unwrap())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    fn one(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
        connection.query_row(sql, [], |row| row.get(0))
    }

    #[test]
    fn a_query_ends_with_whoever_asked() {
        let (_folder, readers) = readers();
        runtime().block_on(async {
            for _ in 0..3 * THREADS {
                let endless = readers.read(|connection| one(connection, ENDLESS));
                let soon = std::future::ready(());
                tokio::select! {
                    biased;
                    _ = endless => panic!("an end"),
                    () = soon => {}
                }
            }
            // All threads would be busy for ever.
            let answer = readers.read(|connection| one(connection, "SELECT 7"));
            assert_eq!(answer.await, Ok(7));
        });
    }

    #[test]
    fn a_query_has_its_time() {
        let (_folder, readers) = readers();
        let answer = readers.read(|connection| one(connection, ENDLESS));
        let began = Instant::now();
        assert_eq!(runtime().block_on(answer), Err(Unavailable));
        assert!(began.elapsed() >= MAX_TIME);
    }

    #[test]
    fn only_so_many_wait() {
        let (_folder, readers) = readers();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let ask = || {
            let gate = Arc::clone(&gate);
            let answer = readers.read(move |_| {
                // Ends when the sender is gone.
                let _ = gate.lock().unwrap().recv();
                Ok(())
            });
            Box::pin(answer)
        };
        runtime().block_on(async {
            let mut waiting = Vec::new();
            // Those that are answered wait no more.
            for _ in 0..MAX_WAITING + THREADS {
                let mut answer = ask();
                let first = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(answer.as_mut().poll(context))
                });
                if first.await.is_ready() {
                    break;
                }
                waiting.push(answer);
            }
            while readers.waiting.load(Ordering::Relaxed) < MAX_WAITING {
                let mut answer = ask();
                let first = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(answer.as_mut().poll(context))
                });
                assert!(first.await.is_pending());
                waiting.push(answer);
            }
            assert_eq!(ask().await, Err(Unavailable));
            drop(go);
            for answer in waiting {
                assert_eq!(answer.await, Ok(()));
            }
            assert_eq!(ask().await, Ok(()));
        });
    }
}
