//! Why a probe has no data.

use std::io;
use std::path::{Path, PathBuf};

use nix::libc;
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
    /// The probes of this process have as many files open as they may.
    #[error("the services of this agent have {max} files open already; order fewer of them")]
    TooManyOpen {
        /// How many that is.
        max: usize,
    },
    /// A file of the kernel does not say what it should.
    #[error("{path}: no valid {missing}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is missing.
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
    /// This procfs hides its first process, and with it all that belongs to the host.
    #[error(
        "{procfs}: process 1 is hidden (mount option hidepid), and what belongs to the host with it; \
         run the agent as root or in the group of the mount option gid, or mount it with hidepid=0",
        procfs = procfs.display()
    )]
    Hidden {
        /// The procfs.
        procfs: PathBuf,
    },
    /// A counter went backwards, or no time has passed since it was read: there is no rate, and no report without one.
    #[error(
        "nothing is known yet: a counter went backwards, or no time has passed since it was read"
    )]
    NothingKnown,
    /// The report does not fit its buffer.
    #[error(transparent)]
    TooLarge(#[from] mote_core::TooLarge),
}

impl ProbeError {
    /// The error of a first sample, which takes the baseline and knows of no rate yet.
    pub(crate) fn unless_nothing_known<T>(first: Result<T, ProbeError>) -> Result<(), ProbeError> {
        match first {
            Ok(_) | Err(ProbeError::NothingKnown) => Ok(()),
            Err(error) => Err(error),
        }
    }
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

    /// Whether any other file would fail too, so this one is not at fault.
    pub(crate) fn is_exhaustion(&self) -> bool {
        match self {
            ProbeError::TooManyOpen { .. } => true,
            ProbeError::Read { cause, .. } => {
                let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
                cause
                    .raw_os_error()
                    .is_some_and(|code| exhausted.contains(&code))
            }
            _ => false,
        }
    }

    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, ProbeError::Read { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// The text is not what the kernel documents. Names what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);
