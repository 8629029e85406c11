//! The database's file, which somebody may delete or replace while it is open.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, ffi};

use super::file_id::FileId;
use super::invitation;
use super::open::{self, BUSY_TIMEOUT, OpenError};

/// An open database, and which file it is in.
pub struct DatabaseFile {
    connection: Connection,
    path: PathBuf,
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
        Ok(DatabaseFile {
            connection,
            path: path.to_owned(),
            id,
            log: FileId::at(&log_path(path)),
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
        FileId::at(&self.path).as_ref() == Some(&self.id)
            && FileId::at(&log_path(&self.path)) == self.log
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

/// Where SQLite keeps the write-ahead log of the database at `path`.
fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

fn unusable(path: &Path, cause: rusqlite::Error) -> OpenError {
    OpenError::Sqlite {
        path: path.to_owned(),
        cause,
    }
}
