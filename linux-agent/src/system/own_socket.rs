//! A socket of this program's own in a folder that may hold other things: those stay as they are.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::unistd::Uid;

use super::files;

/// Listens at `path`, where nobody else does, for this process's user alone. It replaces a socket that is left over, and
/// nothing else.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match is_left_over(path) {
        Ok(true) => fs::remove_file(path)?,
        Ok(false) => {
            let sentence =
                "something else than a socket of this program is there: move it elsewhere";
            return Err(io::Error::new(ErrorKind::AlreadyExists, sentence));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    keep_from_others(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the socket away, if it is one. An agent's stays: whoever starts next replaces it.
#[cfg(any(test, feature = "serve"))]
pub fn remove(path: &Path) {
    if matches!(is_left_over(path), Ok(true)) {
        // One that stays does no harm: whoever listens next replaces it.
        let _ = fs::remove_file(path);
    }
}

/// Whether it is a socket of this process's user, or of whom the folder belongs to.
fn is_left_over(path: &Path) -> io::Result<bool> {
    let facts = fs::symlink_metadata(path)?;
    let folder = path.parent().map(fs::metadata).transpose()?;
    let is_own = |owner| owner == Uid::effective().as_raw();
    let is_of_folder = |owner| folder.is_some_and(|it| it.uid() == owner);
    Ok(facts.file_type().is_socket() && (is_own(facts.uid()) || is_of_folder(facts.uid())))
}

/// Others may change the folder: a link that stands there by now is not followed.
fn keep_from_others(path: &Path) -> io::Result<()> {
    let socket = files::look_at(path)?;
    match socket.metadata()?.file_type().is_socket() {
        true => {
            let opened = format!("/proc/self/fd/{}", socket.as_raw_fd());
            fs::set_permissions(opened, Permissions::from_mode(0o600))
        }
        false => Err(io::Error::other("another program has replaced the socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_left_over_is_replaced_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for _ in 0..2 {
            drop(listen(&path).unwrap());
            assert_eq!(mode(&path), 0o600);
        }
        remove(&path);
        assert!(!path.exists());
        remove(&path);

        let target = folder.path().join("target");
        let refused = |what: &str| {
            let error = listen(&path).unwrap_err().to_string();
            assert!(error.starts_with("something else"), "{what}: {error}");
            remove(&path);
        };
        fs::write(&path, "a person's").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        refused("a file");
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("a person's", 0o644)
        );
        fs::rename(&path, &target).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        refused("a link");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink() && mode(&target) == 0o644);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a folder");
        assert!(path.is_dir());
    }

    /// In a folder such as /tmp.
    #[test]
    fn a_socket_of_another_user_stays() {
        if !Uid::effective().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(listen(&path).is_err());
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), 65534);
        // The folder's owner may do with it what it likes anyway.
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        listen(&path).unwrap();
    }
}
