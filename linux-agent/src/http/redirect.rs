//! Which redirects are followed: those that stay with the server that the settings name.

use ureq::http::Uri;

use crate::http::resolver::port;

/// After this many redirects the call fails.
pub const MAX_REDIRECTS: usize = 5;

/// Where `location` leads from `base`, if that has the same scheme, host and port.
pub(crate) fn same_origin(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let target = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else if location.is_empty() {
        return None;
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let target: Uri = target.parse().ok()?;
    (target.scheme_str() == Some(scheme)
        && target.authority()?.as_str().contains('@') == authority.contains('@')
        && target.host()?.eq_ignore_ascii_case(base.host()?)
        && port(&target) == port(base))
    .then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_the_origin() {
        let base: Uri = "http://Mon.example:8000/api/client/config/1"
            .parse()
            .unwrap();
        let follow = |location| same_origin(&base, location).map(|uri| uri.to_string());
        let slash = Some("http://Mon.example:8000/api/client/config/1/".to_owned());
        assert_eq!(follow("/api/client/config/1/"), slash);
        assert_eq!(follow("1/"), slash);
        assert_eq!(
            follow("http://Mon.example:8000/api/client/config/1/"),
            slash
        );
        assert!(follow("http://mon.example:8000/x").is_some());
        for elsewhere in [
            "http://mon.example/api",
            "https://mon.example:8000/api",
            "http://evil.example:8000/",
            "//evil.example:8000/",
            "http://mon.example:8000@evil.example/",
            "http://evil@mon.example:8000/",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(follow(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_default_port_equals_its_number() {
        for (base, location, is_same) in [
            ("http://a/x", "http://a:80/y", true),
            ("https://a/x", "https://a:443/y", true),
            ("https://a:443/x", "https://a/y", true),
            ("https://a/x", "https://a:80/y", false),
            ("https://a/x", "http://a:443/y", false),
            ("http://a/x", "http://a:443/y", false),
        ] {
            let base: Uri = base.parse().unwrap();
            assert_eq!(
                same_origin(&base, location).is_some(),
                is_same,
                "{location}"
            );
        }
    }
}
