//! The file that the database is in, which somebody may delete or replace while it is open.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ffi};

use super::database::{self, INSERT, LATEST, OpenError};

/// An open database, and which file it is in.
pub struct DatabaseFile {
    connection: Connection,
    path: PathBuf,
    id: FileId,
}

impl DatabaseFile {
    /// Opens or creates the database at `path`.
    pub fn open(path: &Path) -> Result<DatabaseFile, OpenError> {
        let connection = database::open(path)?;
        let sqlite = |cause| unusable(path, cause);
        // Whether it has the tables that its version says.
        for sql in [INSERT, LATEST] {
            connection.prepare(sql).map_err(sqlite)?;
        }
        let id = FileId::at(path)
            .ok_or_else(|| sqlite(rusqlite::Error::InvalidPath(path.to_owned())))?;
        Ok(DatabaseFile {
            connection,
            path: path.to_owned(),
            id,
        })
    }

    /// The way to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the path still leads to the file that is open: a restart finds what is stored in it.
    pub fn is_in_place(&self) -> bool {
        FileId::at(&self.path).as_ref() == Some(&self.id)
    }

    /// Leaves nothing in the write-ahead log. The log of a file that was renamed keeps its name: the
    /// renamed file would miss those reports, and SQLite would write them into the file that comes
    /// after it.
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

#[derive(PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn at(path: &Path) -> Option<FileId> {
        let metadata = fs::metadata(path).ok()?;
        Some(FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

fn unusable(path: &Path, cause: rusqlite::Error) -> OpenError {
    OpenError::Sqlite {
        path: path.to_owned(),
        cause,
    }
}
