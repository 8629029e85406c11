use super::*;
use crate::collector::settings::access::AddressRange;

fn access(proxies: &[&str]) -> Access {
    let proxies = proxies.iter().map(|it| AddressRange::parse(it).unwrap());
    Access {
        trusted_proxies: proxies.collect(),
        host_names: vec!["Monitor.example".to_owned()],
        ..Access::default()
    }
}

fn request(method: &str, lines: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn only_named_proxies_say_who_the_client_is() {
    let trusting = access(&["127.0.0.1", "10.0.0.0/8"]);
    let way = |peer: &str, access: &Access, lines: &[(&str, &str)]| {
        let request = request("GET", lines);
        Way::of(request.headers(), address(peer), access, false)
    };
    let client = |peer: &str, access: &Access, value: &str| {
        way(peer, access, &[(FORWARDED_FOR, value)]).client
    };
    for (value, expected) in [
        ("203.0.113.7", "203.0.113.7"),
        // What the client itself wrote stands first.
        ("192.0.2.1, 203.0.113.7", "203.0.113.7"),
        ("192.0.2.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.9.9.9", "10.9.9.9"),
        ("nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.7, nonsense", "127.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let found = client("127.0.0.1", &trusting, value);
        assert_eq!(found, address(expected), "{value}");
    }
    assert_eq!(
        client("192.0.2.9", &trusting, "203.0.113.7"),
        address("192.0.2.9")
    );
    assert_eq!(
        client("127.0.0.1", &access(&[]), "203.0.113.7"),
        address("127.0.0.1")
    );
    let https = &[("x-forwarded-proto", "https")][..];
    assert!(way("127.0.0.1", &trusting, https).is_secure);
    assert!(!way("127.0.0.1", &access(&[]), https).is_secure);
    assert!(Way::of(&HeaderMap::new(), address("::1"), &access(&[]), true).is_secure);
}

#[test]
fn what_comes_through_a_proxy_is_not_local() {
    let is_local = |peer: &str, proxies: &[&str], lines: &[(&str, &str)]| {
        let request = request("GET", lines);
        Way::of(request.headers(), address(peer), &access(proxies), false).is_local
    };
    assert!(is_local("127.0.0.1", &[], &[]) && is_local("::1", &[], &[]));
    assert!(!is_local("192.0.2.1", &[], &[]));
    assert!(!is_local("127.0.0.1", &["127.0.0.1"], &[]));
    for name in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"] {
        assert!(
            !is_local("127.0.0.1", &[], &[(name, "127.0.0.1")]),
            "{name}"
        );
    }
}

/// Whether a request over loopback passes.
fn passes(method: &str, lines: &[(&str, &str)]) -> bool {
    let access = access(&[]);
    let request = request(method, lines);
    let way = Way::of(request.headers(), address("127.0.0.1"), &access, false);
    way.check(&request, &access).is_ok()
}

#[test]
fn other_names_are_none_of_this_machine() {
    for own in [
        "localhost",
        "LOCALHOST:9000",
        "a.localhost:1",
        "127.0.0.1:9000",
        "[::1]:9000",
        "192.0.2.1",
        "monitor.example:443",
        "localhost.",
        machine(),
    ] {
        assert!(passes("GET", &[("Host", own)]), "{own}");
    }
    for other in [
        "evil.example",
        "evil.example:9000",
        "localhost.evil.example",
        "x",
        "",
        "a@localhost@b",
    ] {
        assert!(!passes("GET", &[("Host", other)]), "{other}");
        let told = [("Host", other), ("Authorization", "Bearer x")];
        assert!(passes("GET", &told), "{other}");
    }
    // Before there was such a header.
    assert!(passes("GET", &[]));
}

#[test]
fn pages_of_other_sites_change_and_read_nothing() {
    let with = |name: &'static str, value: &'static str| [("Host", "localhost:9"), (name, value)];
    assert!(passes("POST", &[("Host", "localhost:9")]));
    for (origin, is_ours) in [
        ("http://localhost:9", true),
        ("https://LOCALHOST:9", true),
        ("http://localhost", false),
        ("http://evil.example", false),
        ("null", false),
        ("", false),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "GET"] {
            assert_eq!(
                passes(method, &with("Origin", origin)),
                is_ours,
                "{method} {origin}"
            );
        }
    }
    for (site, is_ours) in [
        ("same-origin", true),
        ("none", true),
        ("same-site", false),
        ("cross-site", false),
    ] {
        assert_eq!(
            passes("POST", &with("Sec-Fetch-Site", site)),
            is_ours,
            "{site}"
        );
        assert_eq!(
            passes("GET", &with("Sec-Fetch-Site", site)),
            is_ours,
            "{site}"
        );
        let link = [
            ("Host", "localhost"),
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", "navigate"),
        ];
        assert!(passes("GET", &link), "{site}");
        assert_eq!(passes("POST", &link), is_ours, "{site}");
    }
}
