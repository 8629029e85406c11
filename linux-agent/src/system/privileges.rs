//! What the agent runs as: root until its state folder is made, then its own user, with no way back.
//!
//! No probe needs root. What only root may read is left out of the reports: the machine's serial number, and mounts
//! below folders that the user may not enter. Serial ports are opened by the user's groups, such as `dialout`.
//! No probe needs a capability either, so none is kept.
//!
//! Everything here is done before the first thread is started: capabilities belong to threads, not to processes.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getresgid, getresuid, initgroups, setresgid, setresuid, setuid};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, chownat, fstat, openat};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_no_new_privs,
};

use super::sandbox::{self, close_on_exec};

/// How the names of the agent's own files in its state folder begin. Only these files change their owner.
const OWN_FILES: [&str; 4] = ["agent.", "services.", "queue", "dead"];

/// Its folders hold files, and no further folders.
const MAX_DEPTH: u32 = 1;

/// Why the agent cannot run as it should.
#[derive(Debug)]
pub enum PrivilegeError {
    /// There is no such user.
    UnknownUser(String),
    /// The list of users cannot be read.
    Users(String, io::Error),
    /// Another user is asked for, and only root can become one.
    NotRoot(String),
    /// The state folder, or a file in it, cannot be given to the user.
    StateFolder(PathBuf, io::Error),
    /// The state folder belongs to neither root nor the user.
    StrangeOwner(PathBuf, u32),
    /// The state folder holds something that is not the agent's: it would be given away with the folder.
    NotOnlyTheAgents(PathBuf, String),
    /// There are other threads, which would keep what the first one gives up.
    Threads(usize),
    /// A step towards the user failed.
    Step(&'static str, io::Error),
    /// Afterwards, root's rights were not gone.
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
        give(state_dir, &user)?;
        become_user(&user)?;
        verify(&user)?;
    }
    set_no_new_privs(true).map_err(step("giving up setuid programs"))?;
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
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("hiding its memory"))
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

/// Makes the state folder and gives it to `user`, with what an agent that was root has left there.
fn give(state_dir: &Path, user: &User) -> Result<(), PrivilegeError> {
    let failed = |cause| PrivilegeError::StateFolder(state_dir.to_owned(), cause);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder =
        openat(CWD, state_dir, flags, Mode::empty()).map_err(|cause| failed(cause.into()))?;
    let facts = fstat(&folder).map_err(|cause| failed(cause.into()))?;
    let is_new = match facts.st_uid {
        0 => true,
        uid if uid == user.uid.as_raw() => false,
        uid => return Err(PrivilegeError::StrangeOwner(state_dir.to_owned(), uid)),
    };
    // Check everything before changing anything.
    if is_new
        && let Some(name) = names(&folder)
            .map_err(failed)?
            .into_iter()
            .find(|it| !is_own(it))
    {
        return Err(PrivilegeError::NotOnlyTheAgents(state_dir.to_owned(), name));
    }
    give_files(&folder, user, MAX_DEPTH).map_err(failed)?;
    give_one(&folder, user).map_err(failed)
}

/// The folder may belong to the user already, so nothing in it is trusted: no link is followed, and no file with a
/// second hard link changes its owner.
fn give_files(folder: &OwnedFd, user: &User, depth: u32) -> io::Result<()> {
    for name in names(folder)? {
        let is_candidate = depth < MAX_DEPTH || is_own(&name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(file) = is_candidate
            .then(|| openat(folder, name.as_str(), flags, Mode::empty()).ok())
            .flatten()
        else {
            continue;
        };
        let facts: Stat = fstat(&file)?;
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Directory if depth > 0 => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = openat(folder, name.as_str(), flags, Mode::empty())?;
                give_files(&below, user, depth - 1)?;
                if fstat(&below)?.st_uid == 0 {
                    give_one(&below, user)?;
                }
            }
            FileType::RegularFile | FileType::Socket
                if facts.st_uid == 0 && facts.st_nlink == 1 =>
            {
                give_one(&file, user)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn give_one(file: &OwnedFd, user: &User) -> io::Result<()> {
    let owner = Some(rustix::fs::Uid::from_raw(user.uid.as_raw()));
    let group = Some(rustix::fs::Gid::from_raw(user.gid.as_raw()));
    Ok(chownat(
        file.as_fd(),
        "",
        owner,
        group,
        AtFlags::EMPTY_PATH,
    )?)
}

/// The names in a folder. A name that is not UTF-8 is none of the agent's, and is shown approximately.
fn names(folder: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_own(name: &str) -> bool {
    OWN_FILES.iter().any(|own| name.starts_with(own))
}

fn step(what: &'static str) -> impl Fn(rustix::io::Errno) -> PrivilegeError {
    move |errno| PrivilegeError::Step(what, errno.into())
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::UnknownUser(name) => write!(
                f,
                "there is no user {name:?} on this host: create it or name another with `user` or --user"
            ),
            PrivilegeError::Users(name, cause) => {
                write!(f, "looking for the user {name:?}: {cause}")
            }
            PrivilegeError::NotRoot(name) => write!(
                f,
                "only root can become the user {name:?}: start the agent as root or as that user"
            ),
            PrivilegeError::StateFolder(path, cause) => {
                write!(f, "giving {} to the user: {cause}", path.display())
            }
            PrivilegeError::StrangeOwner(path, uid) => write!(
                f,
                "{} belongs to the user with the id {uid}: name a `state_dir` that is the agent's own",
                path.display()
            ),
            PrivilegeError::NotOnlyTheAgents(path, name) => write!(
                f,
                "{} holds {name:?}, which is not the agent's: name a `state_dir` that is the agent's own",
                path.display()
            ),
            PrivilegeError::Threads(threads) => write!(
                f,
                "the user can only be changed before there are threads, and there are {threads}"
            ),
            PrivilegeError::Step(what, cause) => write!(f, "{what}: {cause}"),
            PrivilegeError::StillThere(what) => {
                write!(f, "after becoming the user, {what} could still be had")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn nobody() -> User {
        User::from_name("nobody").unwrap().unwrap()
    }

    /// Prints why and gives `true` where this is not root.
    fn skipped(test: &str) -> bool {
        if !Uid::effective().is_root() {
            // Past the capture of the test harness, which shows nothing of a test that passed.
            let line = format!("\nSKIPPED: {test}: it needs to run as root\n");
            let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
        }
        !Uid::effective().is_root()
    }

    fn owner(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

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

    #[test]
    fn only_what_is_the_agent_s_changes_its_owner() {
        if skipped("only_what_is_the_agent_s_changes_its_owner") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("new/state");
        give(&state, &nobody()).unwrap();
        assert_eq!(owner(&state), nobody().uid.as_raw());
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        assert_eq!(owner(state.parent().unwrap()), 0);

        // Meanwhile the user may have put something into the folder.
        let outside = folder.path().join("outside");
        fs::write(&outside, "").unwrap();
        fs::create_dir(state.join("queue")).unwrap();
        for name in ["agent.log", "queue/1", "other"] {
            fs::write(state.join(name), "").unwrap();
        }
        symlink(&outside, state.join("agent.lock")).unwrap();
        fs::hard_link(&outside, state.join("services.json")).unwrap();
        symlink(folder.path(), state.join("dead")).unwrap();
        give(&state, &nobody()).unwrap();
        for name in ["agent.log", "queue", "queue/1"] {
            assert_eq!(owner(&state.join(name)), nobody().uid.as_raw(), "{name}");
        }
        for path in [
            &outside,
            &state.join("other"),
            &state.join("dead"),
            folder.path(),
        ] {
            assert_eq!(owner(path), 0, "{path:?}");
        }
    }

    #[test]
    fn a_folder_of_others_is_not_given_away() {
        if skipped("a_folder_of_others_is_not_given_away") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agent.log"), "").unwrap();
        fs::write(folder.path().join("passwd"), "").unwrap();
        let error = give(folder.path(), &nobody()).unwrap_err().to_string();
        assert!(
            error.contains("holds \"passwd\", which is not the agent's"),
            "{error}"
        );
        for path in [folder.path(), &folder.path().join("agent.log")] {
            assert_eq!(owner(path), 0, "{path:?}");
        }
        fs::remove_file(folder.path().join("passwd")).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(1), None).unwrap();
        let error = give(folder.path(), &nobody()).unwrap_err().to_string();
        assert!(
            error.contains("belongs to the user with the id 1"),
            "{error}"
        );
    }
}
