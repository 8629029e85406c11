//! What a services document means on this host.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mote_core::{Config, ConfigError, Monitor};

use crate::probes::Probe;
use crate::protocol::{MAX_DOCUMENT, MAX_NAME, MAX_SERVICES};

use crate::system::files;

const LAST_DOCUMENT: &str = "services.json";

/// A services document, read and valid.
pub type Orders = Config<Plugin, MAX_SERVICES, MAX_NAME>;

/// Why a services document is not followed.
pub type OrdersError = Box<ConfigError<MAX_NAME>>;

/// The timetable of this host.
pub type HostMonitor = Monitor<Plugin, MAX_SERVICES, MAX_NAME>;

/// What the name of a plugin stands for on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// A probe of this agent, under the name that the server used.
    Probe(&'static Probe, Box<str>),
    /// An executable that the settings allow.
    Executable(Box<str>),
    /// This host has no such plugin.
    Unknown(Box<str>),
}

impl Plugin {
    /// The server's name for it.
    pub fn name(&self) -> &str {
        match self {
            Plugin::Probe(_, name) | Plugin::Executable(name) | Plugin::Unknown(name) => name,
        }
    }
}

/// Reads a services document; `allowed` are the executables that the settings list.
///
/// Boxed, and read in place: by value, each move would take 60 KiB of stack.
pub fn parse(document: &[u8], allowed: &[String]) -> Result<Box<Orders>, OrdersError> {
    let mut orders = Box::new(Orders::new());
    let resolve = |name: &str| match Probe::by_name(name) {
        Some(probe) => Plugin::Probe(probe, name.into()),
        None if allowed.iter().any(|it| it == name) => Plugin::Executable(name.into()),
        None => Plugin::Unknown(name.into()),
    };
    orders.read(document, resolve).map_err(Box::new)?;
    Ok(orders)
}

/// Where the last document that was followed is kept.
pub fn last_path(state_dir: &Path) -> PathBuf {
    state_dir.join(LAST_DOCUMENT)
}

/// The last document that was followed, if there is one.
pub fn load_last(state_dir: &Path) -> Option<Vec<u8>> {
    let path = last_path(state_dir);
    match files::read_bounded(&path, MAX_DOCUMENT as u64) {
        Ok(document) => Some(document),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            log::warn!("{} is not used: {error}", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_no_last_document() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_last(folder.path()), None);
        let path = last_path(folder.path());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(load_last(folder.path()), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(load_last(folder.path()).unwrap(), b"{}");
    }
}
