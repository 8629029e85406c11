//! Which plugins may run: those that the settings list, as files that only the right people can change.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which plugins may run, where they are, and how long one may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// The folder of the plugins that have no command of their own. It is also their working directory.
    pub folder: PathBuf,
    /// The names that may run, commands included.
    pub allowed: Vec<String>,
    /// Plugins with a place and arguments of their own.
    pub commands: Vec<PluginCommand>,
    /// How long a run may take before its group is sent SIGTERM.
    pub time_limit: Duration,
}

/// A plugin that the settings give a place and arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCommand {
    /// How the server names it.
    pub name: String,
    /// An absolute path. Its folder is the working directory.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it prints.
    pub format: Format,
}

/// What a plugin prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// A line for people and performance data, as checks of Nagios do.
    Nagios,
}

impl Plugins {
    /// What the name of a command stands for; `None` if it is an executable in the folder.
    pub fn command(&self, name: &str) -> Option<&PluginCommand> {
        self.commands.iter().find(|command| command.name == name)
    }

    /// The executable that `name` stands for, as an absolute path.
    pub fn find(&self, name: &str) -> Result<PathBuf, PluginError> {
        self.check_name(name)?;
        match self.command(name) {
            Some(command) => find_command(&command.path),
            None => self.find_in_folder(name),
        }
    }

    /// The folder of what `name` stands for, as the settings have it.
    pub fn place(&self, name: &str) -> &Path {
        match self.command(name) {
            Some(command) => command.path.parent().unwrap_or(&command.path),
            None => &self.folder,
        }
    }

    fn find_in_folder(&self, name: &str) -> Result<PathBuf, PluginError> {
        let folder = fs::canonicalize(&self.folder)
            .map_err(|cause| PluginError::read(&self.folder, cause))?;
        let path = folder.join(name);
        let folder_facts =
            fs::metadata(&folder).map_err(|cause| PluginError::read(&folder, cause))?;
        // A symbolic link is looked at, not followed.
        let facts = fs::symlink_metadata(&path).map_err(|cause| PluginError::read(&path, cause))?;
        if facts.is_symlink() {
            return Err(PluginError::Symlink(path));
        }
        if !facts.is_file() {
            return Err(PluginError::NotAFile(path));
        }
        if facts.permissions().mode() & 0o111 == 0 {
            return Err(PluginError::NotExecutable(path));
        }
        if Uid::effective().is_root() {
            check_folders_above(&folder)?;
            check_only_root_writes(&folder, &folder_facts)?;
            check_only_root_writes(&path, &facts)?;
        }
        Ok(path)
    }

    /// Whether `name` may run, wherever it is.
    pub fn check_name(&self, name: &str) -> Result<(), PluginError> {
        if !is_plugin_name(name) {
            return Err(PluginError::BadName(name.to_owned()));
        }
        if !self.allowed.iter().any(|allowed| allowed == name) {
            return Err(PluginError::NotListed(name.to_owned()));
        }
        Ok(())
    }
}

/// A command of the settings. Links on its way are followed: the operator chose them.
fn find_command(path: &Path) -> Result<PathBuf, PluginError> {
    let target = fs::canonicalize(path).map_err(|cause| PluginError::read(path, cause))?;
    let facts = fs::metadata(&target).map_err(|cause| PluginError::read(path, cause))?;
    if !facts.is_file() {
        return Err(PluginError::NotAFile(path.to_owned()));
    }
    if facts.permissions().mode() & 0o111 == 0 {
        return Err(PluginError::NotExecutable(path.to_owned()));
    }
    if Uid::effective().is_root() {
        // Nobody else may change the file, a folder of it, or where a link on the way leads.
        for way in [path, &target] {
            check_folders_above(way)?;
        }
        check_only_root_writes(&target, &facts)?;
    }
    Ok(path.to_owned())
}

/// What root executes by a path goes through all of its folders, so nobody else may be able to replace one.
fn check_folders_above(path: &Path) -> Result<(), PluginError> {
    for above in path.ancestors().skip(1) {
        let facts = fs::metadata(above).map_err(|cause| PluginError::read(above, cause))?;
        let is_sticky = facts.permissions().mode() & 0o1000 != 0;
        if !(is_sticky && facts.uid() == 0) {
            check_only_root_writes(above, &facts)?;
        }
    }
    Ok(())
}

/// Whether `name` can name a plugin: a plain file name of 1 to 255 bytes that is not hidden.
pub fn is_plugin_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains('/')
        && !name.contains(char::is_control)
}

/// Why a plugin does not run.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The name is no plain file name.
    #[error(
        "{0:?} cannot name a plugin: a plugin's name is a file name without `/` and without a leading dot"
    )]
    BadName(String),
    /// The settings do not list it.
    #[error("{0} is neither a probe of this agent nor listed in its setting `plugins`")]
    NotListed(String),
    /// The plugin or its folder cannot be looked at.
    #[error("{}: {cause}", path.display())]
    Read {
        /// Its own, or the folder's.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// A symbolic link: what it points to is not under the folder's protection.
    #[error("{} is a symbolic link: put the plugin itself into the folder", .0.display())]
    Symlink(PathBuf),
    /// A folder, a pipe or a device.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Nobody may execute it.
    #[error("{} is not executable: allow it with chmod a+x", .0.display())]
    NotExecutable(PathBuf),
    /// Root would run it, and somebody else could change it.
    #[error("{} can be changed by others than root, and what root runs must not be: correct it with chown root and chmod go-w", .0.display())]
    NotOnlyRoots(PathBuf),
    /// The system could not start it.
    #[error("{} could not be started: {cause}", path.display())]
    Start {
        /// Its own.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

impl PluginError {
    fn read(path: &Path, cause: io::Error) -> Self {
        PluginError::Read {
            path: path.to_owned(),
            cause,
        }
    }
}

/// The owner may write whatever the mode says, so the owner counts too.
fn check_only_root_writes(path: &Path, facts: &fs::Metadata) -> Result<(), PluginError> {
    if facts.uid() == 0 && facts.permissions().mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(PluginError::NotOnlyRoots(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    fn folder_with(name: &str, mode: u32) -> (tempfile::TempDir, Plugins) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let plugins = Plugins {
            folder: folder.path().to_owned(),
            allowed: vec![name.to_owned()],
            commands: vec![],
            time_limit: Duration::from_secs(10),
        };
        (folder, plugins)
    }

    fn refusal(plugins: &Plugins, name: &str) -> String {
        plugins.find(name).unwrap_err().to_string()
    }

    #[test]
    fn a_listed_executable_file_is_found() {
        let (folder, plugins) = folder_with("check", 0o755);
        let expected = folder.path().canonicalize().unwrap().join("check");
        assert_eq!(plugins.find("check").unwrap(), expected);
    }

    #[test]
    fn a_name_that_is_no_file_name_is_refused_even_if_listed() {
        let (_folder, mut plugins) = folder_with("check", 0o755);
        for name in [
            "", ".", "..", ".check", "../check", "/bin/sh", "a/b", "a\nb", "a\0b",
        ] {
            plugins.allowed = vec![name.to_owned()];
            assert!(
                refusal(&plugins, name).contains("cannot name a plugin"),
                "{name:?}"
            );
        }
        let long = "a".repeat(256);
        plugins.allowed = vec![long.clone()];
        assert!(refusal(&plugins, &long).contains("cannot name a plugin"));
    }

    #[test]
    fn a_plugin_that_is_not_listed_is_refused() {
        let (_folder, mut plugins) = folder_with("check", 0o755);
        plugins.allowed.clear();
        assert_eq!(
            refusal(&plugins, "check"),
            "check is neither a probe of this agent nor listed in its setting `plugins`"
        );
    }

    #[test]
    fn a_plugin_that_is_not_there_is_named_with_its_path() {
        let (folder, mut plugins) = folder_with("check", 0o755);
        plugins.allowed.push("other".to_owned());
        let path = folder.path().canonicalize().unwrap().join("other");
        let error = refusal(&plugins, "other");
        assert!(
            error.starts_with(&format!("{}: ", path.display())),
            "{error}"
        );

        plugins.folder = folder.path().join("none");
        let error = refusal(&plugins, "check");
        assert!(
            error.starts_with(&format!("{}: ", plugins.folder.display())),
            "{error}"
        );
    }

    #[test]
    fn a_command_is_found_where_the_settings_say() {
        let (folder, mut plugins) = folder_with("check", 0o755);
        let folder = folder.path().canonicalize().unwrap();
        symlink(folder.join("check"), folder.join("link")).unwrap();
        let mut find = |path: PathBuf| {
            plugins.allowed = vec!["disk".to_owned()];
            plugins.commands = vec![PluginCommand {
                name: "disk".to_owned(),
                path,
                arguments: vec![],
                format: Format::Nagios,
            }];
            plugins.find("disk").map_err(|error| error.to_string())
        };
        for name in ["check", "link"] {
            assert_eq!(find(folder.join(name)), Ok(folder.join(name)));
        }
        assert!(
            find(folder.clone())
                .unwrap_err()
                .ends_with(" is not a regular file")
        );
        let missing = find(folder.join("none")).unwrap_err();
        assert!(missing.contains("/none: No such file"), "{missing}");
        if Uid::effective().is_root() {
            // Whoever may change where the link leads chooses what root runs.
            let others = folder.join("others");
            fs::create_dir(&others).unwrap();
            symlink(folder.join("check"), others.join("link")).unwrap();
            fs::set_permissions(&others, fs::Permissions::from_mode(0o777)).unwrap();
            let error = find(others.join("link")).unwrap_err();
            assert!(
                error.contains("/others can be changed by others"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let (folder, mut plugins) = folder_with("check", 0o755);
        symlink("/bin/sh", folder.path().join("link")).unwrap();
        plugins.allowed.push("link".to_owned());
        assert!(
            refusal(&plugins, "link")
                .ends_with("/link is a symbolic link: put the plugin itself into the folder")
        );
    }

    #[test]
    fn only_regular_executable_files_run() {
        let (folder, mut plugins) = folder_with("check", 0o644);
        assert!(
            refusal(&plugins, "check")
                .ends_with("/check is not executable: allow it with chmod a+x")
        );
        fs::create_dir(folder.path().join("folder")).unwrap();
        plugins.allowed.push("folder".to_owned());
        assert!(refusal(&plugins, "folder").ends_with("/folder is not a regular file"));
    }

    #[test]
    fn root_runs_nothing_that_others_can_change() {
        if !Uid::effective().is_root() {
            eprintln!("SKIPPED root_runs_nothing_that_others_can_change: needs to run as root");
            return;
        }
        for mode in [0o775, 0o757] {
            let (_folder, plugins) = folder_with("check", mode);
            let error = refusal(&plugins, "check");
            assert!(
                error.contains("/check can be changed by others than root"),
                "{error}"
            );

            let (folder, plugins) = folder_with("check", 0o755);
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = refusal(&plugins, "check");
            let path = folder.path().canonicalize().unwrap();
            assert!(
                error.starts_with(&format!("{} can be changed", path.display())),
                "{error}"
            );
        }
        let (folder, plugins) = folder_with("check", 0o755);
        chown(folder.path().join("check"), Some(65534), None).unwrap();
        let error = refusal(&plugins, "check");
        assert!(error.contains("/check can be changed"), "{error}");

        // Whoever may change a folder above can replace this one.
        let (folder, mut plugins) = folder_with("check", 0o755);
        let above = folder.path().join("above");
        fs::create_dir_all(above.join("plugins")).unwrap();
        fs::rename(folder.path().join("check"), above.join("plugins/check")).unwrap();
        plugins.folder = above.join("plugins");
        fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&plugins.folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(plugins.find("check").is_ok());
        chown(&above, Some(65534), None).unwrap();
        let error = refusal(&plugins, "check");
        assert!(error.contains("/above can be changed"), "{error}");
    }
}
