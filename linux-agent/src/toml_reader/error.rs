//! Why a settings file is not taken, in one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::system::files;

/// Where something was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file, without a line.
    File(PathBuf),
    /// In a settings file.
    Line {
        /// Its path as the user gave it.
        file: PathBuf,
        /// Counts from 1.
        line: usize,
    },
    /// In the environment variable of this name.
    Variable(String),
}

/// Why a settings file is not taken.
#[derive(Debug, Error)]
pub enum TomlError {
    /// The file cannot be read.
    #[error("{}: {cause}{}", file.display(), files::hint(cause))]
    Read {
        /// Its path as the user gave it.
        file: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: this is not TOML: {message}")]
    Syntax {
        /// Its line.
        place: Place,
        /// The parser's message.
        message: String,
    },
    /// There is no such key.
    #[error("{place}: there is no setting `{key}`{}", or_nearest(nearest, "`"))]
    UnknownKey {
        /// Its line.
        place: Place,
        /// With its tables.
        key: String,
        /// The most similar key or table there is, if one is near.
        nearest: Option<String>,
    },
    /// A key of other programs of this kind.
    #[error("{place}: there is no setting `{key}`; here it is `{by}`, like `{example}`")]
    Replaced {
        /// Its line.
        place: Place,
        /// With its tables.
        key: String,
        /// The key that takes its place.
        by: &'static str,
        /// A line with that key.
        example: &'static str,
    },
    /// A variable that gives no key.
    #[error(
        "the environment variable {name} names no setting{}",
        or_nearest(nearest, "")
    )]
    UnknownVariable {
        /// Its name, without control characters.
        name: String,
        /// The most similar one, if one is near.
        nearest: Option<String>,
    },
    /// A single value where there are more keys below.
    #[error("{place}: `{key}` must be a table")]
    NotATable {
        /// Its line.
        place: Place,
        /// With its tables.
        key: String,
    },
    /// A value that is not allowed.
    #[error("{place}: `{key}` {rule}")]
    Invalid {
        /// Its line, or its variable.
        place: Place,
        /// With its tables.
        key: String,
        /// What it must be.
        rule: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => write!(f, "{}", file.display()),
            Place::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

fn or_nearest(name: &Option<String>, quote: &str) -> String {
    match name {
        Some(name) => format!("; the nearest is {quote}{name}{quote}"),
        None => String::new(),
    }
}
