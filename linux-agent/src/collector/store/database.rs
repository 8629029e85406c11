//! The reports as SQLite keeps them.
//!
//! A report counts as stored once it is committed and synced, so that what was acknowledged
//! survives a killed process and a power failure.

use rusqlite::types::Type;
use rusqlite::{
    Connection, OptionalExtension, Row, Statement, Transaction, TransactionBehavior, named_params,
    params,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::runs::{COUNT_DUPLICATE, COUNT_STORED, COUNT_UNNUMBERED};
use crate::client_name::ClientName;
use crate::collector::report::Report;
use crate::system::clock;

/// At most this many reports in one page.
pub const MAX_PAGE: u32 = 10_000;

/// A page ends with the report whose data brings it to this size, in bytes.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

const INSERT: &str = "
    INSERT INTO reports (client, service, data, time, uptime, boot, seq, received_ms)
    VALUES (:client, :service, :data, :time, :uptime, :boot, :seq, :received_ms)
    ON CONFLICT (client, boot, seq) WHERE boot IS NOT NULL AND seq IS NOT NULL DO NOTHING
";

/// The report of a service that was received last; see [`latest`].
pub const LATEST: &str = "
    SELECT id, client, service, data, time, uptime, boot, seq, received_ms FROM reports
    WHERE client = ?1 AND service = ?2 ORDER BY received_ms DESC, id DESC LIMIT 1
";

/// Now, as SQLite's signed integers hold it: milliseconds since 1970-01-01 00:00 UTC.
pub fn now_ms() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX)
}

/// Which reports to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Only of this client.
    pub client: Option<ClientName>,
    /// Only of this service.
    pub service: Option<String>,
    /// Only those received later than this, in milliseconds since 1970-01-01 00:00 UTC.
    pub since_ms: Option<i64>,
    /// Only those stored after the one of this number; see [`Page::next`].
    pub after: i64,
    /// How many at most, up to [`MAX_PAGE`].
    pub limit: u32,
}

/// Reports, oldest first.
#[derive(Debug, Serialize)]
pub struct Page {
    /// In the order in which they were stored. If there are none, there are no more for now.
    pub reports: Vec<Stored>,
    /// Where to go on reading: the next [`Query::after`].
    pub next: i64,
}

/// A report as it was received.
#[derive(Debug, Serialize)]
pub struct Stored {
    #[serde(skip)]
    id: i64,
    /// Who sent it.
    pub client_id: ClientName,
    /// The name of its service.
    pub service_name: String,
    /// A JSON object, as it was sent.
    pub data: Box<RawValue>,
    /// When it was sampled, in seconds since 1970-01-01 00:00 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// When it was sampled, in seconds since the client started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    /// Which run of the client it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Its number in that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// When it arrived, in seconds since 1970-01-01 00:00 UTC.
    pub received: f64,
}

/// Stores reports, and counts them for the accounting.
pub struct Inserter<'c> {
    connection: &'c Connection,
    insert: Statement<'c>,
    count_stored: Statement<'c>,
    count_duplicate: Statement<'c>,
    count_unnumbered: Statement<'c>,
}

impl<'c> Inserter<'c> {
    /// Fails if the database does not have the tables.
    pub fn new(connection: &'c Connection) -> rusqlite::Result<Inserter<'c>> {
        Ok(Inserter {
            connection,
            insert: connection.prepare(INSERT)?,
            count_stored: connection.prepare(COUNT_STORED)?,
            count_duplicate: connection.prepare(COUNT_DUPLICATE)?,
            count_unnumbered: connection.prepare(COUNT_UNNUMBERED)?,
        })
    }

    /// Stores a report that arrived at `received_ms`, in milliseconds since 1970-01-01 00:00 UTC, unless it is
    /// there already. Counts it in the same transaction, as received or duplicate.
    pub fn insert(&mut self, report: &Report, received_ms: i64) -> rusqlite::Result<()> {
        let client = report.client_id.to_string();
        let transaction =
            Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        let stored = self.insert.execute(named_params! {
            ":client": client,
            ":service": report.service_name,
            ":data": report.data.get(),
            ":time": report.time,
            ":uptime": report.uptime,
            ":boot": report.boot,
            ":seq": report.seq,
            ":received_ms": received_ms,
        })?;
        if let (Some(boot), Some(seq)) = (&report.boot, report.seq) {
            match stored {
                0 => self.count_duplicate.execute(params![client, boot])?,
                _ => self.count_stored.execute(params![client, boot, seq])?,
            };
        } else {
            self.count_unnumbered.execute([&client])?;
        }
        transaction.commit()
    }
}

/// Reads what `query` asks for.
pub fn read(connection: &Connection, query: &Query) -> rusqlite::Result<Page> {
    let client = query.client.as_ref().map(ClientName::to_string);
    let limit = query.limit.min(MAX_PAGE);
    let mut values: Vec<(&str, &dyn rusqlite::ToSql)> =
        vec![(":after", &query.after), (":limit", &limit)];
    if let Some(client) = &client {
        values.push((":client", client));
    }
    if let Some(service) = &query.service {
        values.push((":service", service));
    }
    if let Some(since_ms) = &query.since_ms {
        values.push((":since_ms", since_ms));
    }
    let mut statement = connection.prepare(&select(query))?;
    let mut page = Page {
        reports: Vec::new(),
        next: query.after,
    };
    let mut bytes = 0;
    for report in statement.query_map(values.as_slice(), stored)? {
        let report = report?;
        bytes += report.data.get().len();
        page.next = report.id;
        page.reports.push(report);
        if bytes >= MAX_PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// The report of `service` of `client` that was received last.
pub fn latest(
    statement: &mut Statement<'_>,
    client: &ClientName,
    service: &str,
) -> rusqlite::Result<Option<Stored>> {
    statement
        .query_row(params![client.to_string(), service], stored)
        .optional()
}

/// Only the conditions that are asked for, so that SQLite can choose the index that fits.
fn select(query: &Query) -> String {
    // Without the plus, SQLite would walk the whole table in the order of `id` to find the few recent ones. Not
    // needed with `after`, which skips the old ones.
    let id = match (query.since_ms, query.after) {
        (Some(_), 0) => "+id",
        _ => "id",
    };
    let mut sql = format!(
        "SELECT id, client, service, data, time, uptime, boot, seq, received_ms FROM reports
         WHERE {id} > :after"
    );
    if query.client.is_some() {
        sql.push_str(" AND client = :client");
    }
    if query.service.is_some() {
        sql.push_str(" AND service = :service");
    }
    if query.since_ms.is_some() {
        sql.push_str(" AND received_ms > :since_ms");
    }
    sql.push_str(" ORDER BY ");
    sql.push_str(id);
    sql.push_str(" LIMIT :limit");
    sql
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let data = RawValue::from_string(row.get(3)?).map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(cause))
    })?;
    Ok(Stored {
        id: row.get(0)?,
        client_id: ClientName::from_text(&row.get::<_, String>(1)?),
        service_name: row.get(2)?,
        data,
        time: row.get(4)?,
        uptime: row.get(5)?,
        boot: row.get(6)?,
        seq: row.get(7)?,
        received: row.get::<_, i64>(8)? as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::collector::store::open::{BUSY_TIMEOUT, open};

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/reports.db");
        (folder, path)
    }

    fn report(seq: Option<i64>, boot: Option<&str>) -> Report {
        Report {
            client_id: ClientName::Number(1),
            service_name: "LinuxCPU".to_owned(),
            data: RawValue::from_string(r#"{"user": 1.50}"#.to_owned()).unwrap(),
            time: None,
            uptime: None,
            boot: boot.map(str::to_owned),
            seq,
            error: None,
        }
    }

    const ALL: Query = Query {
        client: None,
        service: None,
        since_ms: None,
        after: 0,
        limit: 1000,
    };

    #[test]
    fn only_boot_and_seq_together_make_a_redelivery() {
        let (_folder, path) = scratch();
        let connection = open(&path, BUSY_TIMEOUT).unwrap();
        let mut inserter = Inserter::new(&connection).unwrap();
        for (seq, boot, count) in [
            (Some(1), Some("a"), 1),
            (Some(1), Some("a"), 1),
            (Some(2), Some("a"), 2),
            (Some(1), Some("b"), 3),
            (Some(1), None, 4),
            (Some(1), None, 5),
            (None, Some("a"), 6),
            (None, None, 7),
        ] {
            inserter.insert(&report(seq, boot), 0).unwrap();
            let page = read(&connection, &ALL).unwrap();
            assert_eq!(page.reports.len(), count, "{seq:?} {boot:?}");
        }
    }

    #[test]
    fn pages_join_without_a_gap_although_the_clock_stands_still() {
        let (_folder, path) = scratch();
        let connection = open(&path, BUSY_TIMEOUT).unwrap();
        let mut inserter = Inserter::new(&connection).unwrap();
        for seq in 0..7 {
            inserter.insert(&report(Some(seq), Some("a")), 5).unwrap();
        }
        let mut query = Query { limit: 3, ..ALL };
        let mut seqs = Vec::new();
        loop {
            let page = read(&connection, &query).unwrap();
            if page.reports.is_empty() {
                assert_eq!(page.next, query.after);
                break;
            }
            seqs.extend(page.reports.iter().filter_map(|report| report.seq));
            query.after = page.next;
        }
        assert_eq!(seqs, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn no_question_of_every_day_walks_the_whole_table() {
        let (_folder, path) = scratch();
        let connection = open(&path, BUSY_TIMEOUT).unwrap();
        let recent = Query {
            since_ms: Some(0),
            ..ALL
        };
        let of_service = Query {
            client: Some(ClientName::Number(1)),
            service: Some("LinuxCPU".to_owned()),
            ..recent.clone()
        };
        let further = Query {
            after: 1,
            ..recent.clone()
        };
        for (query, road) in [
            (recent, "INDEX reports_received (received_ms>?)"),
            (of_service, "(client=? AND service=? AND received_ms>?)"),
            (further, "INTEGER PRIMARY KEY (rowid>?)"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", select(&query));
            let mut plan = connection.prepare(&sql).unwrap();
            let mut steps = plan.raw_query();
            let step: String = steps.next().unwrap().unwrap().get(3).unwrap();
            assert!(step.ends_with(road), "{step}");
        }
    }

    #[test]
    fn a_page_ends_by_size_too() {
        let (_folder, path) = scratch();
        let connection = open(&path, BUSY_TIMEOUT).unwrap();
        let mut inserter = Inserter::new(&connection).unwrap();
        let mut large = report(None, None);
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_PAGE_BYTES / 2));
        large.data = RawValue::from_string(text).unwrap();
        for _ in 0..3 {
            inserter.insert(&large, 0).unwrap();
        }
        let first = read(&connection, &ALL).unwrap();
        assert_eq!(first.reports.len(), 2);
        let after = first.next;
        let second = read(&connection, &Query { after, ..ALL }).unwrap();
        assert_eq!(second.reports.len(), 1);
    }
}
