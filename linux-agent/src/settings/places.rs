//! Where settings come from: one of several files, and the environment.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{CONFIG_VARIABLE, SCHEMA};
use super::error::SettingsError;
use crate::toml_reader::{TomlError, Variable, read_text};

/// Where settings are looked for by default.
pub const DEFAULT_FILES: [&str; 2] = ["conf/agent.toml", "/etc/mote/agent.toml"];

const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Says that tests may skip.
const TESTS_VARIABLE: &str = "MOTE_ALLOW_SKIP";

/// The file that is read. If there is none: the last of the usual ones, which would be.
pub(super) fn file_to_load(explicit: Option<&Path>) -> PathBuf {
    let named = env::var_os(CONFIG_VARIABLE).filter(|it| !it.is_empty());
    let usual = || DEFAULT_FILES.map(Path::new);
    let found = || usual().into_iter().find(|it| it.exists());
    explicit
        .map(Path::to_owned)
        .or(named.map(PathBuf::from))
        .or_else(|| found().map(Path::to_owned))
        .unwrap_or_else(|| usual().last().copied().unwrap_or(Path::new("")).to_owned())
}

/// The environment variables that matter to the agent.
pub(super) struct Environment {
    /// `MOTE_CONFIG`
    pub file: Option<PathBuf>,
    /// systemd's folder of credentials.
    pub credentials: Option<PathBuf>,
    /// The other variables that begin with the prefix of settings.
    pub variables: Vec<Variable>,
}

pub(super) fn sort_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, SettingsError> {
    let mut sorted = Environment {
        file: None,
        credentials: None,
        variables: Vec::new(),
    };
    for (name, value) in environment {
        if name == CREDENTIALS_VARIABLE {
            sorted.credentials = Some(PathBuf::from(&value));
        }
        let is_ours = |name: &&str| name.starts_with(SCHEMA.variable_prefix);
        let Some(name) = name.to_str().filter(is_ours) else {
            continue;
        };
        match name {
            CONFIG_VARIABLE => {
                sorted.file = Some(PathBuf::from(value)).filter(|it| !it.as_os_str().is_empty());
            }
            TESTS_VARIABLE => {}
            _ => {
                let not_text = |_| SettingsError::NotUtf8(name.to_owned());
                sorted.variables.push(Variable {
                    name: name.to_owned(),
                    text: value.into_string().map_err(not_text)?,
                });
            }
        }
    }
    Ok(sorted)
}

/// The first of these files that exists, with its text.
pub(super) fn first_of<'f>(files: &[&'f Path]) -> Result<(&'f Path, String), SettingsError> {
    for file in files {
        match read_text(file) {
            Err(TomlError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            found => return Ok((*file, found?)),
        }
    }
    let absolute = |file: &&Path| std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    Err(SettingsError::NotFound(
        files.iter().map(absolute).collect(),
    ))
}
