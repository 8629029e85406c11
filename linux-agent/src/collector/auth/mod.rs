//! Who may ask and report, and who may read.
//!
//! A host's tokens are the one in the settings and those that it has enrolled. Their digests are kept in memory, so
//! that a report costs no query. Changes in files and in the database are noticed within [`RENEW_AFTER`].

pub(crate) mod attempts;
mod authorization;
pub(crate) mod known;
pub(crate) mod link;
pub(crate) mod sessions;
mod token_files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::Mutex;

use super::settings::host::{Host, TokenSource};
use super::store::Store;
use crate::client_name::ClientName;
use crate::system::secret::SecretError;
use authorization::Presented;
use known::{Caller, Denied, KnownTokens, MayRead};
use token_files::TokenFiles;

/// Tokens are looked up again after this time.
pub const RENEW_AFTER: Duration = Duration::from_secs(1);

/// Checks every request before the collector answers.
pub struct Guard {
    hosts: Arc<BTreeMap<ClientName, Host>>,
    require_tokens: bool,
    store: Store,
    cache: Mutex<Cache>,
}

struct Cache {
    renewed: Option<Instant>,
    files: TokenFiles,
    /// `None` until the enrolled tokens have been read once.
    known: Option<Arc<KnownTokens>>,
}

impl Guard {
    /// Reads the tokens that the settings name. Enrolled tokens are looked up in the `store`, by [`Guard::renew`]
    /// or with the first request.
    pub async fn new(
        hosts: Arc<BTreeMap<ClientName, Host>>,
        require_tokens: bool,
        read_token_file: Option<PathBuf>,
        store: Store,
    ) -> Result<Guard, SecretError> {
        let of_hosts = hosts.iter().filter_map(|(id, host)| match &host.token {
            Some(TokenSource::File(path)) => Some((Some(id.clone()), path.clone())),
            _ => None,
        });
        let named = of_hosts.chain(read_token_file.map(|path| (None, path)));
        let files = TokenFiles::read(named.collect()).await?;
        Ok(Guard {
            hosts,
            require_tokens,
            store,
            cache: Mutex::new(Cache {
                renewed: None,
                files,
                known: None,
            }),
        })
    }

    /// Who an agent's request comes from.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let known = self.known().await?;
        Caller::new(known, &Presented::by_agent(headers))
    }

    /// Whether a request has the token of readers. `false`: there is none.
    pub async fn admit_reader(&self, headers: &HeaderMap) -> Result<bool, Denied> {
        let known = self.known().await?;
        known.admit_reader(&Presented::by_reader(headers))
    }

    /// Looks everything up now.
    pub async fn renew(&self) {
        self.renew_cache(&mut *self.cache.lock().await).await;
    }

    /// Remarks for whoever starts the collector, a sentence each.
    pub async fn remarks(&self) -> Vec<String> {
        self.known()
            .await
            .map_or_else(|_| Vec::new(), |known| known.remarks())
    }

    /// Whether any token is in use.
    pub async fn has_tokens(&self) -> bool {
        let known = self.known().await;
        known.is_ok_and(|known| known.has_tokens())
    }

    async fn known(&self) -> Result<Arc<KnownTokens>, Denied> {
        // Requests that come during a look-up wait for its result, so that a revoked token is not accepted once
        // more.
        let mut cache = self.cache.lock().await;
        let is_fresh = |renewed: Instant| renewed.elapsed() < RENEW_AFTER;
        if cache.known.is_none() || !cache.renewed.is_some_and(is_fresh) {
            self.renew_cache(&mut cache).await;
        }
        cache.known.clone().ok_or(Denied::Unavailable)
    }

    async fn renew_cache(&self, cache: &mut Cache) {
        // If the client goes away, this ends at any await. The next request does it again.
        cache.files.renew().await;
        let enrolled = match (self.store.tokens().await, &cache.known) {
            (Ok(enrolled), _) => enrolled,
            (Err(_), None) => return,
            // The store has logged why. The known tokens stay.
            (Err(_), Some(known)) => known.enrolled().to_vec(),
        };
        let (mut given, mut reader) = (Vec::new(), MayRead::Nobody);
        for (holder, digest) in cache.files.digests() {
            match holder {
                Some(host) => given.push((host.clone(), digest.cloned())),
                None => reader = MayRead::Holder(digest.cloned()),
            }
        }
        let known = KnownTokens::new(&self.hosts, self.require_tokens, given, reader, enrolled);
        cache.known = Some(Arc::new(known));
        cache.renewed = Some(Instant::now());
    }
}
