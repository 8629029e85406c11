//! Reports that several requests brought, on their way into one commit.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::intake::{Arrived, StoreOutcome};
use super::job::{ReplyTo, StoreJob};
use super::outage::Unavailable;

/// At most this many reports in one commit, and what the last request brought beyond.
const MAX_BATCH: usize = 4096;

/// After a commit of fewer reports than this, more are waited for, if the settings say so.
pub const FEW: usize = 32;

/// Reports that are committed together.
pub struct Batch {
    /// All of them.
    pub arrived: Vec<Arrived>,
    /// Who waits for how many of them, and the room that they take.
    asking: Vec<(
        usize,
        ReplyTo<Vec<StoreOutcome>>,
        Option<OwnedSemaphorePermit>,
    )>,
}

impl Batch {
    /// The first of them.
    pub fn new(
        arrived: Vec<Arrived>,
        room: Option<OwnedSemaphorePermit>,
        reply: ReplyTo<Vec<StoreOutcome>>,
    ) -> Batch {
        let asking = vec![(arrived.len(), reply, room)];
        Batch { arrived, asking }
    }

    /// Takes those that wait behind it, up to a request of another kind, which it gives.
    pub fn gather(&mut self, inbox: &Receiver<StoreJob>, pause: Duration) -> Option<StoreJob> {
        let end = Instant::now() + pause;
        while self.arrived.len() < MAX_BATCH {
            let left = end.saturating_duration_since(Instant::now());
            let next = match self.arrived.len() < FEW && !left.is_zero() {
                true => inbox.recv_timeout(left).ok(),
                false => inbox.try_recv().ok(),
            };
            match next {
                Some(StoreJob::Insert {
                    arrived,
                    room,
                    reply,
                }) => {
                    self.asking.push((arrived.len(), reply, room));
                    self.arrived.extend(arrived);
                }
                other => return other,
            }
        }
        None
    }

    /// Says to each who asked what became of its reports.
    pub fn answer(self, result: Result<Vec<StoreOutcome>, Unavailable>) {
        let mut outcomes = result.map(Vec::into_iter);
        for (count, reply, _room) in self.asking {
            let its = outcomes.as_mut().map(|it| it.take(count).collect());
            // Whoever asked may be gone.
            let _ = reply.send(its.map_err(|unavailable| *unavailable));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Poll;
    use std::thread::{JoinHandle, sleep};

    use rusqlite::Connection;
    use tokio::sync::Semaphore;

    use super::super::Store;
    use super::super::settings::StoreSettings;
    use super::*;
    use crate::collector::now::now_ms;
    use crate::collector::report::Report;

    fn open(folder: &Path, commit_pause: Duration) -> (Store, JoinHandle<()>) {
        let settings = StoreSettings {
            commit_pause,
            ..StoreSettings::default()
        };
        Store::open(&folder.join("reports.db"), settings).unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    fn arrived(seqs: std::ops::Range<usize>) -> Vec<Arrived> {
        let report = |seq| {
            let text = format!(
                r#"{{"client_id":1,"service_name":"a","data":{{}},"boot":"b","seq":{seq}}}"#
            );
            Report::parse(text.as_bytes()).unwrap()
        };
        let arrived = seqs.map(|seq| Arrived {
            report: report(seq),
            received_ms: now_ms(),
        });
        arrived.collect()
    }

    async fn is_pending<F: Future + ?Sized>(mut future: Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()))
            .await
    }

    /// A pause that nobody sees the end of: whatever is answered did not wait for it.
    #[test]
    fn after_few_reports_more_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (store, worker) = open(folder.path(), Duration::from_secs(86_400));
        runtime().block_on(async {
            let stored = |count| Ok(vec![StoreOutcome::Stored; count]);
            // The first, and those that are many by themselves.
            assert_eq!(store.insert(arrived(0..1), None).await, stored(1));
            assert_eq!(store.insert(arrived(1..1 + FEW), None).await, stored(FEW));
            // After many a single one does not wait.
            assert_eq!(store.insert(arrived(50..51), None).await, stored(1));
            let mut one = Box::pin(store.insert(arrived(60..61), None));
            assert!(is_pending(one.as_mut()).await);
            sleep(Duration::from_millis(300));
            assert!(is_pending(one.as_mut()).await, "it did not wait");
            let rest = store.insert(arrived(100..100 + FEW - 1), None);
            assert_eq!(rest.await, stored(FEW - 1));
            assert_eq!(one.await, stored(1));
        });
        drop(store);
        worker.join().unwrap();
    }

    #[test]
    fn a_body_takes_room_until_it_is_stored_whoever_has_hung_up() {
        let folder = tempfile::tempdir().unwrap();
        let (store, worker) = open(folder.path(), Duration::from_secs(86_400));
        let room = Arc::new(Semaphore::new(9));
        runtime().block_on(async {
            store.insert(arrived(0..1), None).await.unwrap();
            let permit = Arc::clone(&room).try_acquire_many_owned(9).ok();
            let mut gone = Box::pin(store.insert(arrived(1..2), permit));
            assert!(is_pending(gone.as_mut()).await);
            drop(gone);
            sleep(Duration::from_millis(300));
            assert_eq!(room.available_permits(), 0);
            store.insert(arrived(9..9 + FEW), None).await.unwrap();
            assert_eq!(room.available_permits(), 9);
        });
        drop(store);
        worker.join().unwrap();
        let database = Connection::open(folder.path().join("reports.db")).unwrap();
        let count: i64 = database
            .query_row("SELECT count(*) FROM log", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 2 + FEW as i64);
    }
}
