//! The settings of a command: where they are, what the command line puts over them, and what is checked before an agent
//! is started with them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::{ANSWER_TIME, Failed, exit, failed};
use crate::http::access;
use crate::plugin::{PluginUser, PluginUserError};
use crate::probes::Roots;
use crate::settings::{OrdersFrom, Settings};
use crate::system::attempt;
use crate::system::files::FileError;
use crate::system::lock::{self, DaemonError, Holder};
use crate::system::places;
use crate::system::privileges::{self, PrivilegeError};
use crate::system::state_folder::{self, StateFolderError, Tenant};

/// Where the settings are, and what the command line puts over them.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The settings file, if it is not one of the usual ones.
    pub file: Option<PathBuf>,
    /// In place of `/proc`.
    pub procfs: Option<PathBuf>,
    /// In place of `/sys`.
    pub sysfs: Option<PathBuf>,
    /// In place of `/`.
    pub rootfs: Option<PathBuf>,
    /// In place of the user in the settings.
    pub user: Option<String>,
}

impl Source {
    /// Reads the settings.
    pub fn settings(&self) -> Result<Settings, Failed> {
        let mut settings =
            Settings::load(self.file.as_deref()).map_err(|error| failed(exit::SETTINGS, error))?;
        settings.roots = self.roots(settings.roots);
        if self.user.is_some() {
            settings.user.clone_from(&self.user);
        }
        let become_user = settings.user.as_deref().map(privileges::user_to_become);
        if let (Some(Ok(Some(user))), OrdersFrom::Server(server)) =
            (become_user, &mut settings.orders_from)
        {
            server.set_agent_uid(user.uid.as_raw());
        }
        Ok(settings)
    }

    /// The same for a command that somebody waits for: it does not wait for a file system that hangs.
    pub fn settings_in_time(&self) -> Result<Settings, Failed> {
        let source = self.clone();
        attempt::within(ANSWER_TIME, move || source.settings())
            .unwrap_or_else(|| Err(self.settings_hang()))
    }

    /// Reads the settings of an agent that is to be started here, without another thread.
    pub fn settings_to_start(&self) -> Result<Settings, Failed> {
        if !attempt::returns_within(ANSWER_TIME, || drop(self.settings())) {
            return Err(self.settings_hang());
        }
        let settings = self.settings()?;
        if let Some(server) = settings.server() {
            access::check_to_start(server).map_err(|error| failed(exit::SETTINGS, error))?;
        }
        if let Some(user) = &settings.user {
            privileges::user_to_become(user).map_err(privilege_failure)?;
        }
        account(&settings)?;
        Ok(settings)
    }

    /// As [`Source::settings`], of an agent that runs: also reads the secrets and certificates.
    pub fn settings_with_access(&self) -> Result<Settings, Failed> {
        let settings = self.settings()?;
        if let Some(server) = settings.server() {
            access::check(server).map_err(|error| failed(exit::SETTINGS, error))?;
        }
        Ok(settings)
    }

    /// As [`Source::settings_in_time`], and checks the secrets and certificates.
    pub fn settings_to_ask(&self) -> Result<Settings, Failed> {
        let settings = self.settings_in_time()?;
        if let Some(server) = settings.server() {
            access::check_in_time(server).map_err(|error| failed(exit::SETTINGS, error))?;
        }
        Ok(settings)
    }

    fn settings_hang(&self) -> Failed {
        let file = Settings::file_to_load(self.file.as_deref());
        let sentence = format!("{} {HANGS}", file.display());
        failed(exit::SETTINGS, sentence)
    }

    /// The places of the kernel's files, given those in the settings.
    pub fn roots(&self, settings: Roots) -> Roots {
        let over = |ours: &Option<PathBuf>, theirs: PathBuf| ours.clone().unwrap_or(theirs);
        Roots {
            procfs: over(&self.procfs, settings.procfs),
            sysfs: over(&self.sysfs, settings.sysfs),
            rootfs: over(&self.rootfs, settings.rootfs),
        }
    }

    /// The same with paths that stay right in another folder.
    pub(super) fn absolute(&self, settings: &Settings) -> io::Result<Source> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        Ok(Source {
            file: Some(std::path::absolute(&settings.file)?),
            procfs: absolute(&self.procfs)?,
            sysfs: absolute(&self.sysfs)?,
            rootfs: absolute(&self.rootfs)?,
            user: self.user.clone(),
        })
    }

    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (flag, path) in [
            ("--config", &self.file),
            ("--procfs", &self.procfs),
            ("--sysfs", &self.sysfs),
            ("--rootfs", &self.rootfs),
        ] {
            if let Some(path) = path {
                arguments.push(flag.into());
                arguments.push(path.into());
            }
        }
        arguments
    }
}

/// What is on a file system that hangs.
const HANGS: &str = "is on a file system that does not answer";

/// Who is the agent of these settings. Fails if it is that of other settings, as [`is_own`] says, or if that cannot be
/// told in time.
pub(super) fn holder(settings: &Settings) -> Result<Holder, Failed> {
    let (folder, settings) = (settings.state_dir.clone(), settings.clone());
    attempt::within(ANSWER_TIME, move || holder_of(&settings)).unwrap_or_else(|| {
        let folder = folder.display();
        let sentence = format!("{folder} {HANGS}, so its agent cannot be told or asked");
        Err(failed(exit::FAILED, sentence))
    })
}

fn holder_of(settings: &Settings) -> Result<Holder, Failed> {
    is_own(settings)?;
    let no_folder = |error: &DaemonError| matches!(error, DaemonError::File(FileError { cause, .. }) if cause.kind() == io::ErrorKind::NotFound);
    match lock::holder(Path::new(&settings.state_dir)) {
        Err(error) if !no_folder(&error) => Err(failed(exit::FAILED, error)),
        Err(_) => Ok(Holder::None),
        Ok(holder) => Ok(holder),
    }
}

/// Fails if the state folder is the default one and belongs to the agent of other settings. Whoever names a folder
/// means the agent that is there, also one whose own settings do not answer.
fn is_own(settings: &Settings) -> Result<(), Failed> {
    let folder = settings.file.parent().unwrap_or(Path::new("."));
    if settings.state_dir != places::state_dir(folder) {
        return Ok(());
    }
    let tenant = Tenant::new(settings.client_id.to_string(), &settings.file);
    match state_folder::is_claimed(&settings.state_dir, &tenant) {
        Err(error @ StateFolderError::Taken { .. }) => Err(failed(exit::FAILED, error)),
        // Whoever is another client now has to stop the one that it was.
        _ => Ok(()),
    }
}

pub(super) fn privilege_failure(error: PrivilegeError) -> Failed {
    match error {
        PrivilegeError::UnknownUser(_) => failed(exit::SETTINGS, error),
        _ => failed(exit::FAILED, error),
    }
}

/// The user of the plugins, if it is another than the agent's.
pub(super) fn account(settings: &Settings) -> Result<Option<PluginUser>, Failed> {
    let find = |name: &String| PluginUser::find(name, settings.user.as_deref());
    let account = settings.plugin_user.as_ref().map(find).transpose();
    account.map_err(account_failure)
}

pub(super) fn account_failure(error: PluginUserError) -> Failed {
    match error.is_of_settings() {
        true => failed(exit::SETTINGS, error),
        false => failed(exit::FAILED, error),
    }
}
