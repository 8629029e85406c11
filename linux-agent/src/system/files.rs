//! Files that are read whole or in pieces, and files that are written whole.
//!
//! What is read must be a regular file, as those of procfs and sysfs are too. Opening a FIFO waits until somebody
//! writes, and a device such as `/dev/zero` never ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

/// A file or folder that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {cause}{}", path.display(), hint(cause))]
pub struct FileError {
    /// Which one.
    pub path: PathBuf,
    /// The system's error.
    pub cause: io::Error,
}

impl FileError {
    /// Of this path.
    pub fn new(path: &Path, cause: io::Error) -> FileError {
        let path = path.to_owned();
        FileError { path, cause }
    }
}

/// What to do about an error, as the end of its sentence.
pub(crate) fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::PermissionDenied => {
            ": run this as root or as the user that it belongs to, or give that user the right"
        }
        ErrorKind::StorageFull => ": make room on that disk",
        ErrorKind::ReadOnlyFilesystem => ": that disk can only be read",
        _ => "",
    }
}

/// Who is the agent of a state folder has locked this file in it.
pub(super) const LOCK_FILE: &str = "agent.lock";

/// Root may open files in a folder that another user owns. So no link is followed, and no FIFO waited for.
pub(super) const NOT_ELSEWHERE: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Opens `path` for reading, without waiting for anything. Fails if it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // A terminal must not become the agent's. std closes descriptors on exec.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    regular(file)
}

/// Opens what stands at `path`, of any kind and be it a link, only to ask about it: that waits for nobody and changes nothing.
/// Not by std, whose `custom_flags` drops O_PATH where musl is the C library.
pub fn look_at(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Opens one of the agent's own files for reading and appending, and makes it first if `create`. No link is
/// followed: whoever may write the folder must not choose which file is written.
pub fn open_own(path: &Path, create: bool) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(create)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    regular(file)
}

/// Makes a folder of the agent's own, unless it is there. A link to a folder is refused.
pub fn make_own_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        result => return result,
    }
    match path.symlink_metadata()?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::NotADirectory,
            "it is not a folder",
        )),
    }
}

pub(super) fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(file),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe (FIFO)",
        _ => "a device",
    };
    let refusal = format!("it is {what}, and not a regular file");
    Err(io::Error::new(ErrorKind::InvalidInput, refusal))
}

/// Reads the whole of a regular file. Fails if that is more than `max_bytes`.
pub fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, max_bytes)
}

/// Reads the whole of an open file. Fails if that is more than `max_bytes`.
pub fn read_open(file: File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let refusal = format!("it is larger than {max_bytes} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, refusal));
    }
    Ok(bytes)
}

/// No settings file may be larger, in bytes.
pub const MAX_SETTINGS: u64 = 1 << 20;

/// Reads a settings file: text of at most 1 MiB.
pub fn read_settings(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, MAX_SETTINGS)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Writes a file whole or not at all: whoever reads it, also after a crash, sees the old or the new one.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(NOT_ELSEWHERE)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename is on disk only when its folder is.
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|cause| {
        // Nobody needs the rest of it. If it was renamed, it is not there.
        let _ = fs::remove_file(&temporary);
        FileError::new(path, cause)
    })
}

/// A short path to the control socket's folder: a socket's path has at most 107 bytes, and a state folder's may
/// have more.
pub fn short_path(state_dir: &Path) -> Result<(File, PathBuf), FileError> {
    let folder = File::open(state_dir).map_err(|cause| FileError::new(state_dir, cause))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&fifo, &link, Path::new("/dev/zero"), folder.path()] {
            let error = open(path).unwrap_err().to_string();
            assert!(
                error.ends_with(", and not a regular file"),
                "{path:?}: {error}"
            );
            assert!(read_bounded(path, 9).is_err(), "{path:?}");
        }
        let missing = open(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn files_of_the_kernel_are_regular_ones() {
        assert!(open(Path::new("/proc/self/mountinfo")).is_ok());
        assert!(open(Path::new("/proc/stat")).is_ok());
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"four");
        let error = read_bounded(&path, 3).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 3 bytes");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);

        fs::write(&path, b"a = \"\xff\"").unwrap();
        let error = read_settings(&path).unwrap_err();
        assert_eq!(error.to_string(), "it is not text in UTF-8");
        fs::write(&path, vec![b' '; 1 << 20]).unwrap();
        assert_eq!(read_settings(&path).unwrap().len(), 1 << 20);
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        let error = read_settings(&path).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1048576 bytes");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services.json");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
