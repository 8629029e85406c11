//! One place for each thing: where agent and collector keep what they keep, by the true folder of their settings.

use std::path::{Path, PathBuf};

/// Settings below this folder are those of the host, not of one person.
pub const SYSTEM_FOLDER: &str = "/etc";

/// The default of the agent's `state_dir`: /var/lib/NAME for settings in /etc/NAME, else `var` beside their folder.
pub fn state_dir(folder: &Path) -> PathBuf {
    kept(folder, "")
}

/// The default of the folder that the collector's database is in: /var/lib/NAME-collector for settings in /etc/NAME,
/// since it may run as another user than the agent; else `var` beside their folder.
#[cfg(feature = "serve")]
pub fn reports_dir(folder: &Path) -> PathBuf {
    kept(folder, "-collector")
}

fn kept(folder: &Path, suffix: &str) -> PathBuf {
    let Ok(below) = folder.strip_prefix(SYSTEM_FOLDER) else {
        return folder.parent().unwrap_or(folder).join("var");
    };
    let below = match below.as_os_str().is_empty() {
        true => Path::new("mote"),
        false => below,
    };
    let mut path = Path::new("/var/lib").join(below).into_os_string();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_keep_below_var_lib() {
        for (folder, state) in [
            ("/etc/mote", "/var/lib/mote"),
            ("/etc/mote2", "/var/lib/mote2"),
            ("/etc/a/b", "/var/lib/a/b"),
            ("/etc", "/var/lib/mote"),
            ("/home/me/conf", "/home/me/var"),
            ("/etcetera/conf", "/etcetera/var"),
            ("/", "/var"),
        ] {
            assert_eq!(state_dir(Path::new(folder)), Path::new(state));
        }
    }

    #[cfg(feature = "serve")]
    #[test]
    fn a_collector_of_the_host_has_a_folder_of_its_own() {
        for (folder, reports) in [
            ("/etc/mote", "/var/lib/mote-collector"),
            ("/etc/a/b", "/var/lib/a/b-collector"),
            ("/etc", "/var/lib/mote-collector"),
            ("/home/me/conf", "/home/me/var"),
        ] {
            assert_eq!(reports_dir(Path::new(folder)), Path::new(reports));
        }
    }
}
