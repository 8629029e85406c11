//! Who may ask and report, and who may read.
//!
//! A host's tokens are the one that the settings name and those that it has enrolled. They are kept
//! here as digests, so that a report costs no query; what has changed in files and in the database is
//! noticed within [`RENEW_AFTER`].

mod authorization;
pub(crate) mod known;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::Mutex;

use super::digest::{self, Digest};
use super::settings::host::{Host, HostId, TokenSource};
use super::store::Store;
use crate::system::secret::SecretError;
use authorization::Presented;
use known::{Caller, Denied, Known};

/// For so long, what is known of tokens is not looked up again.
pub const RENEW_AFTER: Duration = Duration::from_secs(1);

/// Stands before all that the collector answers.
pub struct Guard {
    hosts: Arc<BTreeMap<HostId, Host>>,
    require_tokens: bool,
    store: Store,
    cache: Mutex<Cache>,
}

struct Cache {
    renewed: Option<Instant>,
    files: Arc<Vec<TokenFile>>,
    /// None until the enrolled tokens have been read once.
    known: Option<Arc<Known>>,
}

#[derive(Clone)]
struct TokenFile {
    /// None: whoever reads reports.
    host: Option<HostId>,
    path: PathBuf,
    digest: Digest,
    /// The last attempt to read it anew has failed, and that was logged.
    fails: bool,
}

impl Guard {
    /// Reads the tokens that the settings name. Those that hosts have enrolled are looked up in the
    /// `store`, by [`Guard::renew`] or with the first request.
    pub fn new(
        hosts: Arc<BTreeMap<HostId, Host>>,
        require_tokens: bool,
        read_token_file: Option<PathBuf>,
        store: Store,
    ) -> Result<Guard, SecretError> {
        let of_hosts = hosts.iter().filter_map(|(id, host)| match &host.token {
            Some(TokenSource::File(path)) => Some((Some(id.clone()), path.clone())),
            _ => None,
        });
        let files = of_hosts
            .chain(read_token_file.map(|path| (None, path)))
            .map(|(host, path)| {
                let digest = digest::read_token(&path)?;
                let fails = false;
                Ok(TokenFile {
                    host,
                    path,
                    digest,
                    fails,
                })
            })
            .collect::<Result<Vec<_>, SecretError>>()?;
        Ok(Guard {
            hosts,
            require_tokens,
            store,
            cache: Mutex::new(Cache {
                renewed: None,
                files: Arc::new(files),
                known: None,
            }),
        })
    }

    /// Who an agent's request comes from.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let known = self.known().await?;
        Caller::new(known, &Presented::by_agent(headers))
    }

    /// Whether a request may read reports.
    pub async fn admit_reader(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let known = self.known().await?;
        known.admit_reader(&Presented::by_reader(headers))
    }

    /// Looks everything up now.
    pub async fn renew(&self) {
        self.renew_cache(&mut *self.cache.lock().await).await;
    }

    /// What whoever starts the collector should know: a sentence each.
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

    async fn known(&self) -> Result<Arc<Known>, Denied> {
        // Whoever comes while somebody looks waits for what he finds: a token that was taken away is
        // not good once more.
        let mut cache = self.cache.lock().await;
        let is_fresh = |renewed: Instant| renewed.elapsed() < RENEW_AFTER;
        if cache.known.is_none() || !cache.renewed.is_some_and(is_fresh) {
            self.renew_cache(&mut cache).await;
        }
        cache.known.clone().ok_or(Denied::Unavailable)
    }

    async fn renew_cache(&self, cache: &mut Cache) {
        // A client that goes away ends this at any await; then the next one does it again.
        let files = Arc::clone(&cache.files);
        if !files.is_empty() {
            // A file system may take its time, and other connections should not.
            let read = tokio::task::spawn_blocking(move || read_anew(&files)).await;
            if let Ok(files) = read {
                cache.files = Arc::new(files);
            }
        }
        let enrolled = match (self.store.tokens().await, &cache.known) {
            (Ok(enrolled), _) => enrolled,
            (Err(_), None) => return,
            // The store has logged why. Those that were known stay.
            (Err(_), Some(known)) => known.enrolled().to_vec(),
        };
        let (mut given, mut reader) = (Vec::new(), None);
        for TokenFile { host, digest, .. } in &*cache.files {
            match host {
                Some(host) => given.push((host.clone(), digest.clone())),
                None => reader = Some(digest.clone()),
            }
        }
        let known = Known::new(&self.hosts, self.require_tokens, given, reader, enrolled);
        cache.known = Some(Arc::new(known));
        cache.renewed = Some(Instant::now());
    }
}

/// All files again. One that cannot be read keeps the token that it had: whoever writes it anew may
/// be in the middle of that.
fn read_anew(files: &[TokenFile]) -> Vec<TokenFile> {
    let anew = |file: &TokenFile| {
        let mut file = file.clone();
        match digest::read_token(&file.path) {
            Ok(digest) => {
                file.digest = digest;
                file.fails = false;
            }
            Err(error) => {
                if !file.fails {
                    log::warn!("{error}; the token that it held stays in force");
                }
                file.fails = true;
            }
        }
        file
    };
    files.iter().map(anew).collect()
}
