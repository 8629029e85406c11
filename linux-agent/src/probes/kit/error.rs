//! Why a probe has no data.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a probe has no data.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A file of the kernel could not be opened or read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file of the kernel does not say what it should.
    #[error("{path}: no valid {missing}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for and not found.
        missing: &'static str,
    },
    /// This kernel has no such file.
    #[error("{path}: needs {needs}", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What kernel has it.
        needs: &'static str,
    },
    /// The report does not fit its buffer.
    #[error(transparent)]
    TooLarge(#[from] mote_core::TooLarge),
}

impl ProbeError {
    pub(crate) fn read(path: &Path, cause: io::Error) -> Self {
        ProbeError::Read {
            path: path.to_owned(),
            cause,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, ProbeError::Read { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// The text is not what the kernel documents; names what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);
