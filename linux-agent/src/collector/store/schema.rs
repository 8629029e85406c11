//! The tables of the database, and how a database of an earlier version gets them.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `user_version` of a database that has all the tables below.
const VERSION: i64 = 4;

// `boot` and `seq` identify a report. Older clients send neither, and some boards no `boot`: their reports cannot
// be told from ones that come again, so all are kept.
const REPORTS: &str = "
    CREATE TABLE reports (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        client      TEXT NOT NULL,
        service     TEXT NOT NULL,
        data        TEXT NOT NULL,
        time        REAL,
        uptime      REAL,
        boot        TEXT,
        seq         INTEGER,
        received_ms INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX reports_once ON reports (client, boot, seq)
        WHERE boot IS NOT NULL AND seq IS NOT NULL;
    CREATE INDEX reports_of_service ON reports (client, service, received_ms);
    CREATE INDEX reports_received ON reports (received_ms);
";

// Runs are counted as reports arrive, so that an account needs no walk through them. Tokens and codes are stored as
// SHA-256 digests only. A host whose tokens were taken away has a row without a digest, so that not everybody may
// report for it.
const RUNS_AND_TOKENS: &str = "
    CREATE TABLE runs (
        id         INTEGER PRIMARY KEY,
        client     TEXT NOT NULL,
        boot       TEXT NOT NULL,
        first      INTEGER NOT NULL,
        last       INTEGER NOT NULL,
        received   INTEGER NOT NULL,
        duplicates INTEGER NOT NULL,
        UNIQUE (client, boot)
    ) STRICT;
    CREATE INDEX runs_of_client ON runs (client);
    INSERT INTO runs (client, boot, first, last, received, duplicates)
        SELECT client, boot, min(seq), max(seq), count(*), 0 FROM reports
        WHERE boot IS NOT NULL AND seq IS NOT NULL
        GROUP BY client, boot ORDER BY min(id);
    CREATE TABLE tokens (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL,
        digest BLOB UNIQUE
    ) STRICT;
    CREATE TABLE invitations (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        client     TEXT NOT NULL,
        digest     BLOB NOT NULL UNIQUE,
        expires_ms INTEGER NOT NULL
    ) STRICT;
";

// What has no `boot` or no `seq` is in no run, and is counted by its client alone.
const UNNUMBERED: &str = "
    CREATE TABLE unnumbered (
        client   TEXT NOT NULL PRIMARY KEY,
        received INTEGER NOT NULL
    ) STRICT;
    INSERT INTO unnumbered (client, received)
        SELECT client, count(*) FROM reports WHERE boot IS NULL OR seq IS NULL GROUP BY client;
";

// Reports are kept in the order in which they came, as they came, in `log`; it has no index, since each would have to be
// written too. What `reports` has stays there until it is too old. A run's `numbers` are those that have come, such as
// `0-41 43`; without any they are those in `reports`. `streams.sealed` is the number in `log` up to which reports of that
// service are in `points` and `partials`; how these blocks are written stands in `history`.
const HISTORY: &str = "
    CREATE TABLE streams (
        id      INTEGER PRIMARY KEY,
        client  TEXT NOT NULL,
        service TEXT NOT NULL,
        sealed  INTEGER NOT NULL,
        last    INTEGER,
        last_ms INTEGER,
        UNIQUE (client, service)
    ) STRICT;
    CREATE TABLE log (
        id          INTEGER PRIMARY KEY,
        stream      INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        time        REAL,
        uptime      REAL,
        boot        TEXT,
        seq         INTEGER,
        data        TEXT NOT NULL
    ) STRICT;
    CREATE TABLE points (
        id        INTEGER PRIMARY KEY,
        stream    INTEGER NOT NULL,
        first_ms  INTEGER NOT NULL,
        last_ms   INTEGER NOT NULL,
        sealed_ms INTEGER NOT NULL,
        reports   INTEGER NOT NULL,
        block     BLOB NOT NULL
    ) STRICT;
    CREATE INDEX points_of_stream ON points (stream, last_ms, first_ms);
    CREATE TABLE partials (
        id        INTEGER PRIMARY KEY,
        stream    INTEGER NOT NULL,
        first_ms  INTEGER NOT NULL,
        last_ms   INTEGER NOT NULL,
        sealed_ms INTEGER NOT NULL,
        block     BLOB NOT NULL
    ) STRICT;
    CREATE INDEX partials_of_stream ON partials (stream, last_ms, first_ms);
    CREATE TABLE state (
        name  TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE begun (
        id     INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        boot   TEXT NOT NULL,
        at_ms  INTEGER NOT NULL,
        UNIQUE (client, boot)
    ) STRICT;
    ALTER TABLE runs ADD COLUMN numbers TEXT;
";

// A code for a group is for no client yet: that is empty, and the code works `uses` times. Who enrolls with one is in `fleet`.
// Of a session there is only the digest of its token; `proof` is that of what let its user in.
const FLEET_AND_SESSIONS: &str = "
    ALTER TABLE invitations ADD COLUMN for_group TEXT;
    ALTER TABLE invitations ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE fleet (
        client      TEXT NOT NULL PRIMARY KEY,
        for_group   TEXT NOT NULL,
        enrolled_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE sessions (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        digest     BLOB NOT NULL UNIQUE,
        user       TEXT,
        proof      BLOB NOT NULL,
        expires_ms INTEGER NOT NULL
    ) STRICT;
";

// A row of `alarms` is one time that a figure was bad, and what people know of it. `outbox` has a row for each receiver of a
// message; its `alarms` is what is sent of them as JSON, its `ids` are their numbers.
const ALARMS: &str = "
    CREATE TABLE alarms (
        id       INTEGER PRIMARY KEY,
        name     TEXT NOT NULL,
        client   TEXT,
        item     TEXT NOT NULL,
        severity TEXT NOT NULL,
        began_ms INTEGER NOT NULL,
        fired_ms INTEGER,
        ended_ms INTEGER,
        value    REAL,
        level    REAL,
        text     TEXT NOT NULL,
        told     TEXT NOT NULL
    ) STRICT;
    CREATE TABLE silences (
        id       INTEGER PRIMARY KEY,
        client   TEXT NOT NULL,
        alarm    TEXT,
        since_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        reason   TEXT NOT NULL,
        made_by  TEXT NOT NULL,
        ended_ms INTEGER
    ) STRICT;
    CREATE TABLE outbox (
        id          INTEGER PRIMARY KEY,
        at_ms       INTEGER NOT NULL,
        target      TEXT NOT NULL,
        kind        TEXT NOT NULL,
        severity    TEXT NOT NULL,
        title       TEXT NOT NULL,
        text        TEXT NOT NULL,
        alarms      TEXT NOT NULL,
        ids         TEXT NOT NULL,
        tries       INTEGER NOT NULL,
        arrived_ms  INTEGER,
        given_up_ms INTEGER,
        error       TEXT
    ) STRICT;
    CREATE TABLE events (
        id     INTEGER PRIMARY KEY,
        at_ms  INTEGER NOT NULL,
        client TEXT,
        kind   TEXT NOT NULL,
        text   TEXT NOT NULL
    ) STRICT;
";

/// Gives a new database its tables, and one of an earlier version those that it lacks. `false`: the file is another
/// program's.
pub fn prepare(connection: &mut Connection) -> rusqlite::Result<bool> {
    // Two collectors that start at once must not both create the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let one = |sql| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    match (
        one("PRAGMA user_version")?,
        one("SELECT count(*) FROM sqlite_schema")?,
    ) {
        (0, 0) => {
            transaction.execute_batch(REPORTS)?;
            complete(&transaction, 1)?;
        }
        (version @ 1..VERSION, _) => complete(&transaction, version)?,
        (VERSION, _) => {}
        _ => return Ok(false),
    }
    transaction.commit()?;
    Ok(true)
}

/// From `version` to this one.
fn complete(transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<()> {
    if version < 2 {
        transaction.execute_batch(RUNS_AND_TOKENS)?;
    }
    if version < 3 {
        transaction.execute_batch(UNNUMBERED)?;
    }
    transaction.execute_batch(HISTORY)?;
    transaction.execute_batch(FLEET_AND_SESSIONS)?;
    transaction.execute_batch(ALARMS)?;
    transaction.pragma_update(None, "user_version", VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_version_1_is_counted_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(REPORTS).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO reports (client, service, data, boot, seq, received_ms) VALUES
                    ('1', 'A', '{}', 'z', 3, 0), ('1', 'A', '{}', 'a', 9223372036854775807, 0),
                    ('1', 'B', '{}', 'z', 0, 0), ('web', 'A', '{}', 'z', 7, 0),
                    ('1', 'A', '{}', NULL, 1, 0), ('1', 'A', '{}', 'q', NULL, 0);",
            )
            .unwrap();
        for _ in 0..2 {
            assert!(prepare(&mut connection).unwrap());
            let mut runs = connection
                .prepare(
                    "SELECT client, boot, first, last, received, duplicates FROM runs ORDER BY id",
                )
                .unwrap();
            let runs: Vec<(String, String, i64, i64, i64, i64)> = runs
                .query_map([], |row| row.try_into())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let unnumbered: Vec<(String, i64)> = connection
                .prepare("SELECT client, received FROM unnumbered")
                .unwrap()
                .query_map([], |row| row.try_into())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(unnumbered, [("1".to_owned(), 2)]);
            let run = |client: &str, boot: &str, first, last, received| {
                (client.to_owned(), boot.to_owned(), first, last, received, 0)
            };
            assert_eq!(
                runs,
                [
                    run("1", "z", 0, 3, 2),
                    run("1", "a", i64::MAX, i64::MAX, 1),
                    run("web", "z", 7, 7, 1),
                ]
            );
        }
    }

    #[test]
    fn a_database_of_version_2_keeps_its_runs() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(REPORTS).unwrap();
        connection.execute_batch(RUNS_AND_TOKENS).unwrap();
        connection
            .execute_batch(
                "PRAGMA user_version = 2;
                 INSERT INTO reports (client, service, data, received_ms) VALUES ('1', 'A', '{}', 0);
                 INSERT INTO runs (client, boot, first, last, received, duplicates)
                    VALUES ('1', 'a', 0, 9, 10, 3);",
            )
            .unwrap();
        assert!(prepare(&mut connection).unwrap());
        let one = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(one("SELECT duplicates FROM runs").unwrap(), 3);
        assert_eq!(one("SELECT received FROM unnumbered").unwrap(), 1);
    }

    #[test]
    fn a_later_version_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        let version = VERSION + 1;
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
        assert!(!prepare(&mut connection).unwrap());
    }
}
