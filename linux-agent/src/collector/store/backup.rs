//! A copy of the database, made beside the collector that uses it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use crate::system::files::hint;

/// How long another process may hold the database locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It would be overwritten.
    #[error("{} is there already; name a new file", .0.display())]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("{}: {cause}{}", path.display(), hint(cause))]
    File {
        /// The copy.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The database cannot be read, or the copy not be filled.
    #[error("the copy of {} is not complete and was removed: {cause}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        cause: rusqlite::Error,
    },
}

/// Copies `database` to the new file `copy`, for its owner only, and gives its size in bytes. It is one state of the
/// database, without free pages; reports that come meanwhile are not in it. The copy has its name once it is whole and
/// on the disk.
pub fn backup(database: &Path, copy: &Path) -> Result<u64, BackupError> {
    if fs::symlink_metadata(copy).is_ok() {
        return Err(BackupError::Exists(copy.to_owned()));
    }
    let mut part = copy.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part);
    // The name that was typed: of the other one nobody knows.
    file.map_err(|cause| of(copy, cause))?;
    let made = fill(database, &part, copy).and_then(|bytes| match fs::hard_link(&part, copy) {
        Ok(()) => Ok(bytes),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::Exists(copy.to_owned()))
        }
        // Some file systems have no links.
        Err(_) => fs::rename(&part, copy)
            .map(|()| bytes)
            .map_err(|cause| of(copy, cause)),
    });
    // What is left of it, if anything.
    let _ = fs::remove_file(&part);
    made
}

fn fill(database: &Path, part: &Path, copy: &Path) -> Result<u64, BackupError> {
    // As it is, since a name need not be UTF-8.
    let name = ToSqlOutput::Borrowed(ValueRef::Text(part.as_os_str().as_bytes()));
    let vacuum = || {
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute("VACUUM INTO ?1", [name])
    };
    vacuum().map_err(|cause| BackupError::Sqlite {
        path: database.to_owned(),
        cause,
    })?;
    let synced = File::open(part).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    synced.map(|it| it.len()).map_err(|cause| of(copy, cause))
}

fn of(path: &Path, cause: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copy_is_whole_for_its_owner_only_and_never_over_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (database, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let open = Connection::open(&database).unwrap();
        open.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (7);",
        )
        .unwrap();
        let bytes = backup(&database, &copy).unwrap();
        let metadata = fs::metadata(&copy).unwrap();
        assert_eq!(
            (metadata.len(), metadata.permissions().mode() & 0o777),
            (bytes, 0o600)
        );
        let x: i64 = Connection::open(&copy)
            .unwrap()
            .query_row("SELECT x FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(x, 7);
        assert!(matches!(
            backup(&database, &copy),
            Err(BackupError::Exists(_))
        ));
        let none = backup(&folder.path().join("none.db"), &folder.path().join("c.db"));
        assert!(matches!(none, Err(BackupError::Sqlite { .. })));
        // The name that was typed is the one that is told.
        for typed in ["/proc/none/c.db", "/proc/c.db"] {
            let nowhere = backup(&database, Path::new(typed)).unwrap_err();
            assert!(matches!(nowhere, BackupError::File { .. }));
            let told = nowhere.to_string();
            assert!(told.starts_with(&format!("{typed}: ")), "{told}");
        }
        let odd = folder.path().join(OsStr::from_bytes(b"\xff.db"));
        assert_eq!(backup(&database, &odd).unwrap(), bytes);
        assert_eq!(fs::metadata(&odd).unwrap().len(), bytes);
        // What has nearly its name is another's.
        let others = folder.path().join("d.db.part");
        fs::write(&others, "a person's").unwrap();
        backup(&database, &folder.path().join("d.db")).unwrap();
        assert_eq!(fs::read_to_string(&others).unwrap(), "a person's");
        fs::remove_file(&others).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert!(
            left.iter()
                .all(|it| !it.file_name().to_string_lossy().contains("part"))
        );
    }
}
