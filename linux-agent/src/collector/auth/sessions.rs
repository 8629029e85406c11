//! Who has logged in. The browser has a token, and only its digest is kept, here and in the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{COOKIE, HeaderMap};

use crate::collector::digest::{self, Digest};
use crate::collector::settings::access::Access;
use crate::collector::store::sessions::{self, Session};
use crate::collector::store::{Store, Unavailable};

/// A session ends after this time, in seconds: 30 days.
pub const LIFE_S: i64 = 30 * 86_400;

/// One that the link of the start opens ends after this time, in seconds.
const LIFE_OF_LINK_S: i64 = 86_400;

/// A user has at most this many sessions; the oldest goes.
pub const MAX_PER_USER: usize = 32;

/// When the database does not take the end of sessions, that is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

const COOKIE_NAME: &str = "mote_session";

/// All sessions that are open.
pub struct Sessions {
    store: Store,
    open: Mutex<HashMap<Vec<u8>, Session>>,
}

/// Who a session is of.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionHolder {
    /// A user of the settings.
    User(String),
    /// Whoever had the link of the start.
    Link,
}

impl Sessions {
    /// Loads the sessions that were open before the start and are still valid.
    pub async fn start(store: Store, access: &Access, now_ms: i64) -> Sessions {
        let read = store.look_up(move |connection| sessions::read(connection, now_ms));
        // If the database cannot be read now, they log in again.
        let open = read.await.unwrap_or_default().into_iter();
        let open = open.map(|it| (it.digest.as_bytes().to_vec(), it)).collect();
        let sessions = Sessions {
            store,
            open: Mutex::new(open),
        };
        sessions.follow(access).await;
        sessions
    }

    /// Ends those of users who are gone or have another password: they stay over when the user comes back.
    pub async fn follow(&self, access: &Access) {
        let over: Vec<Digest> = {
            let mut open = self.locked();
            let over = open.extract_if(|_, it| it.holder(access).is_none());
            over.map(|(_, it)| it.digest).collect()
        };
        if over.is_empty() {
            return;
        }
        let (store, over) = (self.store.clone(), Arc::new(over));
        if remove(&store, &over).await.is_err() {
            log::error!(
                "the database does not take the end of sessions whose user is gone or has another password, which is tried \
                 again; until it does, a restart opens them again if that user comes back as before"
            );
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(RETRY_AFTER).await;
                    if remove(&store, &over).await.is_ok() {
                        log::info!("the database has taken the end of those sessions");
                        return;
                    }
                }
            });
        }
    }

    /// Opens one for `user`, or without one for whoever had the link of the start. Gives its token.
    pub async fn open(
        &self,
        user: Option<&str>,
        proof: Digest,
        now_ms: i64,
    ) -> Result<String, Unavailable> {
        let token = new_token().map_err(|_| Unavailable)?;
        let life_s = if user.is_some() {
            LIFE_S
        } else {
            LIFE_OF_LINK_S
        };
        let session = Session {
            digest: Digest::of(token.as_bytes()),
            user: user.map(str::to_owned),
            proof,
            expires_ms: now_ms + life_s * 1000,
        };
        let over = Arc::new(self.too_many(&session.user, now_ms));
        let (stored, gone) = (session.clone(), Arc::clone(&over));
        let change = self.store.change(move |connection| {
            for digest in gone.iter() {
                sessions::remove(connection, digest)?;
            }
            sessions::add(connection, &stored, now_ms)
        });
        change.await?;
        let mut open = self.locked();
        for digest in over.iter() {
            open.remove(digest.as_bytes());
        }
        open.insert(session.digest.as_bytes().to_vec(), session);
        Ok(token)
    }

    /// Whose session a request shows, if that is as good as when it was opened.
    pub fn holder(
        &self,
        headers: &HeaderMap,
        access: &Access,
        now_ms: i64,
    ) -> Option<SessionHolder> {
        let digest = Digest::of(presented(headers)?.as_bytes());
        let open = self.locked();
        let session = open.get(digest.as_bytes())?;
        if session.expires_ms <= now_ms {
            return None;
        }
        session.holder(access)
    }

    /// Ends the session that a request shows.
    pub async fn close(&self, headers: &HeaderMap) -> Result<(), Unavailable> {
        let Some(token) = presented(headers) else {
            return Ok(());
        };
        let digest = Digest::of(token.as_bytes());
        if !self.locked().contains_key(digest.as_bytes()) {
            return Ok(());
        }
        let stored = digest.clone();
        let change = move |connection: &rusqlite::Connection| sessions::remove(connection, &stored);
        // What is refused changes nothing: at the next start it would be open again.
        self.store.change(change).await?;
        self.locked().remove(digest.as_bytes());
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that are over. Gives those of `user` that a further one would be too many for.
    fn too_many(&self, user: &Option<String>, now_ms: i64) -> Vec<Digest> {
        let mut open = self.locked();
        open.retain(|_, it| it.expires_ms > now_ms);
        let own = open.values().filter(|it| it.user == *user);
        let mut own: Vec<(i64, Digest)> =
            own.map(|it| (it.expires_ms, it.digest.clone())).collect();
        own.sort_by_key(|(expires_ms, _)| *expires_ms);
        let over = (own.len() + 1).saturating_sub(MAX_PER_USER);
        own.into_iter()
            .take(over)
            .map(|(_, digest)| digest)
            .collect()
    }
}

async fn remove(store: &Store, over: &Arc<Vec<Digest>>) -> Result<(), Unavailable> {
    let over = Arc::clone(over);
    let change = move |connection: &rusqlite::Connection| {
        let mut over = over.iter();
        over.try_for_each(|digest| sessions::remove(connection, digest))
    };
    store.change(change).await
}

impl Session {
    /// Whose it is, if that is as good as when it was opened.
    fn holder(&self, access: &Access) -> Option<SessionHolder> {
        let Some(name) = &self.user else {
            // The link is for the time before there are users.
            return access.users.is_empty().then_some(SessionHolder::Link);
        };
        let hash = access.users.get(name)?.password.as_ref()?;
        let is_same = hash.digest().matches(&self.proof);
        is_same.then(|| SessionHolder::User(name.clone()))
    }
}

/// What makes a browser keep a session's token. Scripts never see it, and other sites cannot use it.
pub fn cookie(token: &str, is_secure: bool) -> String {
    with_attributes(
        &format!("{COOKIE_NAME}={token}; Max-Age={LIFE_S}"),
        is_secure,
    )
}

/// What makes a browser forget it.
pub fn no_cookie(is_secure: bool) -> String {
    with_attributes(&format!("{COOKIE_NAME}=; Max-Age=0"), is_secure)
}

fn with_attributes(cookie: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// Whether a request shows a session, be it a good one or not.
pub fn is_presented(headers: &HeaderMap) -> bool {
    presented(headers).is_some()
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token)
}

/// 256 random bits in hexadecimal.
pub fn new_token() -> std::io::Result<String> {
    let bytes = digest::random::<32>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::collector::password::PasswordHash;
    use crate::collector::settings::access::{Role, User};
    use crate::collector::store::settings::StoreSettings;

    #[test]
    fn a_user_has_so_many_sessions_for_so_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut access = Access::default();
        let password = PasswordHash::of("correct horse").unwrap();
        let proof = password.digest();
        for name in ["ada", "bob"] {
            let user = User {
                role: Role::Viewer,
                password: Some(password.clone()),
            };
            access.users.insert(name.to_owned(), user);
        }
        let is_open = |sessions: &Sessions, token: &str, now_ms| {
            let cookie = HeaderValue::from_str(&format!("{COOKIE_NAME}={token}")).unwrap();
            let headers = HeaderMap::from_iter([(COOKIE, cookie)]);
            sessions.holder(&headers, &access, now_ms).is_some()
        };
        let start = || {
            let (store, thread) = Store::open(&path, StoreSettings::default()).unwrap();
            (runtime.block_on(Sessions::start(store, &access, 0)), thread)
        };
        let (sessions, thread) = start();
        let open = |user, now_ms| {
            let session = sessions.open(Some(user), proof.clone(), now_ms);
            runtime.block_on(session).unwrap()
        };
        let of_bob = open("bob", 0);
        let tokens: Vec<String> = (0..=MAX_PER_USER as i64)
            .map(|ms| open("ada", ms))
            .collect();
        let check = |sessions: &Sessions| {
            assert!(!is_open(sessions, &tokens[0], 100));
            for token in tokens.iter().skip(1).chain([&of_bob]) {
                assert!(is_open(sessions, token, 100));
            }
            assert!(is_open(sessions, &of_bob, LIFE_S * 1000 - 1));
            assert!(!is_open(sessions, &of_bob, LIFE_S * 1000));
        };
        check(&sessions);
        drop(sessions);
        thread.join().unwrap();
        let (sessions, thread) = start();
        check(&sessions);
        drop(sessions);
        thread.join().unwrap();
    }
}
