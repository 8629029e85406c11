//! Why settings are not valid, in one sentence each.

use std::path::PathBuf;

use thiserror::Error;

use super::document::CONFIG_VARIABLE;
use crate::toml_reader::{Place, TomlError};

/// Why there are no valid settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// None of the usual files exists.
    #[error("there is no settings file: looked for {}; name one with --config or {CONFIG_VARIABLE}", listed(.0))]
    NotFound(Vec<PathBuf>),
    /// A file or a variable is not as it must be.
    #[error(transparent)]
    Toml(#[from] TomlError),
    /// A variable whose value is not text.
    #[error("the value of the environment variable {0} is not UTF-8")]
    NotUtf8(String),
    /// A key that has no default.
    #[error("{place}: `{key}` is missing; give it like `{example}`")]
    Missing {
        /// The file or the table that it is not in.
        place: Place,
        /// With its tables.
        key: &'static str,
        /// What to write.
        example: &'static str,
    },
    /// Neither `[server]` nor `services`.
    #[error("{}: there is neither a [server] nor `services`, so there is nothing to monitor; give one of them", .0.display())]
    NoOrders(PathBuf),
    /// Both `[server]` and `services`.
    #[error("{}: there are both a [server] and `services` ({services}); remove one of them", file.display())]
    TwoOrders {
        /// The settings file.
        file: PathBuf,
        /// Where `services` was given.
        services: Place,
    },
}

fn listed(files: &[PathBuf]) -> String {
    let files: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
    files.join(" and ")
}
