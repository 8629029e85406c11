//! How a request reached the collector: from where, through which proxy, from which page of a browser.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderName, ORIGIN, VIA};
use axum::http::uri::Authority;
use axum::http::{Method, Request, StatusCode};

use super::refusal::Refusal;
use crate::collector::auth::sessions;
use crate::collector::settings::access::Access;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Proxies say with one of these that they are one.
const OF_PROXIES: [HeaderName; 4] = [
    FORWARDED,
    VIA,
    HeaderName::from_static(FORWARDED_FOR),
    HeaderName::from_static("x-real-ip"),
];

/// At most this many addresses are looked at.
const MAX_HOPS: usize = 16;

/// The name of this machine. If it cannot be read, it has none.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
});

/// How a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Who sent it, as far as the connection or a trusted proxy tells.
    pub client: IpAddr,
    /// It comes from a program on this machine, and through no proxy that says so.
    pub is_local: bool,
    /// A trusted proxy handed it on.
    pub is_by_proxy: bool,
    /// The client's connection is encrypted.
    pub is_secure: bool,
    /// It came over the collector's own socket, which only its user and root may open.
    pub is_owner: bool,
}

impl Way {
    /// Of a request over a connection from `peer`.
    pub fn of(headers: &HeaderMap, peer: IpAddr, access: &Access, has_tls: bool) -> Way {
        let is_by_proxy = access.trusts(peer);
        let is_forwarded = OF_PROXIES.iter().any(|name| headers.contains_key(name));
        if !is_by_proxy {
            return Way {
                client: peer,
                is_local: peer.is_loopback() && !is_forwarded,
                is_by_proxy,
                is_secure: has_tls,
                is_owner: false,
            };
        }
        let is_https =
            one(headers, FORWARDED_PROTO).is_some_and(|it| it.eq_ignore_ascii_case("https"));
        let client = client(headers, access).unwrap_or(peer);
        Way {
            client,
            // Who is behind a proxy is elsewhere, even if it does not say where.
            is_local: false,
            is_by_proxy,
            is_secure: has_tls || is_https,
            is_owner: false,
        }
    }

    /// Of a request over the collector's own socket.
    pub fn of_owner() -> Way {
        Way {
            client: Ipv4Addr::LOCALHOST.into(),
            is_local: true,
            is_by_proxy: false,
            is_secure: true,
            is_owner: true,
        }
    }

    /// Refuses what pages of other sites make browsers send. Agents and other programs say nothing of pages.
    pub fn check<B>(&self, request: &Request<B>, access: &Access) -> Result<(), Refusal> {
        if self.is_owner {
            return Ok(());
        }
        let headers = request.headers();
        let host = self.host(headers);
        if is_of_another_site(request.method(), headers, host.as_deref()) {
            let sentence = "the request was made by a page of another site";
            return Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
        }
        // A name that anybody can give to this address: to a browser, their page is then one of this collector.
        let shows_who = headers.contains_key(AUTHORIZATION) || sessions::is_presented(headers);
        if self.client.is_loopback()
            && !self.is_by_proxy
            && !shows_who
            && let Some(host) = host
            && !is_own(&host, access)
        {
            let sentence = format!(
                "{host:?} is no name of this machine; use localhost or its address, or name it as one of `host_names` in \
                 the collector's settings"
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
        }
        Ok(())
    }

    /// The name and port that the client asked.
    fn host(&self, headers: &HeaderMap) -> Option<String> {
        let forwarded = one(headers, FORWARDED_HOST).filter(|_| self.is_by_proxy);
        let host = forwarded.or_else(|| one(headers, HOST.as_str()));
        host.map(str::to_ascii_lowercase)
    }
}

/// The last address in X-Forwarded-For that is not a trusted proxy. Those before it can be forged.
fn client(headers: &HeaderMap, access: &Access) -> Option<IpAddr> {
    let values = headers.get_all(FORWARDED_FOR).iter();
    let values: Vec<&str> = values.filter_map(|it| it.to_str().ok()).collect();
    let hops = values
        .iter()
        .rev()
        .flat_map(|it| it.rsplit(','))
        .take(MAX_HOPS);
    let mut last = None;
    for hop in hops {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        let address = address.to_canonical();
        last = Some(address);
        if !access.trusts(address) {
            break;
        }
    }
    last
}

fn is_of_another_site(method: &Method, headers: &HeaderMap, host: Option<&str>) -> bool {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    // Browsers send this where they can; it is right behind any proxy (Fetch Metadata Request Headers, W3C).
    match one(headers, "sec-fetch-site") {
        Some("same-origin" | "none") => false,
        // A link leads here from anywhere.
        Some(_) => changes || one(headers, "sec-fetch-mode") != Some("navigate"),
        None => {
            let Some(origin) = headers.get(ORIGIN) else {
                return false;
            };
            let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            let origin = origin.split_once("://").map(|(_, authority)| authority);
            origin.is_none() || origin != host
        }
    }
}

fn is_own(host: &str, access: &Access) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let names = access.host_names.iter().chain([&*MACHINE]);
    address.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || names.into_iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// The value of a header that stands there once.
pub fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The name by which others reach this machine, as far as it knows.
pub fn machine() -> &'static str {
    &MACHINE
}

#[cfg(test)]
mod tests;
