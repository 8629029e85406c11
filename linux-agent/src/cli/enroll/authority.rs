//! The certificates to trust, for settings that are made: a copy beside them. Where `--ca-file` is, such as in root's
//! home, neither the agent's user nor the systemd unit may read it.

use std::fs;
use std::io;
use std::path::Path;

use super::unspent::{already_there, in_time};
use crate::cli::outcome::{Failed, exit, failed};
use crate::system::files::{FileError, read_bounded};
use crate::system::secret::NewFile;

/// What the copy is called.
const NAME: &str = "ca.pem";

/// No larger file is copied, in bytes. All authorities of a system take some 200 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// Where the settings find the certificates.
pub struct Authority {
    /// As the settings name it: beside them.
    pub name: String,
    /// If it is not there yet.
    copy: Option<(NewFile, String)>,
    replaces: bool,
}

impl Authority {
    /// Prepares a copy of the file `from` beside `settings`, unless it is there already.
    pub fn beside(settings: &Path, from: &Path, force: bool) -> Result<Authority, Failed> {
        let to = settings.with_file_name(NAME);
        let (its, there) = (from.to_owned(), to.clone());
        let read = in_time(from, move || {
            let is_beside = match (its.parent(), there.parent()) {
                (Some(one), Some(other)) => fs::canonicalize(one)? == fs::canonicalize(other)?,
                _ => false,
            };
            let text = read_bounded(&its, MAX_BYTES)?;
            let old = match read_bounded(&there, MAX_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                old => Some(old.ok() == Some(text.clone())),
            };
            Ok((is_beside, text, old))
        })?;
        let no_file = |path: &Path, error| failed(exit::FAILED, FileError::new(path, error));
        let (is_beside, text, old) = read.map_err(|error| no_file(from, error))?;
        if let Some(name) = from.file_name().filter(|_| is_beside) {
            return Ok(Authority::named(&name.to_string_lossy()));
        }
        match old {
            Some(true) => return Ok(Authority::named(NAME)),
            Some(false) if !force => return Err(already_there(&to)),
            _ => {}
        }
        let file = NewFile::create(&to, 0o644).map_err(|error| no_file(&to, error))?;
        // What stands between certificates may be in any encoding.
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Authority {
            copy: Some((file, text)),
            replaces: old.is_some(),
            ..Authority::named(NAME)
        })
    }

    fn named(name: &str) -> Authority {
        Authority {
            name: name.to_owned(),
            copy: None,
            replaces: false,
        }
    }

    /// Puts the copy in its place.
    pub fn write(self) -> io::Result<()> {
        match self.copy {
            Some((file, text)) => file.write(&text, self.replaces),
            None => Ok(()),
        }
    }
}

/// Whether two files have the same content.
pub fn are_alike(one: &Path, other: &Path) -> bool {
    let (its, others) = (one.to_owned(), other.to_owned());
    let read = in_time(one, move || {
        let both = [its, others].map(|path| read_bounded(&path, MAX_BYTES));
        matches!(both, [Ok(one), Ok(other)] if one == other)
    });
    read.unwrap_or(false)
}
