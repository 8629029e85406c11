//! Tags of documents: clients that name the one they have are not sent it again.

use std::fmt::Write as _;

use axum::http::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::digest::Digest;

/// Of the digest of a document so many bytes make its tag.
const TAG_BYTES: usize = 16;

/// Names the bytes of a document.
pub fn of(document: &[u8]) -> HeaderValue {
    let digest = Digest::of(document);
    let mut tag = String::from("\"");
    for byte in digest.as_bytes().iter().take(TAG_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has this document (RFC 9110, 13.1.2). A proxy that packs it on the way makes the tag a weak one.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let named = headers.get_all(IF_NONE_MATCH).iter();
    let mut named = named.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    named.any(|it| {
        let it = it.trim_ascii();
        it == b"*" || it.strip_prefix(b"W/").unwrap_or(it) == tag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_others_and_as_a_weak_one() {
        let tag = HeaderValue::from_static("\"ab\"");
        for (value, is_there) in [
            ("\"ab\"", true),
            ("W/\"ab\"", true),
            ("\"x\", \"ab\"", true),
            ("*", true),
            ("\"a\"", false),
            ("ab", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!is_known(&headers, &tag));
            headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            assert_eq!(is_known(&headers, &tag), is_there, "{value}");
        }
    }

    #[test]
    fn documents_that_differ_have_tags_that_differ() {
        let tag = of(b"{}");
        // From the coreutils: printf '{}' | sha256sum
        assert_eq!(tag, "\"44136fa355b3678a1146ad16f7e8649e\"");
        assert_ne!(tag, of(b"{ }"));
    }
}
