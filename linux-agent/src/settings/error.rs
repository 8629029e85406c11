//! Why settings are not valid, in one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{CONFIG_VARIABLE, Place};
use crate::http::access::AccessError;

/// Why there are no valid settings.
#[derive(Debug)]
pub enum SettingsError {
    /// None of the usual files exists.
    NotFound(Vec<PathBuf>),
    /// The file cannot be read.
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is not TOML.
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A key of the file that does not exist.
    UnknownKey {
        /// Where.
        place: Place,
        /// The key with its tables.
        key: String,
        /// The most similar key or table that exists, if one is near.
        nearest: Option<&'static str>,
    },
    /// A `MOTE_` variable that gives no key.
    UnknownVariable {
        /// Which.
        name: String,
        /// The most similar one that does, if one is near.
        nearest: Option<String>,
    },
    /// A variable whose value is not text.
    NotUtf8(String),
    /// A single value where there are more keys below.
    NotATable {
        /// Where.
        place: Place,
        /// The table.
        key: String,
    },
    /// A value that is not allowed.
    Invalid {
        /// Where.
        place: Place,
        /// Of which key.
        key: &'static str,
        /// What it must be.
        rule: String,
    },
    /// A key that has no default.
    Missing {
        /// The file that it is not in.
        file: PathBuf,
        /// Which.
        key: &'static str,
        /// An example.
        example: &'static str,
    },
    /// A secret or certificate that the settings name cannot be used.
    Access(AccessError),
    /// Neither `[server]` nor `services`.
    NoOrders(PathBuf),
    /// Both `[server]` and `services`.
    TwoOrders {
        /// The settings file.
        file: PathBuf,
        /// Where `services` was given.
        services: Place,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::NotFound(files) => {
                f.write_str("there is no settings file: looked for ")?;
                for (index, file) in files.iter().enumerate() {
                    let separator = if index == 0 { "" } else { " and " };
                    write!(f, "{separator}{}", file.display())?;
                }
                write!(f, "; name one with --config or {CONFIG_VARIABLE}")
            }
            SettingsError::Read { file, cause } => write!(f, "{}: {cause}", file.display()),
            SettingsError::Syntax { place, message } => {
                write!(f, "{place}: this is not TOML: {message}")
            }
            SettingsError::UnknownKey {
                place,
                key,
                nearest,
            } => {
                write!(f, "{place}: there is no setting `{key}`")?;
                match nearest {
                    Some(nearest) => write!(f, "; the nearest is `{nearest}`"),
                    None => Ok(()),
                }
            }
            SettingsError::UnknownVariable { name, nearest } => {
                write!(f, "the environment variable {name} names no setting")?;
                match nearest {
                    Some(nearest) => write!(f, "; the nearest is {nearest}"),
                    None => Ok(()),
                }
            }
            SettingsError::NotUtf8(name) => write!(
                f,
                "the value of the environment variable {name} is not UTF-8"
            ),
            SettingsError::NotATable { place, key } => {
                write!(f, "{place}: `{key}` must be a table")
            }
            SettingsError::Invalid { place, key, rule } => write!(f, "{place}: `{key}` {rule}"),
            SettingsError::Missing { file, key, example } => write!(
                f,
                "{}: `{key}` is missing; give it like `{example}`",
                file.display()
            ),
            SettingsError::Access(error) => error.fmt(f),
            SettingsError::NoOrders(file) => write!(
                f,
                "{}: there is neither a [server] nor `services`, so there is nothing to monitor; give one of them",
                file.display()
            ),
            SettingsError::TwoOrders { file, services } => write!(
                f,
                "{}: there are both a [server] and `services` ({services}); remove one of them",
                file.display()
            ),
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SettingsError::Read { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
