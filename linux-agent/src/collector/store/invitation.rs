//! One-time codes and the tokens that they are exchanged for, as the database keeps them: as
//! digests.

use std::io;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use thiserror::Error;

use super::fleet;
use super::open::{self, OpenError};
use crate::client_name::ClientName;
use crate::collector::digest::{self, Digest};
use crate::collector::now::now_ms;
use crate::collector::settings::ServerSettings;

/// At most this many open codes and this many enrolled tokens of a host; the newest stay. More than one token, so
/// that an agent that missed an answer goes on with the token it has.
pub const MAX_PER_HOST: u32 = 4;

/// How long to wait for `mote serve`, which locks the database for a few milliseconds at a time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Crockford's base 32: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a code, 5 bits each.
const CODE_SYMBOLS: usize = 20;

const GROUP_SYMBOLS: usize = 5;

/// Why there is no code.
#[derive(Debug, Error)]
pub enum InviteError {
    /// No host of the settings has this name or id.
    #[error("there is no host {0:?} in the settings; add a table such as [hosts.web]")]
    NoHost(String),
    /// No group of the settings has this name.
    #[error("there is no group {0:?} in the settings; add a table such as [groups.servers]")]
    NoGroup(String),
    /// It is not said which group is meant.
    #[error("for which group? Give --group, or name one as `enroll_into` in the settings")]
    WhichGroup,
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system has no random numbers.
    #[error("{0}")]
    Random(io::Error),
}

/// A host that has enrolled, and the digest of one of its tokens.
pub type Enrolled = (ClientName, Option<Digest>);

/// What [`revoke`] took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Enrolled tokens.
    pub tokens: usize,
    /// Open codes.
    pub codes: usize,
}

/// Makes a code for `host`, the name of its table in the settings or its id. The code works once, and not after
/// `valid_for`. Only its digest is kept.
pub fn invite(
    settings: &ServerSettings,
    host: &str,
    valid_for: Duration,
) -> Result<String, InviteError> {
    let (code, digest) = new_code().map_err(InviteError::Random)?;
    let now_ms = now_ms();
    let expires_ms = expiry(now_ms, valid_for);
    let found = in_database(settings, |connection| {
        let Some(client) = find(settings, connection, host)? else {
            return Ok(false);
        };
        open_code(
            connection,
            &Invited::Host(client),
            &digest,
            now_ms,
            expires_ms,
        )?;
        Ok(true)
    })?;
    match found {
        true => Ok(code),
        false => Err(InviteError::NoHost(host.to_owned())),
    }
}

/// Makes a code with which `times` hosts that no file names enrol into a group, each by its own `client_id`; without a
/// name into the group that the settings give for that.
pub fn invite_fleet(
    settings: &ServerSettings,
    group: Option<&str>,
    times: u32,
    valid_for: Duration,
) -> Result<String, InviteError> {
    let group = group.or(settings.enroll_into.as_deref());
    let group = group.ok_or(InviteError::WhichGroup)?.to_owned();
    if !settings.groups.contains_key(&group) {
        return Err(InviteError::NoGroup(group));
    }
    let (code, digest) = new_code().map_err(InviteError::Random)?;
    let now_ms = now_ms();
    let expires_ms = expiry(now_ms, valid_for);
    in_database(settings, |connection| {
        let invited = Invited::Fleet { group, times };
        open_code(connection, &invited, &digest, now_ms, expires_ms)
    })?;
    Ok(code)
}

/// Whom a code is for.
pub enum Invited {
    /// A host that is known.
    Host(ClientName),
    /// Hosts that are not, and how many.
    Fleet { group: String, times: u32 },
}

/// When a code ends that is made now.
pub fn expiry(now_ms: i64, valid_for: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX))
}

/// Takes the enrolled tokens and open codes of `host` away. A token in the settings stays. A host that has enrolled
/// once is then refused until it has a token again; one that no file names is forgotten.
pub fn revoke(settings: &ServerSettings, host: &str) -> Result<Revoked, InviteError> {
    let revoked = in_database(settings, |connection| {
        let Some(id) = find(settings, connection, host)? else {
            return Ok(None);
        };
        let client = id.to_string();
        let delete = |sql| connection.execute(sql, [&client]);
        let revoked = Revoked {
            tokens: delete("DELETE FROM tokens WHERE client = ?1 AND digest IS NOT NULL")?,
            codes: delete("DELETE FROM invitations WHERE client = ?1")?,
        };
        if revoked.tokens > 0 {
            connection.execute("INSERT INTO tokens (client) VALUES (?1)", [&client])?;
        }
        fleet::remove(connection, &id)?;
        Ok(Some(revoked))
    })?;
    revoked.ok_or_else(|| InviteError::NoHost(host.to_owned()))
}

/// The digest of a code as a person may have typed it. `None` if it cannot be a code.
pub fn digest_of(code: &str) -> Option<Digest> {
    let mut symbols = Vec::with_capacity(CODE_SYMBOLS);
    for char in code.chars().filter(|char| !matches!(char, '-' | ' ')) {
        let symbol = match char.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let symbol = u8::try_from(symbol).ok()?;
        if symbols.len() == CODE_SYMBOLS || !ALPHABET.contains(&symbol) {
            return None;
        }
        symbols.push(symbol);
    }
    (symbols.len() == CODE_SYMBOLS).then(|| Digest::of(&symbols))
}

/// What a code was good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// This host has the token from now on.
    By(ClientName),
    /// The settings do not have the host that it is for. It stays open.
    NoHost(ClientName),
    /// The settings do not have the group that it is for. It stays open.
    NoGroup(String),
    /// It is for a group, and whoever uses it does not say who it is. It stays open.
    NoName,
    /// It is for a group, and there is a host of this name already. It stays open.
    Taken(ClientName),
    /// Nothing: it is unknown, used or expired.
    Nothing,
}

/// Uses a code up and keeps the token that its host has from now on, if the settings have the host or the group that it is
/// for. Else nothing is changed. `claimed`: who its user says to be, and `is_named` whether a
/// file has that host. Called in a transaction: of two requests with the
/// same code, the second finds it used.
pub fn redeem(
    connection: &Connection,
    (code, token): (&Digest, &Digest),
    claimed: Option<&ClientName>,
    now_ms: i64,
    is_host: impl Fn(&ClientName) -> bool,
    is_named: impl Fn(&ClientName) -> bool,
    is_group: impl Fn(&str) -> bool,
) -> rusqlite::Result<Redeemed> {
    let found = connection
        .query_row(
            "SELECT id, client, for_group, uses FROM invitations WHERE digest = ?1 AND expires_ms > ?2",
            params![code.as_bytes(), now_ms],
            |row| <(i64, String, Option<String>, i64)>::try_from(row),
        )
        .optional()?;
    let Some((id, client, group, uses)) = found else {
        return Ok(Redeemed::Nothing);
    };
    let host = match group {
        None => {
            let host = ClientName::from_text(&client);
            if !is_host(&host) {
                return Ok(Redeemed::NoHost(host));
            }
            host
        }
        Some(group) => {
            let Some(host) = claimed else {
                return Ok(Redeemed::NoName);
            };
            if !is_group(&group) {
                return Ok(Redeemed::NoGroup(group));
            }
            if is_named(host) || !fleet::add(connection, host, &group, now_ms)? {
                return Ok(Redeemed::Taken(host.clone()));
            }
            host.clone()
        }
    };
    let client = host.to_string();
    match uses {
        ..=1 => connection.execute("DELETE FROM invitations WHERE id = ?1", [id])?,
        _ => connection.execute("UPDATE invitations SET uses = uses - 1 WHERE id = ?1", [id])?,
    };
    connection.execute(
        "INSERT INTO tokens (client, digest) VALUES (?1, ?2)",
        params![client, token.as_bytes()],
    )?;
    connection.execute(
        "DELETE FROM tokens WHERE client = ?1 AND (digest IS NULL OR id NOT IN
            (SELECT id FROM tokens WHERE client = ?1 ORDER BY id DESC LIMIT ?2))",
        params![client, MAX_PER_HOST],
    )?;
    Ok(Redeemed::By(host))
}

/// All enrolled tokens, each with its host. A host whose tokens were taken away has `None`.
pub fn tokens(connection: &Connection) -> rusqlite::Result<Vec<Enrolled>> {
    let mut statement = connection.prepare("SELECT client, digest FROM tokens")?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let client: String = row.get(0)?;
        let digest: Option<Vec<u8>> = row.get(1)?;
        // An entry of another length was put there by hand, and is nobody's token.
        let digest = digest.and_then(|bytes| Digest::from_slice(&bytes));
        tokens.push((ClientName::from_text(&client), digest));
    }
    Ok(tokens)
}

/// The host with this name or id, be it of the settings or one that enrolled into a group.
fn find(
    settings: &ServerSettings,
    connection: &Connection,
    host: &str,
) -> rusqlite::Result<Option<ClientName>> {
    let labelled = settings.hosts.iter().find(|(_, it)| it.label == host);
    let id = ClientName::from_text(host);
    let found = labelled.or_else(|| settings.hosts.get_key_value(&id));
    match found {
        Some((id, _)) => Ok(Some(id.clone())),
        None => Ok(fleet::has(connection, &id)?.then_some(id)),
    }
}

/// Does `work` in one transaction.
fn in_database<T>(
    settings: &ServerSettings,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, InviteError> {
    let path = &settings.database;
    let connection = open::open(path, BUSY_TIMEOUT)?;
    let whole = || {
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    };
    whole().map_err(|cause| {
        let path = path.clone();
        InviteError::Open(OpenError::Sqlite { path, cause })
    })
}

/// Keeps a new code, by its digest. Those that have expired go, and of the same host or group the oldest.
pub fn open_code(
    connection: &Connection,
    invited: &Invited,
    code: &Digest,
    now_ms: i64,
    expires_ms: i64,
) -> rusqlite::Result<()> {
    let (client, group, uses) = match invited {
        Invited::Host(client) => (client.to_string(), None, 1),
        Invited::Fleet { group, times } => (String::new(), Some(group), *times),
    };
    connection.execute("DELETE FROM invitations WHERE expires_ms <= ?1", [now_ms])?;
    connection.execute(
        "INSERT INTO invitations (client, for_group, uses, digest, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![client, group, uses, code.as_bytes(), expires_ms],
    )?;
    connection.execute(
        "DELETE FROM invitations WHERE client = ?1 AND for_group IS ?2 AND id NOT IN
            (SELECT id FROM invitations WHERE client = ?1 AND for_group IS ?2 ORDER BY id DESC LIMIT ?3)",
        params![client, group, MAX_PER_HOST],
    )?;
    Ok(())
}

/// 100 random bits, in groups that a person can copy, and their digest.
pub fn new_code() -> io::Result<(String, Digest)> {
    let mut code = String::new();
    for (index, byte) in digest::random::<CODE_SYMBOLS>()?.into_iter().enumerate() {
        if index > 0 && index % GROUP_SYMBOLS == 0 {
            code.push('-');
        }
        let symbol = ALPHABET.get(usize::from(byte % 32)).copied();
        code.extend(symbol.map(char::from));
    }
    let digest = digest_of(&code).ok_or_else(|| io::Error::other("a code is no code"))?;
    Ok((code, digest))
}

#[cfg(test)]
mod tests;
