//! Where settings come from: one of several files, and the environment.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::document::{CONFIG_VARIABLE, SCHEMA};
use super::error::SettingsError;
use super::rules::below;
use crate::system::places::SYSTEM_FOLDER;
use crate::toml_reader::{TomlError, Variable, read_text};

/// Where settings are looked for by default.
pub const DEFAULT_FILES: [&str; 2] = ["conf/agent.toml", "/etc/mote/agent.toml"];

/// The user that an agent of the host runs as.
pub const SYSTEM_USER: &str = "mote";

const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Says that tests may skip.
const TESTS_VARIABLE: &str = "MOTE_ALLOW_SKIP";

/// The file that is read. If there is none, the last of the usual ones.
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

/// The default of `plugin_dir` for settings in `folder`.
pub(super) fn plugin_dir(folder: &Path) -> PathBuf {
    match folder.starts_with(SYSTEM_FOLDER) {
        true => folder.join("plugins"),
        false => below(folder, "../plugins"),
    }
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
            _ if !SCHEMA.has_variable(name) && is_of_a_service(name, &value) => {}
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

/// Whether Kubernetes or a link of Docker has set this beside a service that is called `mote` or `mote-…`.
fn is_of_a_service(name: &str, value: &OsStr) -> bool {
    let value = value.to_str().unwrap_or_default();
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let parts: Vec<&str> = name.split('_').collect();
    // MOTE_PORT_9000_TCP, and with _ADDR, _PORT or _PROTO at its end.
    let is_port = parts.windows(3).any(|three| {
        matches!(three, ["PORT", number, "TCP" | "UDP" | "SCTP"]
            if !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.contains("_ENV_")
        || is_port
        || (name.ends_with("_PORT") && is_address)
        || (name.ends_with("_NAME") && value.starts_with('/'))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str, value: &str) -> usize {
        let sorted = sort_variables([(name.into(), value.into())]).unwrap();
        sorted.variables.len()
    }

    #[test]
    fn settings_of_the_host_have_their_plugins_beside_them() {
        for (folder, plugins) in [
            ("/etc/mote", "/etc/mote/plugins"),
            ("/etc/mote2", "/etc/mote2/plugins"),
            ("/etc/a/b", "/etc/a/b/plugins"),
            ("/etc", "/etc/plugins"),
            ("/home/me/conf", "/home/me/plugins"),
            ("/etcetera/conf", "/etcetera/plugins"),
        ] {
            assert_eq!(plugin_dir(Path::new(folder)), Path::new(plugins));
        }
    }

    #[test]
    fn what_is_set_beside_a_service_of_this_name_is_no_setting() {
        // As kubelet and `docker run --link` set them.
        for (name, value) in [
            ("MOTE_SERVICE_HOST", "10.0.0.5"),
            ("MOTE_SERVICE_PORT", "9000"),
            ("MOTE_SERVICE_PORT_HTTP", "9000"),
            ("MOTE_PORT", "tcp://10.0.0.5:9000"),
            ("MOTE_PORT_9000_TCP", "tcp://10.0.0.5:9000"),
            ("MOTE_PORT_9000_TCP_PROTO", "tcp"),
            ("MOTE_PORT_9000_TCP_PORT", "9000"),
            ("MOTE_PORT_9000_TCP_ADDR", "10.0.0.5"),
            ("MOTE_PORT_53_UDP", "udp://10.0.0.5:53"),
            ("MOTE_SERVER_SERVICE_HOST", "fd00::5"),
            ("MOTE_SERVER_PORT", "tcp://[fd00::5]:9000"),
            ("MOTE_NAME", "/agent/mote"),
            ("MOTE_ENV_PATH", "/bin"),
        ] {
            assert_eq!(variables(name, value), 0, "{name}");
        }
        // A setting that is misspelt is said all the same.
        for (name, value) in [
            ("MOTE_PORT", "9000"),
            ("MOTE_NAME", "web"),
            ("MOTE_SERVICE", "x"),
            ("MOTE_SERVICES", "{}"),
            ("MOTE_PORT_TCP", "9000"),
            ("MOTE_SERVER__URL", "tcp://h"),
        ] {
            assert_eq!(variables(name, value), 1, "{name}");
        }
    }
}
