//! The user that plugins run as, where it is another than the agent's.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{User, getgrouplist};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// The capabilities needed to become another user and to end its processes.
pub const CAPABILITIES: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);

/// A user that is neither root nor the agent's, with its groups as they were when it was looked up.
#[derive(Clone, Debug)]
pub struct PluginUser {
    /// As the settings have it.
    pub name: String,
    /// Never root's.
    pub uid: Uid,
    /// The user's own group.
    pub gid: Gid,
    /// All its groups.
    pub groups: Vec<Gid>,
}

/// Why plugins cannot run as a user.
#[derive(Debug, Error)]
pub enum PluginUserError {
    /// There is no such user.
    #[error("there is no user {0:?} on this host: create it or name another with `plugin_user`")]
    Unknown(String),
    /// The list of users, or that of groups, cannot be read.
    #[error("looking for the user {0:?} of plugins: {1}")]
    Lookup(String, io::Error),
    /// It is root, by whatever name.
    #[error("the user {0:?} is root: name one without rights with `plugin_user`")]
    Root(String),
    /// It is the agent's user, so nothing would be kept apart.
    #[error("the user {0:?} is the agent's own: name another with `plugin_user`")]
    Agents(String),
    /// This process cannot become it.
    #[error(
        "only root, with CAP_SETUID, CAP_SETGID and CAP_KILL, can run plugins as the user {0:?}: start the agent so, or without `plugin_user`"
    )]
    NotRoot(String),
}

impl PluginUserError {
    /// Whether the settings are wrong, no matter who starts the agent.
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self,
            PluginUserError::Unknown(_) | PluginUserError::Root(_) | PluginUserError::Agents(_)
        )
    }
}

impl PluginUser {
    /// Looks up the user `name`, if this process can run plugins as it. `agent` is the user that the agent is or
    /// becomes; none: it stays this process's user.
    pub fn find(name: &str, agent: Option<&str>) -> Result<Self, PluginUserError> {
        let lookup = |errno: Errno| PluginUserError::Lookup(name.to_owned(), errno.into());
        let user = User::from_name(name)
            .map_err(lookup)?
            .ok_or_else(|| PluginUserError::Unknown(name.to_owned()))?;
        if user.uid.is_root() {
            return Err(PluginUserError::Root(name.to_owned()));
        }
        // If the agent's user does not exist, another check says so.
        let agent = agent.map(User::from_name).transpose().map_err(lookup)?;
        let agent_uid = agent.map_or(Some(geteuid().as_raw()), |user| {
            user.map(|it| it.uid.as_raw())
        });
        if agent_uid == Some(user.uid.as_raw()) {
            return Err(PluginUserError::Agents(name.to_owned()));
        }
        let can = geteuid().is_root()
            && capabilities(None).is_ok_and(|held| held.effective.contains(CAPABILITIES));
        if !can {
            return Err(PluginUserError::NotRoot(name.to_owned()));
        }
        let text = CString::new(name).map_err(|_| PluginUserError::Unknown(name.to_owned()))?;
        let groups = getgrouplist(&text, user.gid).map_err(lookup)?;
        let group = |gid: nix::unistd::Gid| Gid::from_raw(gid.as_raw());
        Ok(PluginUser {
            name: name.to_owned(),
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: group(user.gid),
            groups: groups.into_iter().map(group).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, agent: Option<&str>) -> String {
        PluginUser::find(name, agent).unwrap_err().to_string()
    }

    #[test]
    fn who_keeps_nothing_apart_is_refused() {
        assert_eq!(
            refusal("no-such-user", None),
            "there is no user \"no-such-user\" on this host: create it or name another with `plugin_user`"
        );
        assert_eq!(
            refusal("root", Some("nobody")),
            "the user \"root\" is root: name one without rights with `plugin_user`"
        );
        assert_eq!(
            refusal("nobody", Some("nobody")),
            "the user \"nobody\" is the agent's own: name another with `plugin_user`"
        );
    }
}
