//! Which numbers of each run have come, and how often one came again.
//!
//! An agent numbers what it samples in a run, its `boot`, from 0. So what never came shows as a gap,
//! and what was sent again as a duplicate.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use crate::client_name::ClientName;

/// At most this many runs of one client in an answer.
pub const MAX_RUNS: u32 = 1000;

/// At most this many runs in an answer, over all clients. Each client has the same share, at least one.
pub const MAX_RUNS_IN_ALL: u32 = 10_000;

/// What has become of the reports of one client, of all its runs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ClientRuns {
    /// The client.
    pub client_id: ClientName,
    /// Reports of its runs that are stored, each counted once.
    pub received: u64,
    /// Reports without `boot` or `seq`, which nobody can tell from one that comes again.
    pub unnumbered: u64,
    /// Reports whose number was there already. The first one stays.
    pub duplicates: u64,
    /// Numbers that have not come, from 0 to the last of each run.
    pub gaps: u64,
    /// The runs that began last, at most [`MAX_RUNS`], oldest first.
    pub runs: Vec<Run>,
    /// How many earlier runs there are; the sums include them.
    pub runs_left_out: u64,
}

/// The account of one run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The id of the run.
    pub boot: String,
    /// The smallest number that has come.
    pub first: u64,
    /// The largest.
    pub last: u64,
    /// Reports that are stored.
    pub received: u64,
    /// Reports that came again.
    pub duplicates: u64,
    /// Numbers from 0 to `last` that have not come.
    pub gaps: u64,
}

/// The accounts of these clients.
pub fn read(
    connection: &Connection,
    clients: Vec<ClientName>,
) -> rusqlite::Result<Vec<ClientRuns>> {
    // Sums of `last` in halves, since SQLite refuses a sum beyond 2^63.
    let mut sums = connection.prepare(
        "SELECT count(*), coalesce(sum(received), 0), coalesce(sum(duplicates), 0),
                coalesce(sum(last >> 32), 0), coalesce(sum(last & 4294967295), 0)
         FROM runs WHERE client = ?1",
    )?;
    let mut unnumbered = connection.prepare("SELECT received FROM unnumbered WHERE client = ?1")?;
    let mut newest = connection.prepare(
        "SELECT boot, first, last, received, duplicates FROM runs
         WHERE client = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX).max(1);
    let limit = (MAX_RUNS_IN_ALL / count).clamp(1, MAX_RUNS);
    clients
        .into_iter()
        .map(|client_id| {
            let client = client_id.to_string();
            let (count, received, duplicates, numbers) = sums.query_row([&client], |row| {
                let count = unsigned(row, 0)?;
                let high = u128::from(unsigned(row, 3)?);
                let numbers = (high << 32) + u128::from(unsigned(row, 4)?) + u128::from(count);
                Ok((count, unsigned(row, 1)?, unsigned(row, 2)?, numbers))
            })?;
            let mut runs = newest
                .query_map(params![client, limit], run)?
                .collect::<rusqlite::Result<Vec<Run>>>()?;
            runs.reverse();
            let gaps = numbers.saturating_sub(u128::from(received));
            let unnumbered = unnumbered.query_row([&client], |row| unsigned(row, 0));
            Ok(ClientRuns {
                client_id,
                received,
                unnumbered: unnumbered.optional()?.unwrap_or(0),
                duplicates,
                // Saturates: more than the largest number counts as that.
                gaps: u64::try_from(gaps).unwrap_or(u64::MAX),
                runs_left_out: count.saturating_sub(runs.len() as u64),
                runs,
            })
        })
        .collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let last = unsigned(row, 2)?;
    let received = unsigned(row, 3)?;
    Ok(Run {
        boot: row.get(0)?,
        first: unsigned(row, 1)?,
        last,
        received,
        duplicates: unsigned(row, 4)?,
        // There can be more reports than numbers if somebody deleted reports that then came again.
        gaps: (last + 1).saturating_sub(received),
    })
}

/// These columns are never negative. If one was made so by hand, it counts as 0.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::store::schema;

    fn connection() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut connection).unwrap());
        connection
    }

    fn store(connection: &Connection, client: &str, boot: &str, seq: i64) {
        connection
            .execute(
                "INSERT INTO runs (client, boot, first, last, received, duplicates) VALUES (?1, ?2, ?3, ?3, 1, 0)
                 ON CONFLICT (client, boot) DO UPDATE SET
                    first = min(first, ?3), last = max(last, ?3), received = received + 1",
                params![client, boot, seq],
            )
            .unwrap();
    }

    fn account(connection: &Connection, client: &str) -> ClientRuns {
        let mut accounts = read(connection, vec![ClientName::from_text(client)]).unwrap();
        accounts.pop().unwrap()
    }

    #[test]
    fn sums_are_over_all_runs_and_only_the_newest_are_listed() {
        let connection = connection();
        for run in 0..1003 {
            // In no order of names, which are not what is sorted by.
            let boot = format!("{:x}", (run * 7919) % 1009);
            for seq in [0, 1, 2 + run] {
                store(&connection, "1", &boot, seq);
            }
            connection
                .execute(
                    "UPDATE runs SET duplicates = duplicates + 1 WHERE boot = ?1",
                    [boot],
                )
                .unwrap();
        }
        let account = account(&connection, "1");
        assert_eq!((account.received, account.duplicates), (3009, 1003));
        assert_eq!(account.gaps, (0..1003).sum::<u64>());
        assert_eq!((account.runs.len(), account.runs_left_out), (1000, 3));
        for (gaps, run) in (3..).zip(&account.runs) {
            assert_eq!((run.gaps, run.last, run.first), (gaps, 2 + gaps, 0));
            assert_eq!((run.received, run.duplicates), (3, 1));
        }
    }

    #[test]
    fn many_clients_share_the_answer() {
        let connection = connection();
        let clients: Vec<ClientName> = (0..20_000).map(ClientName::Number).collect();
        for boot in ["a", "b"] {
            store(&connection, "19999", boot, 0);
        }
        let accounts = read(&connection, clients).unwrap();
        let last = accounts.last().unwrap();
        assert_eq!((last.received, last.runs_left_out), (2, 1));
        assert_eq!(last.runs[0].boot, "b");
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let connection = connection();
        store(&connection, "1", "a", i64::MAX);
        let half = (1 << 63) - 1;
        let one = account(&connection, "1");
        assert_eq!((one.gaps, one.runs[0].gaps), (half, half));
        store(&connection, "1", "b", i64::MAX);
        assert_eq!(account(&connection, "1").gaps, u64::MAX - 1);
        store(&connection, "1", "c", i64::MAX);
        assert_eq!(account(&connection, "1").gaps, u64::MAX);
    }
}
