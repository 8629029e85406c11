//! Files that hold secrets, and the token in one of them.
//!
//! A secret that others can read is not secret, so such a file is refused. What it holds is never part of a
//! sentence.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::User;
use thiserror::Error;
use ureq::http::HeaderValue;

use crate::system::files;

/// A file of keys or a token may have this many bytes.
pub const MAX_SECRET: u64 = 64 << 10;

/// The shortest and the longest token, in bytes.
pub const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// Where a secret is, and what keeps it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Its path.
    pub path: PathBuf,
    /// What its owner and its mode must be.
    pub keeper: Keeper,
}

/// What keeps a secret from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// This user owns the file, or root does if the program does not change its user. Nobody else may read it. What
    /// root runs also reads what another user owns in a folder of root's, such as the token of the agent's user.
    Owner {
        /// The user that the program runs as, or is about to become.
        uid: u32,
    },
    /// systemd's credentials: a group may read the file too, since only the service's user may enter the folder
    /// (systemd.exec(5)).
    Systemd {
        /// The user that the program runs as, or is about to become.
        uid: u32,
    },
}

/// Why a file's secret is not used, with what to do about it.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{}: {cause}{}", path.display(), files::hint(cause))]
    Read {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It is another user's.
    #[error(
        "{0} belongs to user {owner}, and this program runs as user {uid}: chown {uid} {0}",
        path.display()
    )]
    Owner {
        /// Its path.
        path: PathBuf,
        /// The id of its owner.
        owner: u32,
        /// The id of the program's user.
        uid: u32,
    },
    /// Others may do something with it.
    #[error(
        "{0} may be read or changed by others (its mode is {mode:04o}): chmod 600 {0}",
        path.display()
    )]
    Open {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is in systemd's folder of credentials, which is not closed.
    #[error(
        "{} is no credential of systemd, since others may enter its folder; name a file elsewhere in the settings",
        path.display()
    )]
    Folder {
        /// Its path.
        path: PathBuf,
    },
    /// It does not hold a token.
    #[error(
        "{} holds no token, which is {} to {} visible ASCII characters without spaces",
        path.display(), TOKEN_BYTES.start(), TOKEN_BYTES.end()
    )]
    NoToken {
        /// Its path.
        path: PathBuf,
    },
}

/// What a client sends to its server. It has no `Display`, and its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl SecretFile {
    /// A secret for this process's user. In systemd's folder of credentials, systemd's rule holds.
    pub fn for_this_process(path: &Path) -> SecretFile {
        let uid = nix::unistd::geteuid().as_raw();
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let is_credential = credentials
            .filter(|folder| !folder.is_empty())
            .is_some_and(|folder| path.parent() == Some(Path::new(&folder)));
        SecretFile {
            path: path.to_owned(),
            keeper: match is_credential {
                true => Keeper::Systemd { uid },
                false => Keeper::Owner { uid },
            },
        }
    }

    /// Reads the file whole, at most 64 KiB, if it is kept from others.
    pub fn read(&self) -> Result<Vec<u8>, SecretError> {
        let file = files::open(&self.path).map_err(self.unread())?;
        // The open file's, since another file could have its name by now.
        let metadata = file.metadata().map_err(self.unread())?;
        self.check(&metadata)?;
        files::read_open(file, MAX_SECRET).map_err(self.unread())
    }

    /// Reads a token. White space around it is no part of it.
    pub fn read_token(&self) -> Result<Token, SecretError> {
        let text = String::from_utf8(self.read()?).unwrap_or_default();
        Token::new(text.trim_ascii()).ok_or_else(|| SecretError::NoToken {
            path: self.path.clone(),
        })
    }

    fn check(&self, metadata: &Metadata) -> Result<(), SecretError> {
        let path = self.path.clone();
        let mode = metadata.mode() & 0o7777;
        let (uid, closed) = match self.keeper {
            Keeper::Owner { uid } => (uid, 0o077),
            Keeper::Systemd { uid } => {
                let folder = self.path.parent().map(fs::metadata);
                let closed = |it: &Metadata| [0, uid].contains(&it.uid()) && it.mode() & 0o027 == 0;
                if !matches!(&folder, Some(Ok(folder)) if closed(folder)) {
                    return Err(SecretError::Folder { path });
                }
                (uid, 0o037)
            }
        };
        let owner = metadata.uid();
        // A program that is about to become another user could not read root's file again.
        let stays = uid == nix::unistd::geteuid().as_raw();
        let is_roots = owner == 0 && (stays || closed != 0o077);
        if owner != uid && !is_roots && !(uid == 0 && stays && self.is_in_folder_of_root()) {
            return Err(SecretError::Owner { path, owner, uid });
        }
        match mode & closed {
            0 => Ok(()),
            _ => Err(SecretError::Open { path, mode }),
        }
    }

    /// Whether nobody but root can put another file in its place.
    fn is_in_folder_of_root(&self) -> bool {
        let folder = self.path.parent().map(fs::metadata);
        matches!(folder, Some(Ok(it)) if it.uid() == 0 && it.mode() & 0o022 == 0)
    }

    fn unread(&self) -> impl Fn(io::Error) -> SecretError {
        let path = self.path.clone();
        move |cause| SecretError::Read {
            path: path.clone(),
            cause,
        }
    }
}

impl Token {
    /// Takes 16 to 256 visible ASCII characters.
    pub fn new(text: &str) -> Option<Token> {
        is_token(text.as_bytes()).then(|| Token(text.to_owned()))
    }

    /// The value of `Authorization` (RFC 6750), marked as sensitive so that no log shows it.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// For the file that keeps it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether this can be a token.
pub fn is_token(text: &[u8]) -> bool {
    TOKEN_BYTES.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// A new file under another name, with the right mode from the start. It is removed unless it is put into its
/// place.
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Makes the empty file. Fails if the folder cannot be written.
    pub fn create(path: &Path, mode: u32) -> io::Result<NewFile> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        Ok(NewFile {
            file,
            temporary,
            path: path.to_owned(),
        })
    }

    /// Has it belong to `user`, if there is one.
    pub fn given_to(self, user: Option<&User>) -> io::Result<NewFile> {
        if let Some(user) = user {
            fchown(&self.file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(self)
    }

    /// Puts the file in its place, whole. Without `replaces` it fails if there is one.
    pub fn write(mut self, text: &str, replaces: bool) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        match replaces {
            true => fs::rename(&self.temporary, &self.path),
            // Unlike a rename, a link never replaces a file.
            false => fs::hard_link(&self.temporary, &self.path),
        }?;
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests;
