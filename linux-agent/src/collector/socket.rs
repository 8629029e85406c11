//! The socket beside the database: commands on this machine ask the running collector there, without a token.
//!
//! Only the collector's user and root may open it. It speaks the same HTTP as the port.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::system::files::short_path;
use crate::system::own_socket;

/// What the database's name is followed by.
const SUFFIX: &str = ".sock";

/// The socket of the collector whose database this is.
pub fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// Listens there. `None`: another collector does.
pub fn listen(database: &Path) -> io::Result<Option<UnixListener>> {
    at(database, |path| {
        if UnixStream::connect(path).is_ok() {
            return Ok(None);
        }
        own_socket::listen(path).map(Some)
    })
}

/// Connects to the collector whose database this is.
pub fn connect(database: &Path) -> io::Result<UnixStream> {
    at(database, |path| UnixStream::connect(path))
}

/// Takes the socket away.
pub fn remove(database: &Path) {
    own_socket::remove(&path_of(database));
}

/// The address of a socket has room for 107 bytes, so the folder is named by its descriptor.
fn at<T>(database: &Path, what: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let socket = path_of(database);
    let folder = socket.parent().filter(|it| !it.as_os_str().is_empty());
    let (_open, short) =
        short_path(folder.unwrap_or(Path::new("."))).map_err(|error| error.cause)?;
    what(&short.join(socket.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_collector_has_a_database_and_what_a_dead_one_leaves_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a-long-name".repeat(20));
        fs::create_dir(&deep).unwrap();
        let database = deep.join("reports.db");
        assert!(connect(&database).is_err());
        let first = listen(&database).unwrap().unwrap();
        assert!(listen(&database).unwrap().is_none());
        connect(&database).unwrap();
        let mode = fs::metadata(path_of(&database))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(first);
        assert!(listen(&database).unwrap().is_some());
        remove(&database);
        assert!(!path_of(&database).exists());
        // Neither a start nor a stop takes away what is no socket.
        fs::write(path_of(&database), "a person's").unwrap();
        assert!(listen(&database).is_err());
        remove(&database);
        assert_eq!(
            fs::read_to_string(path_of(&database)).unwrap(),
            "a person's"
        );
    }
}
