//! A database that fails for a while.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::open::BUSY_TIMEOUT;

/// The database failed. Its thread has logged why; the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Logs when the database begins to fail and when it works again. Not each failure: a full disk has no room for
/// that.
pub struct Outage<'a> {
    name: &'a str,
    what: &'static str,
    connection: &'a Connection,
    refused: u64,
    is_busy: bool,
}

impl<'a> Outage<'a> {
    /// Of the database of this name, which cannot be `what`: read or written.
    pub fn new(name: &'a str, what: &'static str, connection: &'a Connection) -> Self {
        Outage {
            name,
            what,
            connection,
            refused: 0,
            is_busy: false,
        }
    }

    /// One request waits for another process that has the file locked. Those behind it do not wait once more, each in
    /// its turn: they are refused at once, until one succeeds.
    fn wait_once<T>(&mut self, result: &rusqlite::Result<T>) {
        let is_busy = matches!(
            result,
            Err(rusqlite::Error::SqliteFailure(cause, _)) if cause.code == ErrorCode::DatabaseBusy
        );
        if is_busy != self.is_busy {
            self.is_busy = is_busy;
            let timeout = if is_busy {
                Duration::ZERO
            } else {
                BUSY_TIMEOUT
            };
            if let Err(cause) = self.connection.busy_timeout(timeout) {
                log::warn!("{}: {cause}", self.name);
            }
        }
    }

    /// Notes how a request ended. Returns the answer for whoever asked.
    pub fn note<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, Unavailable> {
        self.wait_once(&result);
        let Outage { name, what, .. } = self;
        match result {
            Ok(value) => {
                if self.refused > 0 {
                    log::info!(
                        "{name} can be {what} again; requests refused meanwhile: {}",
                        self.refused
                    );
                    self.refused = 0;
                }
                Ok(value)
            }
            Err(cause) => {
                if self.refused == 0 {
                    log::error!(
                        "{name} cannot be {what}, requests are refused until it can: {cause}"
                    );
                }
                self.refused += 1;
                Err(Unavailable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_waits_for_a_lock_until_one_succeeds() {
        let connection = Connection::open_in_memory().unwrap();
        connection.busy_timeout(BUSY_TIMEOUT).unwrap();
        let timeout_ms = || -> i64 {
            let timeout = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
            timeout.unwrap()
        };
        let failure = |code| {
            let cause = rusqlite::ffi::Error::new(code);
            Err::<(), _>(rusqlite::Error::SqliteFailure(cause, None))
        };
        let mut outage = Outage::new("reports.db", "written", &connection);
        for (result, expected) in [
            (Ok(()), 1000),
            (failure(rusqlite::ffi::SQLITE_FULL), 1000),
            (failure(rusqlite::ffi::SQLITE_BUSY), 0),
            (failure(rusqlite::ffi::SQLITE_BUSY), 0),
            (Ok(()), 1000),
        ] {
            let _ = outage.note(result);
            assert_eq!(timeout_ms(), expected);
        }
    }
}
