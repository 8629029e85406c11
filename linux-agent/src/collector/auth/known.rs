//! Which token is whose, and what its holder may do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::authorization::Presented;
use crate::client_name::ClientName;
use crate::collector::digest::Digest;
use crate::collector::settings::host::{Host, TokenSource};
use crate::collector::store::invitation::Enrolled;

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has no token, or an unknown one.
    Unauthorized,
    /// Its token is another client's.
    Forbidden,
    /// The database cannot tell now.
    Unavailable,
}

/// All tokens at one time.
pub struct KnownTokens {
    hosts: Arc<BTreeMap<ClientName, Host>>,
    require_tokens: bool,
    tokens: Vec<(ClientName, Digest)>,
    /// The enrolled tokens, from the store.
    enrolled: Vec<Enrolled>,
    /// The hosts that have or had a token, and the boards that they report for.
    guarded: BTreeSet<ClientName>,
    reader: MayRead,
}

/// Who may read reports.
pub enum MayRead {
    /// There is no such token.
    Nobody,
    /// Whoever has this token; nobody if it could not be read yet.
    Holder(Option<Digest>),
}

/// Who made a request, as far as its token says.
pub struct Caller {
    known: Arc<KnownTokens>,
    holder: Holder,
}

#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// No token is in use: everything is admitted.
    Anybody,
    /// The request has no token.
    Nobody,
    /// The hosts with this token. More than one only if they share it.
    Hosts(Vec<ClientName>),
}

impl Caller {
    /// Refuses a request without a token if tokens are required, or with an unknown one.
    pub fn new(known: Arc<KnownTokens>, presented: &Presented) -> Result<Caller, Denied> {
        let holder = known.holder(presented)?;
        Ok(Caller { known, holder })
    }

    /// Whether it may ask and report as `client`. A refusal does not show whether there is such a client.
    pub fn admit(&self, client: &ClientName) -> Result<(), Denied> {
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

impl KnownTokens {
    /// `given`: those of token files, as far as they could be read. Those of the settings themselves are with the
    /// `hosts`.
    pub fn new(
        hosts: &Arc<BTreeMap<ClientName, Host>>,
        require_tokens: bool,
        given: Vec<(ClientName, Option<Digest>)>,
        reader: MayRead,
        enrolled: Vec<Enrolled>,
    ) -> KnownTokens {
        let mut guarded: BTreeSet<ClientName> = given.iter().map(|(id, _)| id.clone()).collect();
        let mut tokens: Vec<(ClientName, Digest)> = given
            .into_iter()
            .filter_map(|(id, digest)| Some((id, digest?)))
            .collect();
        for (id, host) in &**hosts {
            if let Some(TokenSource::Sha256(digest)) = &host.token {
                tokens.push((id.clone(), digest.clone()));
            }
        }
        guarded.extend(tokens.iter().map(|(id, _)| id.clone()));
        for (id, digest) in &enrolled {
            // A host that has enrolled may be gone from the settings.
            if hosts.contains_key(id) {
                guarded.insert(id.clone());
                tokens.extend(digest.clone().map(|digest| (id.clone(), digest)));
            }
        }
        let boards: Vec<ClientName> = guarded
            .iter()
            .filter_map(|id| hosts.get(id))
            .flat_map(|host| host.reports_for.iter().cloned())
            .collect();
        guarded.extend(boards);
        KnownTokens {
            hosts: Arc::clone(hosts),
            require_tokens,
            tokens,
            enrolled,
            guarded,
            reader,
        }
    }

    /// Whether a request has the token of readers. `false`: there is none.
    pub fn admit_reader(&self, presented: &Presented) -> Result<bool, Denied> {
        match (&self.reader, presented) {
            (MayRead::Nobody, _) => Ok(false),
            (MayRead::Holder(Some(own)), Presented::Token(digest)) if digest.matches(own) => {
                Ok(true)
            }
            _ => Err(Denied::Unauthorized),
        }
    }

    /// Whether any token is in use, by hosts or by readers.
    pub fn has_tokens(&self) -> bool {
        self.is_in_use() || matches!(self.reader, MayRead::Holder(_))
    }

    /// What the store gave.
    pub fn enrolled(&self) -> &[Enrolled] {
        &self.enrolled
    }

    fn is_in_use(&self) -> bool {
        self.require_tokens || !self.guarded.is_empty()
    }

    fn reports_for(&self, host: &ClientName) -> &[ClientName] {
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
                // Every token is compared, so the time tells nothing. A thousand take some 30 µs.
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

    /// Remarks for whoever starts the collector, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.require_tokens {
            let open = |(id, _): &(&ClientName, &Host)| !self.guarded.contains(*id);
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
        let mut holders: BTreeMap<&[u8], &ClientName> = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Arc<BTreeMap<ClientName, Host>> {
        let host = |label: &str, id: u32, reports_for: Vec<ClientName>| {
            let host = Host {
                label: label.to_owned(),
                reports_for,
                ..Host::default()
            };
            (ClientName::Number(id), host)
        };
        Arc::new(BTreeMap::from([
            host("web", 1, vec![ClientName::Number(7)]),
            host("db", 2, vec![]),
            host("board", 7, vec![]),
            host("open", 9, vec![]),
        ]))
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    const REVOKED: &str = "";

    fn known(require_tokens: bool, tokens: &[(u32, &str)]) -> KnownTokens {
        let enrolled = tokens
            .iter()
            .map(|(id, token)| {
                (
                    ClientName::Number(*id),
                    (*token != REVOKED).then(|| digest(token)),
                )
            })
            .collect();
        KnownTokens::new(
            &hosts(),
            require_tokens,
            Vec::new(),
            MayRead::Nobody,
            enrolled,
        )
    }

    /// What becomes of a request as `client`.
    fn outcome(known: KnownTokens, presented: Presented, client: u32) -> Result<(), Denied> {
        Caller::new(Arc::new(known), &presented)?.admit(&ClientName::Number(client))
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
    fn a_token_that_could_not_be_read_yet_is_nobodys() {
        let given = vec![(ClientName::Number(1), None)];
        let known = || {
            KnownTokens::new(
                &hosts(),
                false,
                given.clone(),
                MayRead::Holder(None),
                vec![],
            )
        };
        let token = || Presented::Token(digest("a"));
        for client in [1, 7] {
            let who = Err(Denied::Unauthorized);
            assert_eq!(outcome(known(), Presented::Nothing, client), who);
            assert_eq!(outcome(known(), token(), client), who);
        }
        assert_eq!(outcome(known(), Presented::Nothing, 2), Ok(()));
        assert!(known().admit_reader(&token()).is_err());
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
