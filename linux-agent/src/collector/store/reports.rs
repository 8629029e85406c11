//! Reading reports as they came: those in the log, and those that an earlier version stored.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::client_name::ClientName;

/// At most this many reports in one page.
pub const MAX_PAGE: u32 = 10_000;

/// A page ends with the report whose data brings it to this size, in bytes.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

const LATEST: &str = "
    SELECT id, client, service, data, time, uptime, boot, seq, received_ms FROM reports
    WHERE client = ?1 AND service = ?2 ORDER BY received_ms DESC, id DESC LIMIT 1
";

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

/// Reads what `query` asks for: first what an earlier version stored, then the log.
pub fn read(connection: &Connection, query: &Query) -> rusqlite::Result<Page> {
    let mut page = Page {
        reports: Vec::new(),
        next: query.after,
    };
    let mut bytes = 0;
    let earlier = of_earlier_version(query);
    read_from(connection, &earlier, query, &mut page, &mut bytes)?;
    if let Some(log) = of_log(connection, query)? {
        read_from(connection, &log, query, &mut page, &mut bytes)?;
    }
    Ok(page)
}

fn read_from(
    connection: &Connection,
    sql: &str,
    query: &Query,
    page: &mut Page,
    bytes: &mut usize,
) -> rusqlite::Result<()> {
    let room = query.limit.min(MAX_PAGE) as usize;
    let limit = room.saturating_sub(page.reports.len()) as i64;
    if limit == 0 || *bytes >= MAX_PAGE_BYTES {
        return Ok(());
    }
    let client = query.client.as_ref().map(ClientName::to_string);
    let mut statement = connection.prepare(sql)?;
    let values: [(&str, &dyn rusqlite::ToSql); 5] = [
        (":after", &query.after),
        (":limit", &limit),
        (":client", &client),
        (":service", &query.service),
        (":since_ms", &query.since_ms),
    ];
    for (name, value) in values {
        if let Some(place) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(place, value)?;
        }
    }
    for report in statement.raw_query().mapped(stored) {
        let report = report?;
        *bytes += report.data.get().len();
        page.next = report.id;
        page.reports.push(report);
        if *bytes >= MAX_PAGE_BYTES {
            break;
        }
    }
    Ok(())
}

/// The report of this number in the log, unless it is too old to be kept.
pub fn in_log(connection: &Connection, id: i64) -> rusqlite::Result<Option<Stored>> {
    let sql = format!("{LOG} WHERE log.id = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row([id], stored)
        .optional()
}

/// The report of `service` of `client` that an earlier version received last.
pub fn latest_of_earlier_version(
    connection: &Connection,
    client: &ClientName,
    service: &str,
) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(LATEST)?
        .query_row(params![client.to_string(), service], stored)
        .optional()
}

/// Only the conditions that are asked for, so that SQLite can choose the index that fits.
fn of_earlier_version(query: &Query) -> String {
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

/// The log has no index but its order, which is that of arrival. Where to begin is found by halving. A row is then
/// looked at for the number of its stream alone: a client that reports rarely is found among millions of others' reports.
/// `None`: no stream is asked for.
fn of_log(connection: &Connection, query: &Query) -> rusqlite::Result<Option<String>> {
    let first = match query.since_ms {
        Some(since_ms) => first_received_after(connection, since_ms)?,
        None => 0,
    };
    let mut sql = format!("{LOG} WHERE log.id > :after AND log.id >= {first}");
    if query.client.is_some() || query.service.is_some() {
        let streams = streams_of(connection, query)?;
        if streams.is_empty() {
            return Ok(None);
        }
        sql.push_str(&format!(" AND log.stream IN ({})", streams.join(",")));
    }
    if query.since_ms.is_some() {
        sql.push_str(" AND log.received_ms > :since_ms");
    }
    sql.push_str(" ORDER BY log.id LIMIT :limit");
    Ok(Some(sql))
}

fn streams_of(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM streams WHERE client = coalesce(?1, client) AND service = coalesce(?2, service)",
    )?;
    let client = query.client.as_ref().map(ClientName::to_string);
    let streams = statement.query_map(params![client, query.service], |row| row.get(0))?;
    let streams = streams.map(|id: rusqlite::Result<i64>| id.map(|id| id.to_string()));
    streams.collect()
}

// The cross join keeps the order: the log first.
const LOG: &str = "
    SELECT log.id, streams.client, streams.service, log.data, log.time, log.uptime, log.boot, log.seq,
           log.received_ms
    FROM log CROSS JOIN streams ON streams.id = log.stream
";

/// The number of the first report in the log that came after this time, as far as the collector's clock was never set
/// back.
fn first_received_after(connection: &Connection, since_ms: i64) -> rusqlite::Result<i64> {
    let (first, last) = connection.query_row(
        "SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM log",
        [],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let mut received =
        connection.prepare_cached("SELECT received_ms FROM log WHERE id >= ?1 LIMIT 1")?;
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let received_ms: Option<i64> = received.query_row([middle], |row| row.get(0)).optional()?;
        match received_ms.is_some_and(|it| it <= since_ms) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::collector::store::schema;

    const ROWS: u64 = 20_000;

    #[test]
    fn a_rare_client_is_found_in_few_steps_a_row() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut connection).unwrap());
        connection
            .execute_batch(&format!(
                "INSERT INTO streams (id, client, service, sealed) VALUES (1, '1', 'A', 0), (2, '2', 'A', 0), (3, '2', 'B', 0);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                 INSERT INTO log (id, stream, received_ms, data) SELECT i, 1, 0, '{{}}' FROM n;
                 UPDATE log SET stream = 2 WHERE id = 7;
                 UPDATE log SET stream = 3 WHERE id = {ROWS};"
            ))
            .unwrap();
        let found = |client: Option<u32>, service: Option<&str>| {
            let steps = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&steps);
            let count = move || {
                counted.fetch_add(100, Ordering::Relaxed);
                false
            };
            connection.progress_handler(100, Some(count)).unwrap();
            let query = Query {
                client: client.map(ClientName::Number),
                service: service.map(str::to_owned),
                since_ms: None,
                after: 0,
                limit: 3,
            };
            let page = read(&connection, &query).unwrap();
            let ids: Vec<i64> = page.reports.iter().map(|it| it.id).collect();
            (ids, steps.load(Ordering::Relaxed))
        };
        let (ids, steps) = found(Some(2), None);
        assert_eq!(ids, [7, ROWS as i64]);
        assert!(steps < 7 * ROWS, "{steps}");
        assert_eq!(found(Some(2), Some("B")).0, [ROWS as i64]);
        assert_eq!(found(None, Some("A")).0, [1, 2, 3]);
        // Nobody of that name: the log is not looked at.
        let (ids, steps) = found(Some(3), None);
        assert!(ids.is_empty() && steps < 1000, "{steps}");
    }
}
