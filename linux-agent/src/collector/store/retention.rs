//! What is too old, or too much, goes: in small steps between commits.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::intake::{Intake, ROW_BYTES};
use super::numbers;
use super::settings::Retention;

/// At most this many reports go in one step, and a tenth as many blocks.
const STEP: u32 = 2000;

/// Or of so many bytes.
const STEP_BYTES: i64 = 8 << 20;

/// Free pages are given back to the file system if they are more than one in this many.
const FREE_SHARE: i64 = 4;

/// At most this many pages at once.
const FREE_STEP: u32 = 256;

/// Removes some of what is too old or too much. Returns whether there may be more of it.
pub fn step(
    retention: &Retention,
    connection: &Connection,
    intake: &mut Intake,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let pages = Pages::of(connection)?;
    let mut is_too_large = pages.used_bytes() > retention.bytes;
    if is_too_large {
        // What is never removed takes no more of the history's share than three quarters.
        let lasting = intake.lasting_bytes(connection, now_ms)?;
        is_too_large = pages.used_bytes() > retention.bytes.max(lasting + retention.bytes / 4);
    }
    let log_before = match is_too_large || intake.log_bytes() > retention.reports_bytes {
        true => i64::MAX,
        false => now_ms - retention.reports_ms,
    };
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let through = intake.dispensable_through();
    let earlier_before = match is_too_large {
        true => i64::MAX,
        false => now_ms - retention.reports_ms,
    };
    let mut removed = earlier_step(&transaction, earlier_before)?;
    let bytes = remove_reports(&transaction, log_before, through)?;
    if bytes > 0 {
        Intake::write_removed(&transaction, bytes)?;
    }
    removed |= bytes > 0;
    // The largest and oldest goes first: reports, then points, then what is left of them.
    let points_before = match is_too_large && !removed {
        true => i64::MAX,
        false => now_ms - retention.points_ms,
    };
    removed |= remove_blocks(&transaction, "points", points_before)?;
    let partials_before = match (is_too_large && !removed, retention.partials_ms) {
        (true, _) => Some(i64::MAX),
        (false, age_ms) => age_ms.map(|age_ms| now_ms - age_ms),
    };
    if let Some(before) = partials_before {
        removed |= remove_blocks(&transaction, "partials", before)?;
    }
    match removed {
        true => transaction.commit()?,
        false => transaction.rollback()?,
    }
    intake.note_removed(bytes);
    let gives_back = pages.free > pages.all / FREE_SHARE;
    if gives_back {
        give_back(connection)?;
    }
    Ok(removed || (gives_back && Pages::of(connection)?.all < pages.all))
}

/// Removes reports that came before this time, up to a number of the log. Returns how large they were.
fn remove_reports(
    transaction: &Transaction<'_>,
    before_ms: i64,
    through: i64,
) -> rusqlite::Result<i64> {
    let mut oldest = transaction.prepare_cached(
        "SELECT id, received_ms, length(CAST(data AS BLOB)) FROM log WHERE id <= ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = oldest.query(params![through, STEP])?;
    let (mut last, mut bytes) = (None, 0);
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= before_ms {
            break;
        }
        last = Some(row.get::<_, i64>(0)?);
        bytes += row.get::<_, i64>(2)? + ROW_BYTES;
        if bytes >= STEP_BYTES {
            break;
        }
    }
    if let Some(last) = last {
        transaction
            .prepare_cached("DELETE FROM log WHERE id <= ?1")?
            .execute([last])?;
    }
    Ok(bytes)
}

/// The same for reports that an earlier version stored. Before they go, their runs get their numbers.
fn earlier_step(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<bool> {
    let oldest = transaction
        .prepare_cached("SELECT received_ms FROM reports ORDER BY id LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    if oldest.is_none_or(|oldest| oldest >= before_ms) {
        return Ok(false);
    }
    if numbers::complete_earlier(transaction, STEP / 100)? > 0 {
        return Ok(true);
    }
    let removed = transaction
        .prepare_cached(
            "DELETE FROM reports WHERE id IN
                (SELECT id FROM (SELECT id, received_ms FROM reports ORDER BY id LIMIT ?2)
                 WHERE received_ms < ?1)",
        )?
        .execute(params![before_ms, STEP])?;
    Ok(removed > 0)
}

/// Removes the oldest blocks of a table if they were sealed before this time.
fn remove_blocks(
    transaction: &Transaction<'_>,
    table: &str,
    before_ms: i64,
) -> rusqlite::Result<bool> {
    let sql = format!(
        "DELETE FROM {table} WHERE id IN
            (SELECT id FROM (SELECT id, sealed_ms FROM {table} ORDER BY id LIMIT ?2) WHERE sealed_ms < ?1)"
    );
    let removed = transaction
        .prepare_cached(&sql)?
        .execute(params![before_ms, STEP / 10])?;
    Ok(removed > 0)
}

struct Pages {
    all: i64,
    free: i64,
    size: i64,
}

impl Pages {
    fn of(connection: &Connection) -> rusqlite::Result<Pages> {
        let pragma = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Pages {
            all: pragma("PRAGMA page_count")?,
            free: pragma("PRAGMA freelist_count")?,
            size: pragma("PRAGMA page_size")?,
        })
    }

    fn used_bytes(&self) -> i64 {
        (self.all - self.free) * self.size
    }
}

/// Does nothing for a file that an earlier version made.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let sql = format!("PRAGMA incremental_vacuum({FREE_STEP})");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::open;
    use super::super::settings::Retention;
    use super::*;

    #[test]
    fn history_does_not_go_for_the_room_that_runs_take() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open::open(&folder.path().join("reports.db"), open::BUSY_TIMEOUT).unwrap();
        let fill = |runs: u32| {
            let sql = format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})
                 INSERT INTO runs (client, boot, first, last, received, duplicates, numbers)
                    SELECT '1', hex(randomblob(32)), 0, 0, 1, 0, '0' FROM n;"
            );
            connection.execute_batch(&sql).unwrap();
        };
        connection
            .execute_batch(
                "INSERT INTO streams (id, client, service, sealed) VALUES (1, '1', 'a', 100);
                 INSERT INTO log (id, stream, received_ms, data) VALUES (7, 1, 1000, '{}');
                 INSERT INTO points VALUES (1, 1, 0, 0, 1000, 1, zeroblob(100));
                 INSERT INTO state (name, value) VALUES ('written', 7), ('open', 7);",
            )
            .unwrap();
        let retention = Retention {
            bytes: 2 << 20,
            ..Retention::default()
        };
        let left = |at_ms| {
            let mut intake = Intake::start(&connection, Arc::default()).unwrap();
            while step(&retention, &connection, &mut intake, at_ms).unwrap() {}
            let count = "SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM points)";
            let row = connection.query_row(count, [], |row| row.get::<_, i64>(0));
            row.unwrap()
        };
        fill(20_000);
        assert!(Pages::of(&connection).unwrap().used_bytes() > retention.bytes);
        assert_eq!(left(2000), 2);
        // What is removed does count: reports beyond their share go.
        connection
            .execute_batch(
                "INSERT INTO points VALUES (2, 1, 0, 0, 1000, 1, zeroblob(1000000));
                 DELETE FROM runs;",
            )
            .unwrap();
        connection
            .execute(
                "INSERT INTO points VALUES (3, 1, 0, 0, 1000, 1, zeroblob(1500000))",
                [],
            )
            .unwrap();
        assert_eq!(left(2000), 0);
    }
}
