//! Sessions of people who have logged in, as the database keeps them: by the digest of their token.

use rusqlite::{Connection, params};

use crate::collector::digest::Digest;

/// A session that somebody opened.
#[derive(Clone, Debug)]
pub struct Session {
    /// The digest of its token.
    pub digest: Digest,
    /// Who logged in. `None`: whoever had the link of the start.
    pub user: Option<String>,
    /// The digest of what let them in. If that is another today, the session is over.
    pub proof: Digest,
    pub expires_ms: i64,
}

/// All that are not over, the oldest first.
pub fn read(connection: &Connection, now_ms: i64) -> rusqlite::Result<Vec<Session>> {
    let mut statement = connection.prepare(
        "SELECT digest, user, proof, expires_ms FROM sessions WHERE expires_ms > ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([now_ms])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let digest: Vec<u8> = row.get(0)?;
        let proof: Vec<u8> = row.get(2)?;
        // An entry of another length was put there by hand, and opens nothing.
        let (Some(digest), Some(proof)) = (Digest::from_slice(&digest), Digest::from_slice(&proof))
        else {
            continue;
        };
        sessions.push(Session {
            digest,
            user: row.get(1)?,
            proof,
            expires_ms: row.get(3)?,
        });
    }
    Ok(sessions)
}

/// Adds one, and forgets those that are over.
pub fn add(connection: &Connection, session: &Session, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM sessions WHERE expires_ms <= ?1", [now_ms])?;
    connection.execute(
        "INSERT INTO sessions (digest, user, proof, expires_ms) VALUES (?1, ?2, ?3, ?4)",
        params![
            session.digest.as_bytes(),
            session.user,
            session.proof.as_bytes(),
            session.expires_ms
        ],
    )?;
    Ok(())
}

/// Takes one away.
pub fn remove(connection: &Connection, digest: &Digest) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM sessions WHERE digest = ?1",
        [digest.as_bytes()],
    )?;
    Ok(())
}
