//! The database's file, which somebody may delete or replace while it is open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, ffi};

use super::file_id::FileId;
use super::invitation;
use super::open::{self, BUSY_TIMEOUT, OpenError};

/// An open database, and which file it is in.
pub struct DatabaseFile {
    connection: Connection,
    path: PathBuf,
    /// Where SQLite keeps its write-ahead log.
    log_path: PathBuf,
    id: FileId,
    /// The write-ahead log, which holds what was stored last. While it is open here, it is deleted only by hand.
    /// `None` if the file system does not support one.
    log: Option<FileId>,
}

impl DatabaseFile {
    /// Opens or creates the database at `path`.
    pub fn open(path: &Path) -> Result<DatabaseFile, OpenError> {
        let connection = open::open(path, BUSY_TIMEOUT)?;
        let sqlite = |cause| unusable(path, cause);
        // Check that it has the tables of its version.
        invitation::tokens(&connection).map_err(sqlite)?;
        // SQLite opens its log with the first transaction.
        connection
            .query_row("SELECT 1 FROM log LIMIT 1", [], |_| Ok(()))
            .optional()
            .map_err(sqlite)?;
        let id = FileId::at(path)
            .ok_or_else(|| sqlite(rusqlite::Error::InvalidPath(path.to_owned())))?;
        let log_path = open::beside(path, "-wal");
        let log = FileId::at(&log_path);
        Ok(DatabaseFile {
            connection,
            path: path.to_owned(),
            log_path,
            id,
            log,
        })
    }

    /// The connection to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether the path still leads to the file that is open, and to its log: a restart finds what is
    /// stored there.
    pub fn is_in_place(&self) -> bool {
        FileId::at(&self.path).as_ref() == Some(&self.id) && FileId::at(&self.log_path) == self.log
    }

    /// Empties the write-ahead log. If the file was renamed, its log keeps the old name: the renamed file would
    /// miss those reports, and SQLite would write them into the file that takes its place.
    pub fn empty_log(&self) -> Result<(), OpenError> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|cause| unusable(&self.path, cause))?;
        if busy == 0 {
            Ok(())
        } else {
            let cause = ffi::Error::new(ffi::SQLITE_BUSY);
            Err(unusable(
                &self.path,
                rusqlite::Error::SqliteFailure(cause, None),
            ))
        }
    }
}

impl DatabaseFile {
    /// How large the write-ahead log is.
    pub fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log_path).map_or(0, |log| log.len())
    }

    /// Empties the write-ahead log unless somebody is in it. Gives whether it did.
    pub fn empty_log_at_once(&self) -> bool {
        let number = |sql: &str| self.connection.query_row(sql, [], |row| row.get(0));
        let Ok(timeout_ms) = number("PRAGMA busy_timeout").map(|it: i64| it.unsigned_abs()) else {
            return false;
        };
        if self.connection.busy_timeout(Duration::ZERO).is_err() {
            return false;
        }
        let is_busy = number("PRAGMA wal_checkpoint(TRUNCATE)");
        let restored = self
            .connection
            .busy_timeout(Duration::from_millis(timeout_ms));
        matches!((is_busy, restored), (Ok(0), Ok(())))
    }
}

fn unusable(path: &Path, cause: rusqlite::Error) -> OpenError {
    OpenError::Sqlite {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_database_behind_a_link_is_watched_too() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.db"), folder.path().join("link.db"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let file = DatabaseFile::open(&link).unwrap();
        assert!(file.is_in_place());
        fs::remove_file(folder.path().join("real.db-wal")).unwrap();
        assert!(!file.is_in_place());
    }
}
