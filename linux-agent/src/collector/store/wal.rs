//! Keeps SQLite's write-ahead log small while readers are busy.
//!
//! SQLite begins the log anew only when no reader is in it. Of two that are always busy one always is, so the log would
//! grow without end. Once it is large, readers begin nothing new until it is empty.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::file::DatabaseFile;
use super::history::streams::SharedStreams;

/// How often its size is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub struct LogGuard<'a> {
    file: &'a DatabaseFile,
    streams: &'a SharedStreams,
    max_bytes: u64,
    looked: Instant,
}

impl<'a> LogGuard<'a> {
    /// Of a log that is large from `max_bytes` on.
    pub fn new(file: &'a DatabaseFile, streams: &'a SharedStreams, max_bytes: u64) -> LogGuard<'a> {
        LogGuard {
            file,
            streams,
            max_bytes,
            looked: Instant::now(),
        }
    }

    /// When to call [`LogGuard::step`] if nothing else is to be done: at most this much later.
    pub fn pause(&self) -> Duration {
        match self.streams.is_quiet.load(Ordering::Relaxed) {
            true => LOOK_PAUSE,
            false => Duration::MAX,
        }
    }

    /// Empties the log if it is large and no reader is in it any more.
    pub fn step(&mut self) {
        if self.looked.elapsed() < LOOK_PAUSE {
            return;
        }
        self.looked = Instant::now();
        let is_large = self.file.log_bytes() > self.max_bytes;
        self.streams.is_quiet.store(is_large, Ordering::Release);
        if is_large && self.file.empty_log_at_once() {
            self.streams.is_quiet.store(false, Ordering::Release);
        }
    }
}

impl Drop for LogGuard<'_> {
    fn drop(&mut self) {
        self.streams.is_quiet.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::thread::sleep;

    use serde_json::value::RawValue;

    use super::super::settings::StoreSettings;
    use super::super::{Arrived, Store};
    use crate::collector::now::now_ms;
    use crate::collector::report::Report;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    /// Reads one after the other so that each begins before the one before it ends, unless it has to wait.
    fn keep_reading(store: &Store, is_over: &AtomicBool, begun: &Arc<AtomicU64>) {
        while !is_over.load(Ordering::Relaxed) {
            let begun = Arc::clone(begun);
            let read = store.readers.read(move |connection| {
                let transaction = connection.unchecked_transaction()?;
                transaction.query_row("SELECT count(*) FROM streams", [], |_| Ok(()))?;
                let own = begun.fetch_add(1, Ordering::AcqRel) + 1;
                let end = Instant::now() + Duration::from_millis(200);
                while begun.load(Ordering::Acquire) == own && Instant::now() < end {
                    sleep(Duration::from_millis(1));
                }
                Ok(())
            });
            assert_eq!(runtime().block_on(read), Ok(()));
        }
    }

    #[test]
    fn the_log_shrinks_although_two_readers_are_always_busy() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        let settings = StoreSettings {
            log_bytes: 8 * MIB,
            ..StoreSettings::default()
        };
        let (store, worker) = Store::open(&path, settings).unwrap();
        let log = || {
            let log = std::fs::metadata(folder.path().join("reports.db-wal"));
            log.map_or(0, |it| it.len())
        };
        let (is_over, begun) = (AtomicBool::new(false), Arc::default());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| keep_reading(&store, &is_over, &begun));
            }
            let text = format!("{{\"text\":\"{}\"}}", "x".repeat(200_000));
            let mut most = 0;
            let mut shrunk = 0;
            for seq in 0..400 {
                let body = format!(
                    r#"{{"client_id":1,"service_name":"a","data":{{}},"boot":"b","seq":{seq}}}"#
                );
                let mut report = Report::parse(body.as_bytes()).unwrap();
                report.data = RawValue::from_string(text.clone()).unwrap();
                let arrived = Arrived {
                    report,
                    received_ms: now_ms(),
                };
                let before = log();
                runtime()
                    .block_on(store.insert(vec![arrived], None))
                    .unwrap();
                shrunk += u32::from(log() < before);
                most = log().max(most);
                // As fast as the slowest disk, so that the log is looked at while it grows.
                sleep(Duration::from_millis(5));
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(
                shrunk > 0 && most < 48 * MIB,
                "{shrunk} times, {most} bytes"
            );
        });
        drop(store);
        worker.join().unwrap();
    }
}
