use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

use super::history::partials::LENGTH_MS;
use super::history::series::{Question, Tier};
use super::intake::{Intake, StoreOutcome};
use super::open::BUSY_TIMEOUT;
use super::reports::MAX_PAGE;
use super::settings::Retention;
use super::*;
use crate::collector::now::now_ms;
use crate::collector::report::Report;

mod cut_off;

fn report(client: u32, service: &str, boot: Option<&str>, seq: Option<i64>) -> Report {
    Report {
        client_id: ClientName::Number(client),
        service_name: service.to_owned(),
        data: RawValue::from_string(r#"{"user": 1.50}"#.to_owned()).unwrap(),
        time: None,
        uptime: None,
        boot: boot.map(str::to_owned),
        seq,
        error: None,
    }
}

fn numbered(seq: i64) -> Report {
    report(1, "LinuxCPU", Some("a"), Some(seq))
}

impl Store {
    async fn insert_one(&self, report: Report, received_ms: i64) -> Result<(), Unavailable> {
        let arrived = Arrived {
            report,
            received_ms,
        };
        let outcomes = self.insert(vec![arrived], None).await?;
        assert_eq!(outcomes, [StoreOutcome::Stored]);
        Ok(())
    }
}

const ALL: Query = Query {
    client: None,
    service: None,
    since_ms: None,
    after: 0,
    limit: MAX_PAGE,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/reports.db");
    (folder, path)
}

/// Opens the database, does `work`, and closes it.
fn with_store<T>(path: &Path, work: impl AsyncFnOnce(&Store) -> T) -> T {
    let (store, worker) = Store::open(path, StoreSettings::default()).unwrap();
    let result = runtime().block_on(work(&store));
    drop(store);
    worker.join().unwrap();
    result
}

#[test]
fn only_boot_and_seq_together_make_a_redelivery() {
    let (_folder, path) = scratch();
    let reports = [
        (Some(1), Some("a"), 1),
        (Some(1), Some("a"), 1),
        (Some(2), Some("a"), 2),
        (Some(1), Some("b"), 3),
        (Some(1), None, 4),
        (Some(1), None, 5),
        (None, Some("a"), 6),
        (None, None, 7),
    ];
    for (seq, boot, count) in reports {
        with_store(&path, async |store| {
            let report = report(1, "LinuxCPU", boot, seq);
            store.insert_one(report, now_ms()).await.unwrap();
            let page = store.read(ALL).await.unwrap();
            assert_eq!(page.reports.len(), count, "{seq:?} {boot:?}");
        });
    }
}

#[test]
fn pages_join_without_a_gap_although_the_clock_stands_still() {
    let (_folder, path) = scratch();
    with_store(&path, async |store| {
        let stands_still = now_ms();
        for seq in 0..7 {
            store.insert_one(numbered(seq), stands_still).await.unwrap();
        }
        let mut query = Query { limit: 3, ..ALL };
        let mut seqs = Vec::new();
        loop {
            let page = store.read(query.clone()).await.unwrap();
            if page.reports.is_empty() {
                assert_eq!(page.next, query.after);
                break;
            }
            seqs.extend(page.reports.iter().filter_map(|report| report.seq));
            query.after = page.next;
        }
        assert_eq!(seqs, [0, 1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn what_came_since_is_found_in_the_log() {
    let (_folder, path) = scratch();
    with_store(&path, async |store| {
        let now_ms = now_ms();
        for seq in 0..100 {
            store
                .insert_one(numbered(seq), now_ms + 10 * seq)
                .await
                .unwrap();
        }
        for since_ms in [-1, 0, 5, 10, 500, 985, 990, 5000] {
            let query = Query {
                since_ms: Some(now_ms + since_ms),
                ..ALL
            };
            let page = store.read(query).await.unwrap();
            let seqs: Vec<i64> = page.reports.iter().filter_map(|it| it.seq).collect();
            let expected: Vec<i64> = (0..100).filter(|seq| 10 * seq > since_ms).collect();
            assert_eq!(seqs, expected, "{since_ms}");
        }
    });
}

#[test]
fn a_page_ends_by_size_too() {
    let (_folder, path) = scratch();
    with_store(&path, async |store| {
        let text = format!(
            r#"{{"text":"{}"}}"#,
            "x".repeat(reports::MAX_PAGE_BYTES / 2)
        );
        for _ in 0..3 {
            let mut large = report(1, "LinuxCPU", None, None);
            large.data = RawValue::from_string(text.clone()).unwrap();
            store.insert_one(large, now_ms()).await.unwrap();
        }
        let first = store.read(ALL).await.unwrap();
        assert_eq!(first.reports.len(), 2);
        let after = first.next;
        let second = store.read(Query { after, ..ALL }).await.unwrap();
        assert_eq!(second.reports.len(), 1);
    });
}

#[test]
fn reports_of_an_earlier_version_are_read_before_those_of_this_one() {
    let (_folder, path) = scratch();
    with_store(&path, async |_| {});
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO reports (id, client, service, data, boot, seq, received_ms)
                VALUES (41, '1', 'LinuxCPU', '{{\"user\":9}}', 'a', 0, {});
             INSERT INTO runs (client, boot, first, last, received, duplicates) VALUES ('1', 'a', 0, 0, 1, 0);",
            now_ms()
        ))
        .unwrap();
    with_store(&path, async |store| {
        let one = || (ClientName::Number(1), "LinuxCPU".to_owned());
        let latest = store.latest(vec![one()]).await.unwrap();
        assert_eq!(latest[0].as_ref().unwrap().data.get(), "{\"user\":9}");
        store.insert_one(numbered(0), now_ms()).await.unwrap();
        store.insert_one(numbered(1), now_ms()).await.unwrap();
        let page = store.read(ALL).await.unwrap();
        let seqs: Vec<_> = page.reports.iter().map(|it| it.seq).collect();
        assert_eq!((seqs, page.next), (vec![Some(0), Some(1)], 42));
        let latest = store.latest(vec![one()]).await.unwrap();
        assert_eq!(latest[0].as_ref().unwrap().seq, Some(1));
        let account = store.accounting(vec![ClientName::Number(1)]).await.unwrap();
        assert_eq!((account[0].received, account[0].duplicates), (2, 1));
    });
}

#[test]
fn a_locked_database_refuses_all_that_wait_in_the_time_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let (store, worker) = Store::open(&path, StoreSettings::default()).unwrap();
    let locker = Connection::open(&path).unwrap();
    runtime().block_on(async {
        let insert = |seq| store.insert_one(numbered(seq), 0);
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

/// Reports that are stored, or refused because the disk is full, in one database.
struct Disk {
    connection: Connection,
    intake: Intake,
}

impl Disk {
    fn open(path: &Path) -> Disk {
        let connection = open::open(path, BUSY_TIMEOUT).unwrap();
        let intake = Intake::start(&connection, Arc::default()).unwrap();
        Disk { connection, intake }
    }

    fn insert(&mut self, reports: Vec<Report>, now_ms: i64) -> rusqlite::Result<Vec<StoreOutcome>> {
        let arrived = reports.into_iter().map(|report| Arrived {
            report,
            received_ms: now_ms,
        });
        let arrived: Vec<Arrived> = arrived.collect();
        self.intake.store(&self.connection, &arrived)
    }

    fn seqs(&self) -> Vec<i64> {
        let page = reports::read(&self.connection, &ALL).unwrap();
        page.reports.iter().filter_map(|it| it.seq).collect()
    }
}

#[test]
fn a_full_disk_refuses_reports_and_keeps_those_it_has() {
    let (_folder, path) = scratch();
    let mut disk = Disk::open(&path);
    let pages = |count: u32| ("max_page_count", count);
    let limit = |disk: &Disk, (name, count)| {
        disk.connection.pragma_update(None, name, count).unwrap();
    };
    limit(&disk, pages(40));
    let mut stored = 0;
    while disk
        .insert(vec![numbered(stored), numbered(stored + 1)], 0)
        .is_ok()
    {
        stored += 2;
        assert!(stored < 10_000);
    }
    assert!(stored > 10, "{stored}");
    // A new service cannot be made either, and is made once there is room.
    assert!(
        disk.insert(vec![report(2, "x", Some("b"), Some(0))], 0)
            .is_err()
    );
    limit(&disk, pages(10_000));
    for again in 0..2 {
        let outcome = disk.insert(
            vec![numbered(stored), report(2, "x", Some("b"), Some(0))],
            0,
        );
        assert_eq!(outcome, Ok(vec![StoreOutcome::Stored; 2]), "{again}");
    }
    let mut expected: Vec<i64> = (0..=stored).collect();
    expected.push(0);
    assert_eq!(disk.seqs(), expected);
}

#[test]
fn a_year_of_a_service_is_read_from_partials_and_an_hour_from_points() {
    let (_folder, path) = scratch();
    let mut disk = Disk::open(&path);
    let begin_ms = (now_ms() - 101 * 86_400_000) / LENGTH_MS * LENGTH_MS;
    let step_ms = 300_000;
    // 100 days of a report each 5 minutes.
    let count = 100 * 288;
    let retention = Retention {
        reports_ms: 86_400_000,
        points_ms: 30 * 86_400_000,
        ..Retention::default()
    };
    let mut now_ms = begin_ms;
    for first in (0..count).step_by(48) {
        let reports = (first..first + 48).map(|seq| {
            let mut report = numbered(seq);
            report.time = Some((begin_ms + seq * step_ms) as f64 / 1000.0);
            let data = json!({ "data": { "/": { "used": seq, "free": 5.25 } } });
            report.data = RawValue::from_string(data.to_string()).unwrap();
            report
        });
        now_ms = begin_ms + (first + 48) * step_ms;
        disk.insert(reports.collect(), now_ms).unwrap();
        disk.intake.write_down(&disk.connection, now_ms, 8).unwrap();
        while retention::step(&retention, &disk.connection, &mut disk.intake, now_ms).unwrap() {}
    }
    let one = |sql: &str| {
        let row = disk.connection.query_row(sql, [], |row| row.get(0));
        row.unwrap_or_else(|cause| panic!("{sql}: {cause}"))
    };
    let reports: i64 = one("SELECT count(*) FROM log");
    assert!((288..=288 + 240 + 48).contains(&reports), "{reports}");
    let oldest: i64 = one("SELECT min(first_ms) FROM points");
    assert!(now_ms - oldest <= retention.points_ms + 240 * step_ms);
    assert_eq!(one("SELECT min(first_ms) FROM partials"), begin_ms);
    drop(disk);
    with_store(&path, async |store| {
        let question = |from_ms, to_ms, bins| Question {
            client: ClientName::Number(1),
            service: "LinuxCPU".to_owned(),
            item: Some("/".to_owned()),
            field: Some("used".to_owned()),
            from_ms,
            to_ms,
            bins,
        };
        let whole = store.series(question(begin_ms, now_ms, 100)).await;
        let whole = whole.unwrap().unwrap();
        assert_eq!(
            (whole.tier, whole.bins, whole.columns.len()),
            (Tier::Partials, 100, 1)
        );
        for (day, bin) in (0..).zip(whole.columns.values().next().unwrap()) {
            let first = f64::from(day) * 288.0;
            assert_eq!((bin.count, bin.min, bin.max), (288, first, first + 287.0));
        }
        let hour = store.series(question(now_ms - 3_600_000, now_ms, 12)).await;
        let hour = hour.unwrap().unwrap();
        assert_eq!((hour.tier, hour.bins), (Tier::Points, 12));
        let values = hour.columns.values().next().unwrap();
        assert!(values.iter().map(|it| it.sum as i64).eq(count - 12..count));
        // Points are gone there: what is left of them answers.
        let early = store
            .series(question(begin_ms, begin_ms + 3_600_000, 12))
            .await;
        let early = early.unwrap().unwrap();
        assert_eq!((early.tier, early.bins), (Tier::Partials, 6));
        let none = store.series(Question {
            service: "x".to_owned(),
            ..question(0, 1, 1)
        });
        assert!(none.await.unwrap().is_none());
    });
}
