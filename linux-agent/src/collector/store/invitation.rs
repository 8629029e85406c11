//! One-time codes and the tokens that they are exchanged for, as the database keeps them: as
//! digests.

use std::io;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use thiserror::Error;

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

/// Characters of a code, Characters of a code, 5 bits each.
const CODE_SYMBOLS: usize = 20;

const GROUP_SYMBOLS: usize = 5;

/// Why there is no code.
#[derive(Debug, Error)]
pub enum InviteError {
    /// No host of the settings has this name or id.
    #[error("there is no host {0:?} in the settings; add a table such as [hosts.web]")]
    NoHost(String),
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
    let client = find(settings, host)?;
    let code = new_code().map_err(InviteError::Random)?;
    let digest = digest_of(&code).ok_or_else(|| InviteError::NoHost(host.to_owned()))?;
    let valid_for_ms = i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX);
    let now_ms = now_ms();
    in_database(settings, |connection| {
        open_code(
            connection,
            &client.to_string(),
            &digest,
            now_ms,
            now_ms.saturating_add(valid_for_ms),
        )
    })?;
    Ok(code)
}

/// Takes the enrolled tokens and open codes of `host` away. A token in the settings stays. A host that has enrolled
/// once is then refused until it has a token again.
pub fn revoke(settings: &ServerSettings, host: &str) -> Result<Revoked, InviteError> {
    let client = find(settings, host)?.to_string();
    in_database(settings, |connection| {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let delete = |sql| transaction.execute(sql, [&client]);
        let revoked = Revoked {
            tokens: delete("DELETE FROM tokens WHERE client = ?1 AND digest IS NOT NULL")?,
            codes: delete("DELETE FROM invitations WHERE client = ?1")?,
        };
        if revoked.tokens > 0 {
            transaction.execute("INSERT INTO tokens (client) VALUES (?1)", [&client])?;
        }
        transaction.commit()?;
        Ok(revoked)
    })
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
    /// Nothing: it is unknown, used or expired.
    Nothing,
}

/// Uses a code up and keeps the token that its host has from now on, if `is_host` knows it. Else nothing is changed.
pub fn redeem(
    connection: &Connection,
    code: &Digest,
    token: &Digest,
    now_ms: i64,
    is_host: impl Fn(&ClientName) -> bool,
) -> rusqlite::Result<Redeemed> {
    // An immediate transaction: of two requests with the same code, the second finds it used.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let client: Option<String> = transaction
        .query_row(
            "DELETE FROM invitations WHERE digest = ?1 AND expires_ms > ?2 RETURNING client",
            params![code.as_bytes(), now_ms],
            |row| row.get(0),
        )
        .optional()?;
    let Some(client) = client else {
        return Ok(Redeemed::Nothing);
    };
    let host = ClientName::from_text(&client);
    if !is_host(&host) {
        // Dropped, the transaction takes back what it has done.
        return Ok(Redeemed::NoHost(host));
    }
    transaction.execute(
        "INSERT INTO tokens (client, digest) VALUES (?1, ?2)",
        params![client, token.as_bytes()],
    )?;
    transaction.execute(
        "DELETE FROM tokens WHERE client = ?1 AND (digest IS NULL OR id NOT IN
            (SELECT id FROM tokens WHERE client = ?1 ORDER BY id DESC LIMIT ?2))",
        params![client, MAX_PER_HOST],
    )?;
    transaction.commit()?;
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

fn find(settings: &ServerSettings, host: &str) -> Result<ClientName, InviteError> {
    let labelled = settings.hosts.iter().find(|(_, it)| it.label == host);
    let id = ClientName::from_text(host);
    labelled
        .or_else(|| settings.hosts.get_key_value(&id))
        .map(|(id, _)| id.clone())
        .ok_or_else(|| InviteError::NoHost(host.to_owned()))
}

fn in_database<T>(
    settings: &ServerSettings,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, InviteError> {
    let path = &settings.database;
    let connection = open::open(path, BUSY_TIMEOUT)?;
    work(&connection).map_err(|cause| {
        let path = path.clone();
        InviteError::Open(OpenError::Sqlite { path, cause })
    })
}

fn open_code(
    connection: &Connection,
    client: &str,
    code: &Digest,
    now_ms: i64,
    expires_ms: i64,
) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM invitations WHERE expires_ms <= ?1", [now_ms])?;
    transaction.execute(
        "INSERT INTO invitations (client, digest, expires_ms) VALUES (?1, ?2, ?3)",
        params![client, code.as_bytes(), expires_ms],
    )?;
    transaction.execute(
        "DELETE FROM invitations WHERE client = ?1 AND id NOT IN
            (SELECT id FROM invitations WHERE client = ?1 ORDER BY id DESC LIMIT ?2)",
        params![client, MAX_PER_HOST],
    )?;
    transaction.commit()
}

/// 100 random bits, in groups that a person can copy.
fn new_code() -> io::Result<String> {
    let mut code = String::new();
    for (index, byte) in digest::random::<CODE_SYMBOLS>()?.into_iter().enumerate() {
        if index > 0 && index % GROUP_SYMBOLS == 0 {
            code.push('-');
        }
        let symbol = ALPHABET.get(usize::from(byte % 32)).copied();
        code.extend(symbol.map(char::from));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = open::open(&folder.path().join("reports.db"), BUSY_TIMEOUT).unwrap();
        (folder, connection)
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn a_code_has_100_bits_and_survives_a_persons_hand() {
        let code = new_code().unwrap();
        let groups: Vec<&str> = code.split('-').collect();
        assert!(
            groups.len() == 4 && groups.iter().all(|group| group.len() == 5),
            "{code}"
        );
        assert_ne!(code, new_code().unwrap());
        let kept = digest_of("0123456789ABCDEFGHJK").unwrap();
        for typed in [
            "01234-56789-ABCDE-FGHJK",
            "oi234 56789abcdefghjk",
            " OL23456789-abcdefghjK ",
        ] {
            assert!(digest_of(typed).unwrap().matches(&kept), "{typed}");
        }
        for wrong in [
            "",
            "0123456789ABCDEFGHJ",
            "0123456789ABCDEFGHJKM",
            "0123456789ABCDEFGHJU",
            "é",
        ] {
            assert!(digest_of(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_code_is_good_until_it_expires_and_once() {
        let (_folder, connection) = connection();
        let (code, token) = (digest("code"), digest("token"));
        let redeem = |now, is_host| redeem(&connection, &code, &token, now, |_| is_host).unwrap();
        open_code(&connection, "7", &code, 0, 1000).unwrap();
        assert_eq!(redeem(1000, true), Redeemed::Nothing);
        assert_eq!(redeem(999, false), Redeemed::NoHost(ClientName::Number(7)));
        assert_eq!(redeem(999, true), Redeemed::By(ClientName::Number(7)));
        assert_eq!(redeem(999, true), Redeemed::Nothing);
        let kept = tokens(&connection).unwrap();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].1.as_ref().unwrap().matches(&token));
    }

    #[test]
    fn codes_and_tokens_of_a_host_are_bounded_and_the_newest_stay() {
        let (_folder, connection) = connection();
        let count = |table: &str| -> u32 {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        open_code(&connection, "other", &digest("other"), 0, 10).unwrap();
        for n in 0..9 {
            open_code(&connection, "1", &digest(&n.to_string()), 0, 10).unwrap();
        }
        assert_eq!(count("invitations"), MAX_PER_HOST + 1);
        assert_eq!(
            redeem(&connection, &digest("4"), &digest("t"), 5, |_| true).unwrap(),
            Redeemed::Nothing
        );
        for n in 0..9 {
            let code = digest(&format!("again {n}"));
            open_code(&connection, "1", &code, 5, 10).unwrap();
            let token = digest(&format!("token {n}"));
            let redeemed = redeem(&connection, &code, &token, 5, |_| true).unwrap();
            assert_eq!(redeemed, Redeemed::By(ClientName::Number(1)));
        }
        let kept = tokens(&connection).unwrap();
        assert_eq!(kept.len(), 4);
        for (n, (_, token)) in (5..9).zip(kept) {
            let expected = digest(&format!("token {n}"));
            assert!(token.unwrap().matches(&expected), "{n}");
        }
        // Those that have expired go with the next.
        open_code(&connection, "2", &digest("late"), 10, 20).unwrap();
        assert_eq!(count("invitations"), 1);
    }
}
