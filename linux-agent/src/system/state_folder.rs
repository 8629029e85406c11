//! The folder that holds all of an agent: made, checked, and given to the user that the agent becomes.
//!
//! A folder that others may write, or that holds other things, is refused and left as it is.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, chownat, fstat, openat};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::{LOCK_FILE, open_own, read_open, write_whole};

/// How the names of the agent's own files in its state folder begin.
const OWN_FILES: [&str; 4] = ["agent.", "services.", "queue", "dead"];

/// A folder that mkfs.ext4 makes in each file system.
const OF_A_NEW_DISK: &str = "lost+found";

/// The collector may keep its reports beside the agent of its host.
const COLLECTORS_FILES: &str = "reports.db";

/// Says whose state the folder holds.
const TENANT_FILE: &str = "agent.tenant";

/// What is of no use to another client, and not another's to send.
const OF_A_CLIENT: [&str; 3] = [TENANT_FILE, "services.json", "queue"];

/// Of that file, this many bytes are read.
const MAX_TENANT: u64 = 16 << 10;

/// Its folders hold files, and no further folders.
const MAX_DEPTH: u32 = 1;

/// Why a folder cannot be an agent's.
#[derive(Debug, Error)]
pub enum StateFolderError {
    /// It cannot be made or looked at.
    #[error("{}: {cause}{}", path.display(), hint(cause))]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Others may put files there.
    #[error(
        "{} can be written by others (its mode is {mode:04o}): name a folder of the agent's own in `state_dir`{}",
        path.display(),
        if mode & 0o1000 == 0 { format!(", or correct it with chmod 700 {}", path.display()) } else { String::new() }
    )]
    Shared {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is another user's.
    #[error("{} belongs to user {owner}, and the agent runs as {}: name a folder of the agent's own in `state_dir`, {}", path.display(), user_of(*agent), mend(*agent, path))]
    StrangeOwner {
        /// Its path.
        path: PathBuf,
        /// The id of its owner.
        owner: u32,
        /// The id of the agent's user.
        agent: u32,
    },
    /// It is another agent's.
    #[error(
        "{} holds the state of client {client} with the settings {}: name another folder in `state_dir`, or, if that agent is no more, take the folder over with rm -rf {remove}",
        path.display(), settings.display()
    )]
    Taken {
        /// Its path.
        path: PathBuf,
        /// Whose state it holds.
        client: String,
        /// The settings of that client's agent.
        settings: PathBuf,
        /// What of it is not for the new client, as words of a shell.
        remove: String,
    },
    /// It is of the client that this agent was before.
    #[error(
        "{} holds the state of client {client}, and with {} the agent is client {new} now: to deliver what waits there, set client_id back to {client} until mote status says \"0 queued\"; then, or to give that up, call mote stop and rm -rf {}, and start it as client {new}",
        path.display(), settings.display(), of_a_client(path)
    )]
    OtherClient {
        /// Its path.
        path: PathBuf,
        /// Whose state it holds.
        client: String,
        /// The settings of this agent.
        settings: PathBuf,
        /// Who it is with them.
        new: String,
    },
    /// It holds something that is not the agent's.
    #[error("{} holds {name:?}, which is not the agent's: name a folder of the agent's own in `state_dir`", path.display())]
    NotOnlyTheAgents {
        /// Its path.
        path: PathBuf,
        /// What it holds.
        name: String,
    },
}

/// Makes the folder if it is missing, and checks it for an agent that runs as this process's user.
pub fn prepare(path: &Path) -> Result<(), StateFolderError> {
    let folder = opened(path)?;
    let facts = facts(path, &folder)?;
    let own = Uid::effective().as_raw();
    match (own, facts.st_uid) {
        // All of root's folders are root's own, such as /etc. One that had an agent is an agent's.
        (0, 0) if path.join(LOCK_FILE).exists() => Ok(()),
        (0, 0) => only_the_agents(path, &folder),
        // That user could have root write wherever it likes.
        (0, _) => Err(strange(path, &facts, own)),
        (_, owner) if owner == own => Ok(()),
        _ => only_the_agents(path, &folder),
    }
}

/// Whose state a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// How the server knows the client.
    pub client: String,
    /// The settings file of its agent.
    pub settings: PathBuf,
}

impl Tenant {
    /// That of these settings, whose file may be named from another folder at another time.
    pub fn new(client: String, settings: &Path) -> Tenant {
        let absolute = std::path::absolute(settings).unwrap_or_else(|_| settings.to_owned());
        // Not of the file itself, which may be a link that leads elsewhere tomorrow.
        let folder = absolute.parent().and_then(|it| fs::canonicalize(it).ok());
        let settings = match (folder, absolute.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => absolute,
        };
        Tenant { client, settings }
    }
}

/// Notes that the folder is `tenant`'s, unless it is another's. Called by the one who holds its lock.
pub fn claim(path: &Path, tenant: &Tenant) -> Result<(), StateFolderError> {
    if is_claimed(path, tenant)? {
        return Ok(());
    }
    let file = path.join(TENANT_FILE);
    let text = serde_json::to_vec(tenant).map_err(io::Error::from);
    let text = text.map_err(failed(path))?;
    // An agent starts on a full disk too.
    if let Err(error) = write_whole(&file, &text) {
        log::warn!("whose state this is could not be noted: {error}");
    }
    Ok(())
}

/// Whether it is noted that the folder is `tenant`'s. Fails if it is another's.
pub fn is_claimed(path: &Path, tenant: &Tenant) -> Result<bool, StateFolderError> {
    let noted = open_own(&path.join(TENANT_FILE), false)
        .and_then(|open| read_open(open, MAX_TENANT))
        .ok()
        .and_then(|text| serde_json::from_slice::<Tenant>(&text).ok());
    let Some(noted) = noted else { return Ok(false) };
    // Settings that are gone have no agent; they were moved, or made anew.
    let has_agent = noted.settings != tenant.settings && noted.settings.exists();
    match noted.client == tenant.client {
        _ if has_agent => Err(StateFolderError::Taken {
            path: path.to_owned(),
            remove: match noted.client == tenant.client {
                true => quoted(&path.join(TENANT_FILE)),
                false => of_a_client(path),
            },
            client: noted.client,
            settings: noted.settings,
        }),
        true => Ok(noted == *tenant),
        false => Err(StateFolderError::OtherClient {
            path: path.to_owned(),
            client: noted.client,
            settings: tenant.settings.clone(),
            new: tenant.client.clone(),
        }),
    }
}

/// Makes the folder if it is missing, and gives it to `user`, with what an agent that was root has left there.
pub fn give(path: &Path, user: &User) -> Result<(), StateFolderError> {
    let folder = opened(path)?;
    let facts = facts(path, &folder)?;
    match facts.st_uid {
        // Check everything before changing anything.
        0 => only_the_agents(path, &folder)?,
        uid if uid == user.uid.as_raw() => {}
        _ => return Err(strange(path, &facts, user.uid.as_raw())),
    }
    give_files(&folder, user, MAX_DEPTH)
        .and_then(|()| give_one(&folder, user))
        .map_err(failed(path))
}

/// The folder, which is made if it is missing.
fn opened(path: &Path) -> Result<OwnedFd, StateFolderError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed(path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|cause| failed(path)(cause.into()))
}

/// What it is, if nobody else may write it.
fn facts(path: &Path, folder: &OwnedFd) -> Result<Stat, StateFolderError> {
    let facts = fstat(folder).map_err(|cause| failed(path)(cause.into()))?;
    let mode = facts.st_mode & 0o7777;
    match mode & 0o1022 {
        0 => Ok(facts),
        _ => Err(StateFolderError::Shared {
            path: path.to_owned(),
            mode,
        }),
    }
}

fn strange(path: &Path, facts: &Stat, agent: u32) -> StateFolderError {
    StateFolderError::StrangeOwner {
        path: path.to_owned(),
        owner: facts.st_uid,
        agent,
    }
}

fn only_the_agents(path: &Path, folder: &OwnedFd) -> Result<(), StateFolderError> {
    let names = names(folder).map_err(failed(path))?;
    let is_known =
        |it: &String| is_own(it) || it.starts_with(COLLECTORS_FILES) || it == OF_A_NEW_DISK;
    match names.into_iter().find(|it| !is_known(it)) {
        None => Ok(()),
        Some(name) => Err(StateFolderError::NotOnlyTheAgents {
            path: path.to_owned(),
            name,
        }),
    }
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

fn failed(path: &Path) -> impl Fn(io::Error) -> StateFolderError {
    move |cause| StateFolderError::File {
        path: path.to_owned(),
        cause,
    }
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            ": make the folder for the agent's user, or name another in `state_dir`"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            ": name a folder in `state_dir`"
        }
        _ => "",
    }
}

fn of_a_client(folder: &Path) -> String {
    OF_A_CLIENT.map(|name| quoted(&folder.join(name))).join(" ")
}

/// The path as one word of a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |it: char| it.is_alphanumeric() || "/._-+,@%".contains(it);
    match path.chars().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

fn user_of(uid: u32) -> String {
    match uid {
        0 => "root".to_owned(),
        _ => format!("user {uid}"),
    }
}

fn mend(agent: u32, path: &Path) -> String {
    match agent {
        0 => format!(
            "start it with --user, or correct it with chown root {}",
            path.display()
        ),
        _ => format!("or correct it with chown {agent} {}", path.display()),
    }
}

#[cfg(test)]
mod tests;
