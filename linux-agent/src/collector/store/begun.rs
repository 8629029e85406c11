//! When the latest runs of each client began: when the report with the number 0 was sampled.

use rusqlite::{Connection, OptionalExtension, params};

/// So many runs of a client are remembered, those whose first report came last.
const MAX_RUNS: u32 = 4;

/// What is before 2020 is the time of a clock that was not set yet, in milliseconds since 1970-01-01 00:00 UTC.
const SET_MS: i64 = 1_577_836_800_000;

/// Notes when the first report of a run was sampled, in a transaction of the caller's.
pub fn note(
    connection: &Connection,
    client: &str,
    boot: &str,
    sampled_ms: i64,
) -> rusqlite::Result<()> {
    if sampled_ms < SET_MS {
        return Ok(());
    }
    let insert = "INSERT OR REPLACE INTO begun (client, boot, at_ms) VALUES (?1, ?2, ?3)";
    let values = params![client, boot, sampled_ms];
    connection.prepare_cached(insert)?.execute(values)?;
    let remove = "DELETE FROM begun WHERE client = ?1
        AND id NOT IN (SELECT id FROM begun WHERE client = ?1 ORDER BY id DESC LIMIT ?2)";
    let values = params![client, MAX_RUNS];
    connection.prepare_cached(remove)?.execute(values)?;
    Ok(())
}

/// When each of these runs began, a client and its boot, as far as that is known.
pub fn read(
    connection: &Connection,
    runs: &[(String, String)],
) -> rusqlite::Result<Vec<Option<i64>>> {
    let sql = "SELECT at_ms FROM begun WHERE client = ?1 AND boot = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let one = |(client, boot): &(String, String)| {
        let found = statement.query_row([client, boot], |row| row.get(0));
        found.optional()
    };
    runs.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::store::schema;

    #[test]
    fn the_latest_runs_of_a_client_are_remembered() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut connection).unwrap());
        let time_ms = |run: i64| SET_MS + run * 1000;
        for run in 0..6 {
            note(&connection, "1", &format!("b{run}"), time_ms(run)).unwrap();
        }
        note(&connection, "2", "b0", time_ms(9)).unwrap();
        note(&connection, "1", "unset", SET_MS - 1).unwrap();
        let known = |client: &str, boot: &str| {
            let asked = [(client.to_owned(), boot.to_owned())];
            read(&connection, &asked).unwrap()[0]
        };
        for (boot, expected) in [
            ("b1", None),
            ("b2", Some(time_ms(2))),
            ("b5", Some(time_ms(5))),
            ("unset", None),
        ] {
            assert_eq!(known("1", boot), expected, "{boot}");
        }
        assert_eq!(known("2", "b0"), Some(time_ms(9)));
    }
}
