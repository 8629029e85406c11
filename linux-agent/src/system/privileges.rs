//! What the agent runs as: root until its state folder is made, then its own user, with no way back.
//!
//! No probe needs root. What only root may read is left out of the reports: the machine's serial number, and mounts
//! below folders that the user may not enter. Serial ports are opened by the user's groups, such as `dialout`.
//! No probe needs a capability either, so none is kept.
//!
//! Everything here is done before the first thread is started: capabilities belong to threads, not to processes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getresgid, getresuid, initgroups, setresgid, setresuid, setuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_no_new_privs,
};
use thiserror::Error;

use super::sandbox::{self, close_on_exec};
use super::state_folder::{self, StateFolderError};

/// Why the agent cannot run as it should.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user {0:?} on this host: create it or name another with `user` or --user")]
    UnknownUser(String),
    /// The list of users cannot be read.
    #[error("looking for the user {0:?}: {1}")]
    Users(String, io::Error),
    /// Another user is asked for, and only root can become one.
    #[error("only root can become the user {0:?}: start the agent as root or as that user")]
    NotRoot(String),
    /// The state folder is not the agent's.
    #[error(transparent)]
    StateFolder(#[from] StateFolderError),
    /// There are other threads, which would keep what the first one gives up.
    #[error("the user can only be changed before there are threads, and there are {0}")]
    Threads(usize),
    /// A step towards the user failed.
    #[error("{0}: {1}")]
    Step(&'static str, io::Error),
    /// Afterwards, root's rights were not gone.
    #[error("after becoming the user, {0} could still be had")]
    StillThere(&'static str),
}

/// Looks up the user `name`. `None`: this process runs as that user already.
pub fn user_to_become(name: &str) -> Result<Option<User>, PrivilegeError> {
    let user = User::from_name(name)
        .map_err(|errno| PrivilegeError::Users(name.to_owned(), errno.into()))?
        .ok_or_else(|| PrivilegeError::UnknownUser(name.to_owned()))?;
    match Uid::effective() {
        own if own == user.uid => Ok(None),
        own if own.is_root() => Ok(Some(user)),
        _ => Err(PrivilegeError::NotRoot(name.to_owned())),
    }
}

/// Becomes `user`, if there is one and this is root, after giving it `state_dir`. In any case, from now on this
/// process and what it starts gains no rights, not even from setuid programs. It passes on no descriptor, leaves no
/// core dump, and only root can see its memory.
pub fn settle(user: Option<&str>, state_dir: &Path) -> Result<(), PrivilegeError> {
    close_on_exec();
    if let Some(user) = user.map(user_to_become).transpose()?.flatten() {
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads != 1 {
            return Err(PrivilegeError::Threads(threads));
        }
        state_folder::give(state_dir, &user)?;
        become_user(&user)?;
        verify(&user)?;
    }
    set_no_new_privs(true).map_err(step("giving up setuid programs"))?;
    hide_memory()
}

/// This process leaves no core dump, and only root can see its memory.
pub fn hide_memory() -> Result<(), PrivilegeError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("hiding its memory"))
}

/// This process stays root, but drops every capability but `kept`, and every way to get one. It passes on no
/// descriptor, leaves no core dump, and only root can see its memory.
pub fn keep_only(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    close_on_exec();
    for capability in every_capability() {
        remove_capability_from_bounding_set(capability)
            .map_err(step("emptying the set of capabilities that can be had"))?;
    }
    set_no_new_privs(true).map_err(step("giving up setuid programs"))?;
    limit_capabilities(kept)?;
    hide_memory()
}

/// Whether this is root, although it need not be.
pub fn is_root_without_need(user: Option<&str>) -> bool {
    user.is_none() && Uid::effective().is_root()
}

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    // Now, while this process still has the right to.
    for capability in every_capability() {
        remove_capability_from_bounding_set(capability)
            .map_err(step("emptying the set of capabilities that can be had"))?;
    }
    let name = CString::new(user.name.as_str())
        .map_err(|_| PrivilegeError::UnknownUser(user.name.clone()))?;
    let nix_step = |what| move |errno: Errno| PrivilegeError::Step(what, errno.into());
    initgroups(&name, user.gid).map_err(nix_step("taking the user's groups"))?;
    setresgid(user.gid, user.gid, user.gid).map_err(nix_step("taking the user's group"))?;
    setresuid(user.uid, user.uid, user.uid).map_err(nix_step("becoming the user"))?;
    // The change of user drops most capabilities, unless whoever started this told the kernel to keep them.
    limit_capabilities(CapabilitySet::empty())
}

fn limit_capabilities(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    sandbox::limit_capabilities(kept).map_err(step("giving up capabilities"))
}

/// That the steps succeeded is not enough: try to go back.
fn verify(user: &User) -> Result<(), PrivilegeError> {
    let still = |what| Err(PrivilegeError::StillThere(what));
    let uids = getresuid().map_err(|errno| PrivilegeError::Step("asking", errno.into()))?;
    let gids = getresgid().map_err(|errno| PrivilegeError::Step("asking", errno.into()))?;
    if [uids.real, uids.effective, uids.saved] != [user.uid; 3]
        || (!user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok())
    {
        return still("root's user id");
    }
    let root = Gid::from_raw(0);
    if [gids.real, gids.effective, gids.saved] != [user.gid; 3]
        || (user.gid != root && setresgid(root, root, root).is_ok())
    {
        return still("root's group id");
    }
    let held = capabilities(None).map_err(step("asking for capabilities"))?;
    if !(held.effective | held.permitted | held.inheritable).is_empty()
        || every_capability().next().is_some()
    {
        return still("a capability");
    }
    Ok(())
}

/// All capabilities that this kernel knows.
fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
        .filter(|capability| capability_is_in_bounding_set(*capability) == Ok(true))
}

fn step(what: &'static str) -> impl Fn(rustix::io::Errno) -> PrivilegeError {
    move |errno| PrivilegeError::Step(what, errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = user_to_become("no-such-user").unwrap_err().to_string();
        assert!(
            error.starts_with("there is no user \"no-such-user\" on this host: "),
            "{error}"
        );
        let own = User::from_uid(Uid::effective()).unwrap().unwrap();
        assert!(user_to_become(&own.name).unwrap().is_none());
    }
}
