//! Who may ask and report, and who may read.
//!
//! A host's tokens are the one that the settings name and those that it has enrolled. They are kept
//! here as digests, so that a report costs no query; what has changed in files and in the database is
//! noticed within [`RENEW_AFTER`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::Mutex;

use super::authorization::Presented;
use super::host::{Host, HostId};
use super::invitation::Enrolled;
use super::log;
use super::secret::{self, Digest, SecretError};
use super::store::Store;

/// For so long, what is known of tokens is not looked up again.
pub const RENEW_AFTER: Duration = Duration::from_secs(1);

/// Where the settings have a host's token.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// In a file.
    File(PathBuf),
    /// Nowhere: they have its digest.
    Sha256(Digest),
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has no token, or none that anybody has.
    Unauthorized,
    /// Its token is another client's.
    Forbidden,
    /// Nobody can say now.
    Unavailable,
}

/// Stands before all that the collector answers.
pub struct Guard {
    hosts: Arc<BTreeMap<HostId, Host>>,
    require_tokens: bool,
    store: Store,
    cache: Mutex<Cache>,
}

/// Whoever made a request, as far as its token says.
pub struct Caller {
    known: Arc<Known>,
    holder: Holder,
}

#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// No token is in use: anybody may be anyone.
    Anybody,
    /// Has none.
    Nobody,
    /// The hosts that have its token; more than one only if they share it.
    Hosts(Vec<HostId>),
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

/// All tokens at one time.
struct Known {
    hosts: Arc<BTreeMap<HostId, Host>>,
    require_tokens: bool,
    tokens: Vec<(HostId, Digest)>,
    /// Those that the store gave.
    enrolled: Vec<Enrolled>,
    /// The hosts that have a token or had one, and the boards that these report for.
    guarded: BTreeSet<HostId>,
    reader: Option<Digest>,
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
                let digest = secret::read_token(&path)?;
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
        let holder = known.holder(&Presented::by_agent(headers))?;
        Ok(Caller { known, holder })
    }

    /// Whether a request may read reports.
    pub async fn admit_reader(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let known = self.known().await?;
        let Some(reader) = &known.reader else {
            return Ok(());
        };
        match Presented::by_reader(headers) {
            Presented::Token(digest) if digest.matches(reader) => Ok(()),
            _ => Err(Denied::Unauthorized),
        }
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
        known.is_ok_and(|known| known.is_in_use() || known.reader.is_some())
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
            (Err(_), Some(known)) => known.enrolled.clone(),
        };
        let known = Known::new(&self.hosts, self.require_tokens, &cache.files, enrolled);
        cache.known = Some(Arc::new(known));
        cache.renewed = Some(Instant::now());
    }
}

impl Caller {
    /// Whether it may ask and report as `client`. What is refused is refused alike whether or not
    /// there is such a client.
    pub fn admit(&self, client: &HostId) -> Result<(), Denied> {
        let known = &self.known;
        match &self.holder {
            Holder::Anybody => Ok(()),
            Holder::Nobody => {
                let is_open = known.hosts.contains_key(client) && !known.guarded.contains(client);
                is_open.then_some(()).ok_or(Denied::Unauthorized)
            }
            Holder::Hosts(hosts) => hosts
                .iter()
                .any(|host| host == client || known.reports_for(host).contains(client))
                .then_some(())
                .ok_or(Denied::Forbidden),
        }
    }
}

impl Known {
    fn new(
        hosts: &Arc<BTreeMap<HostId, Host>>,
        require_tokens: bool,
        files: &[TokenFile],
        enrolled: Vec<Enrolled>,
    ) -> Known {
        let mut tokens = Vec::new();
        let mut reader = None;
        for TokenFile { host, digest, .. } in files {
            match host {
                Some(host) => tokens.push((host.clone(), digest.clone())),
                None => reader = Some(digest.clone()),
            }
        }
        for (id, host) in &**hosts {
            if let Some(TokenSource::Sha256(digest)) = &host.token {
                tokens.push((id.clone(), digest.clone()));
            }
        }
        let mut guarded: BTreeSet<HostId> = tokens.iter().map(|(id, _)| id.clone()).collect();
        for (id, digest) in &enrolled {
            // The settings may have lost a host that has enrolled.
            if hosts.contains_key(id) {
                guarded.insert(id.clone());
                tokens.extend(digest.clone().map(|digest| (id.clone(), digest)));
            }
        }
        let boards: Vec<HostId> = guarded
            .iter()
            .filter_map(|id| hosts.get(id))
            .flat_map(|host| host.reports_for.iter().cloned())
            .collect();
        guarded.extend(boards);
        Known {
            hosts: Arc::clone(hosts),
            require_tokens,
            tokens,
            enrolled,
            guarded,
            reader,
        }
    }

    fn is_in_use(&self) -> bool {
        self.require_tokens || !self.guarded.is_empty()
    }

    fn reports_for(&self, host: &HostId) -> &[HostId] {
        self.hosts.get(host).map_or(&[], |host| &host.reports_for)
    }

    fn holder(&self, presented: &Presented) -> Result<Holder, Denied> {
        if !self.is_in_use() {
            return Ok(Holder::Anybody);
        }
        match presented {
            Presented::Nothing if self.require_tokens => Err(Denied::Unauthorized),
            Presented::Nothing => Ok(Holder::Nobody),
            Presented::Other => Err(Denied::Unauthorized),
            Presented::Token(digest) => {
                // Every token is compared, whichever it is: the time says nothing. A thousand of them
                // take some 30 µs.
                let mut hosts = Vec::new();
                for (host, token) in &self.tokens {
                    if token.matches(digest) {
                        hosts.push(host.clone());
                    }
                }
                match hosts.is_empty() {
                    true => Err(Denied::Unauthorized),
                    false => Ok(Holder::Hosts(hosts)),
                }
            }
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.require_tokens {
            let open = |(id, _): &(&HostId, &Host)| !self.guarded.contains(*id);
            let names: Vec<String> = self
                .hosts
                .iter()
                .filter(open)
                .map(|(_, host)| format!("`{}`", host.label))
                .collect();
            if !names.is_empty() {
                let names = names.join(", ");
                remarks.push(format!(
                    "require_tokens: these hosts have no token and are refused: {names}"
                ));
            }
        }
        let mut holders: BTreeMap<&[u8], &HostId> = BTreeMap::new();
        for (host, token) in &self.tokens {
            let other = holders.insert(token.as_bytes(), host);
            if let Some(other) = other.filter(|other| *other != host) {
                remarks.push(format!(
                    "the hosts {other} and {host} have the same token: each may report for the other"
                ));
            }
        }
        remarks
    }
}

/// All files again. One that cannot be read keeps the token that it had: whoever writes it anew may
/// be in the middle of that.
fn read_anew(files: &[TokenFile]) -> Vec<TokenFile> {
    let anew = |file: &TokenFile| {
        let mut file = file.clone();
        match secret::read_token(&file.path) {
            Ok(digest) => {
                file.digest = digest;
                file.fails = false;
            }
            Err(error) => {
                if !file.fails {
                    log(format_args!(
                        "{error}; the token that it held stays in force"
                    ));
                }
                file.fails = true;
            }
        }
        file
    };
    files.iter().map(anew).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Arc<BTreeMap<HostId, Host>> {
        let host = |label: &str, id: u32, reports_for: Vec<HostId>| {
            let host = Host {
                label: label.to_owned(),
                services: BTreeMap::new(),
                token: None,
                reports_for,
            };
            (HostId::Number(id), host)
        };
        Arc::new(BTreeMap::from([
            host("web", 1, vec![HostId::Number(7)]),
            host("db", 2, vec![]),
            host("board", 7, vec![]),
            host("open", 9, vec![]),
        ]))
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    const REVOKED: &str = "";

    fn known(require_tokens: bool, tokens: &[(u32, &str)]) -> Known {
        let enrolled = tokens
            .iter()
            .map(|(id, token)| {
                (
                    HostId::Number(*id),
                    (*token != REVOKED).then(|| digest(token)),
                )
            })
            .collect();
        Known::new(&hosts(), require_tokens, &[], enrolled)
    }

    /// What becomes of a request as `client`.
    fn outcome(known: Known, presented: Presented, client: u32) -> Result<(), Denied> {
        let holder = known.holder(&presented)?;
        let known = Arc::new(known);
        Caller { known, holder }.admit(&HostId::Number(client))
    }

    #[test]
    fn each_may_do_what_its_token_says() {
        const IN_USE: &[(u32, &str)] = &[(1, "a"), (1, "b"), (2, "c"), (404, "d")];
        const ALL: [u32; 5] = [1, 2, 7, 9, 404];
        let (ok, who, not_yours) = (Ok(()), Err(Denied::Unauthorized), Err(Denied::Forbidden));
        for (require, tokens, presented, expected) in [
            // In the order of ALL; 404 is not in the settings, and told so later.
            (false, &[][..], None, [ok, ok, ok, ok, ok]),
            (false, &[], Some("a"), [ok, ok, ok, ok, ok]),
            (false, IN_USE, None, [who, who, who, ok, who]),
            (false, IN_USE, Some("x"), [who; 5]),
            (
                false,
                IN_USE,
                Some("a"),
                [ok, not_yours, ok, not_yours, not_yours],
            ),
            (
                false,
                IN_USE,
                Some("b"),
                [ok, not_yours, ok, not_yours, not_yours],
            ),
            (
                false,
                IN_USE,
                Some("c"),
                [not_yours, ok, not_yours, not_yours, not_yours],
            ),
            (false, IN_USE, Some("d"), [who; 5]),
            (true, IN_USE, None, [who; 5]),
            (true, &[], None, [who; 5]),
            (true, &[], Some("a"), [who; 5]),
            // One that was taken away does not leave its host open.
            (false, &[(1, REVOKED)], None, [who, ok, who, ok, who]),
            (false, &[(1, REVOKED)], Some("a"), [who; 5]),
            // Two that share one.
            (
                false,
                &[(1, "a"), (2, "a")],
                Some("a"),
                [ok, ok, ok, not_yours, not_yours],
            ),
        ] {
            for (client, expected) in ALL.into_iter().zip(expected) {
                let presented =
                    presented.map_or(Presented::Nothing, |it| Presented::Token(digest(it)));
                let outcome = outcome(known(require, tokens), presented, client);
                assert_eq!(outcome, expected, "{require} {tokens:?} {client}");
            }
        }
        let other = outcome(known(false, IN_USE), Presented::Other, 9);
        assert_eq!(other, who);
    }

    #[test]
    fn who_starts_it_is_told_of_hosts_without_a_token_and_of_shared_ones() {
        assert_eq!(known(false, &[(1, "a")]).remarks(), [""; 0]);
        assert_eq!(
            known(true, &[(1, "a"), (2, "a")]).remarks(),
            [
                "require_tokens: these hosts have no token and are refused: `open`",
                "the hosts 1 and 2 have the same token: each may report for the other",
            ]
        );
    }
}
