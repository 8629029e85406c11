//! Opening the database: its folder, its mode, its layout.

use std::fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB};
use thiserror::Error;

use super::schema;
use crate::system::files;

/// How long another process may hold the file locked before a request is refused.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the database cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its folder cannot be created.
    #[error(
        "the folder {} of the database does not exist and cannot be made: {cause}; make it for this user, \
         or name another file as `database` in the settings",
        path.display()
    )]
    Folder { path: PathBuf, cause: io::Error },
    /// There is something else in its place.
    #[error("the database {} is {kind}; name a regular file", path.display())]
    NoFile { path: PathBuf, kind: &'static str },
    /// There is something else in the place of one of SQLite's other files.
    #[error("{} belongs to the database and is {kind}; move it away", path.display())]
    NoFileBeside { path: PathBuf, kind: &'static str },
    /// SQLite refuses.
    #[error("the database {} cannot be used: {cause}", path.display())]
    Sqlite {
        path: PathBuf,
        cause: rusqlite::Error,
    },
    /// The file may only be read.
    #[error("the database {} may not be written; give this user the right to", .0.display())]
    ReadOnly(PathBuf),
    /// The file holds something else, or reports in a layout that this version does not know.
    #[error(
        "the database {} was made by another program or by a later version; name another file",
        .0.display()
    )]
    Foreign(PathBuf),
    /// The thread that is to own it cannot be started.
    #[error("no thread can be started for the database: {0}")]
    Thread(io::Error),
}

/// Every database that is not empty has a header of this size (<https://sqlite.org/fileformat.html>).
const HEADER_BYTES: u64 = 100;

/// Opens or creates the database at `path`. What another process has locked is waited for, up to
/// `busy_timeout`.
pub fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|cause| OpenError::Folder {
                path: folder.to_owned(),
                cause,
            })?;
    }
    // Only the collector's user may read the file; SQLite gives its other files the same mode. A link may lead to
    // where it is to be. If it cannot be made, SQLite says why.
    if !path.exists() {
        let _ = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
    }
    for (number, file) in files_of(path).iter().enumerate() {
        let Some((_, metadata)) = look_at(file) else {
            continue;
        };
        let kind = kind_of(metadata.file_type());
        match (metadata.is_file(), number) {
            // SQLite takes a file of one byte for an empty one, and writes over it.
            (true, 0) if (1..HEADER_BYTES).contains(&metadata.len()) => {
                return Err(OpenError::Foreign(path.to_owned()));
            }
            (true, _) => {}
            (false, 0) => {
                let path = path.to_owned();
                return Err(OpenError::NoFile { path, kind });
            }
            (false, _) => {
                let path = file.clone();
                return Err(OpenError::NoFileBeside { path, kind });
            }
        }
    }
    let sqlite = |cause| OpenError::Sqlite {
        path: path.to_owned(),
        cause,
    };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    if connection.is_readonly(MAIN_DB).map_err(sqlite)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    if !prepare(&mut connection, busy_timeout).map_err(sqlite)? {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    // Only now it is known to be the collector's own.
    files_of(path).iter().for_each(|it| keep_from_others(it));
    Ok(connection)
}

/// The database and what SQLite keeps beside it. SQLite follows a link of the first and none of the others.
fn files_of(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| beside(path, suffix))
}

/// The file of SQLite's with this `suffix` of the database at `path`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = real.into_os_string();
    file.push(suffix);
    PathBuf::from(file)
}

/// A descriptor that is of the file alone: opening it so waits for nobody, follows no link, changes nothing, and
/// closing it does not give up SQLite's locks, as closing another one would.
fn look_at(path: &Path) -> Option<(File, Metadata)> {
    let file = files::look_at(path).ok()?;
    let metadata = file.metadata().ok()?;
    Some((file, metadata))
}

/// Puts right what was made by hand, or copied back from elsewhere. Only a regular file is touched.
fn keep_from_others(path: &Path) {
    let Some((file, metadata)) = look_at(path).filter(|(_, it)| it.is_file()) else {
        return;
    };
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return;
    }
    // Whatever stands at the path by now.
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    match fs::set_permissions(opened, Permissions::from_mode(0o600)) {
        Ok(()) => log::warn!(
            "{} had the mode {mode:04o}; it is 0600 now, since it is for nobody else",
            path.display()
        ),
        Err(cause) => log::warn!(
            "{} can be read or changed by others (its mode is {mode:04o}), and that cannot be mended: {cause}",
            path.display()
        ),
    }
}

fn kind_of(it: FileType) -> &'static str {
    match it {
        it if it.is_dir() => "a folder",
        it if it.is_fifo() => "a FIFO",
        it if it.is_socket() => "a socket",
        it if it.is_symlink() => "a symbolic link",
        _ => "a device",
    }
}

/// Prepares a new database. `false`: the file is another program's.
fn prepare(connection: &mut Connection, busy_timeout: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(busy_timeout)?;
    // Of a new file. What was made without it gives nothing back to the file system.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    if !schema::prepare(connection)? {
        return Ok(false);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What a burst has made of the write-ahead log does not stay for ever.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/reports.db");
        (folder, path)
    }

    #[test]
    fn the_database_is_synced_at_each_report() {
        let (_folder, path) = scratch();
        let connection = open(&path, BUSY_TIMEOUT).unwrap();
        let pragma = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(pragma("PRAGMA synchronous").unwrap(), 2);
        let mode: String = connection
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_database_is_for_nobody_else() {
        let (_folder, path) = scratch();
        drop(open(&path, BUSY_TIMEOUT).unwrap());
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        drop(open(&path, BUSY_TIMEOUT).unwrap());
        assert_eq!(mode(), 0o600);
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_another_programs_keeps_its_mode() {
        let (folder, _) = scratch();
        let text = folder.path().join("notes.txt");
        for length in [1, 2, 99, 100, 5000] {
            let content = "x".repeat(length);
            fs::write(&text, &content).unwrap();
            set_mode(&text, 0o644);
            assert!(open(&text, BUSY_TIMEOUT).is_err(), "{length}");
            assert_eq!(mode(&text), 0o644);
            assert_eq!(fs::read_to_string(&text).unwrap(), content);
        }

        let other = folder.path().join("other.db");
        let program = Connection::open(&other).unwrap();
        program
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE mine (x);")
            .unwrap();
        let files = ["", "-wal", "-shm"].map(|suffix| beside(&other, suffix));
        files.iter().for_each(|it| set_mode(it, 0o664));
        let said = open(&other, BUSY_TIMEOUT).unwrap_err();
        assert!(matches!(said, OpenError::Foreign(_)), "{said}");
        assert_eq!(files.each_ref().map(|it| mode(it)), [0o664; 3]);
    }

    #[test]
    fn a_link_leads_to_the_files_that_are_kept_from_others() {
        let (folder, _) = scratch();
        let [real, link, strangers] =
            ["real.db", "link.db", "strangers"].map(|name| folder.path().join(name));
        // It leads nowhere yet.
        std::os::unix::fs::symlink(&real, &link).unwrap();
        fs::write(&strangers, "x").unwrap();
        set_mode(&strangers, 0o644);
        std::os::unix::fs::symlink(&strangers, folder.path().join("link.db-wal")).unwrap();
        let open_link = || open(&link, BUSY_TIMEOUT);
        let first = open_link().unwrap();
        assert_eq!(mode(&real), 0o600);
        drop(first);
        let files = files_of(&real);
        set_mode(&real, 0o664);
        drop(open_link().unwrap());
        assert_eq!((mode(&real), mode(&strangers)), (0o600, 0o644));

        // SQLite does not follow this one.
        std::os::unix::fs::symlink(&strangers, &files[1]).unwrap();
        let said = open_link().unwrap_err().to_string();
        let sentence = format!(
            "{} belongs to the database and is a symbolic link; move it away",
            files[1].display()
        );
        assert_eq!((said, mode(&strangers)), (sentence, 0o644));
    }

    #[test]
    fn what_is_no_file_is_said_and_keeps_its_mode() {
        let (folder, _) = scratch();
        let refused = |path: &Path, kind: &str| {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
            let said = open(path, BUSY_TIMEOUT).unwrap_err().to_string();
            let sentence = format!(
                "the database {} is {kind}; name a regular file",
                path.display()
            );
            assert_eq!(said, sentence);
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o755);
        };
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&fifo, "a FIFO");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        refused(&socket, "a socket");
        refused(folder.path(), "a folder");
        let said = open(Path::new("/dev/null"), BUSY_TIMEOUT).unwrap_err();
        assert!(said.to_string().contains("is a device"), "{said}");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let (folder, path) = scratch();
        drop(open(&path, BUSY_TIMEOUT).unwrap());
        assert!(open(&path, BUSY_TIMEOUT).is_ok(), "its own database, again");

        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "no database\n".repeat(100)).unwrap();
        assert!(matches!(
            open(&text, BUSY_TIMEOUT),
            Err(OpenError::Sqlite { .. })
        ));

        let other = folder.path().join("other.db");
        let make = |sql| Connection::open(&other).unwrap().execute_batch(sql);
        make("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(
            open(&other, BUSY_TIMEOUT),
            Err(OpenError::Foreign(_))
        ));
        make("PRAGMA user_version = 99").unwrap();
        assert!(matches!(
            open(&other, BUSY_TIMEOUT),
            Err(OpenError::Foreign(_))
        ));

        assert!(matches!(
            open(folder.path(), BUSY_TIMEOUT),
            Err(OpenError::NoFile { .. })
        ));
        let below_a_file = text.join("reports.db");
        assert!(matches!(
            open(&below_a_file, BUSY_TIMEOUT),
            Err(OpenError::Folder { .. })
        ));
    }
}
