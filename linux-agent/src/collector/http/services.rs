//! `GET /api/client/config/{id}`: the services of a host.

use std::fmt::Write as _;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use axum::response::{IntoResponse, Response};

use super::app::Shared;
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::digest::Digest;
use crate::collector::now::now_ms;
use crate::protocol::BATCH;

/// Of the digest of a document so many bytes make its tag.
const TAG_BYTES: usize = 16;

/// Answers with the services document, or 304 to who has it.
pub async fn services(
    State(app): Shared,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let rules = app.rules();
    let Path(id) = id.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let id = ClientName::from_text(&id);
    let caller = rules.guard.caller(&headers).await;
    caller
        .and_then(|caller| caller.admit(&id))
        .map_err(|denied| Refusal::from(denied).of(&id))?;
    let Some(host) = rules.hosts.get(&id) else {
        return Err(Refusal::unknown_client(&id));
    };
    app.watch.note_orders(&id, now_ms());
    // Nothing in it can fail to be written.
    let document = serde_json::to_vec(host).unwrap_or_default();
    let tag = tag_of(&document);
    let always = [
        (ETAG, tag.clone()),
        (
            HeaderName::from_static(BATCH),
            HeaderValue::from_static("1"),
        ),
    ];
    if has(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, always).into_response());
    }
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((always, json, document).into_response())
}

/// Names the bytes of a document.
fn tag_of(document: &[u8]) -> HeaderValue {
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
fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
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
            assert!(!has(&headers, &tag));
            headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            assert_eq!(has(&headers, &tag), is_there, "{value}");
        }
    }

    #[test]
    fn documents_that_differ_have_tags_that_differ() {
        let tag = tag_of(b"{}");
        // From the coreutils: printf '{}' | sha256sum
        assert_eq!(tag, "\"44136fa355b3678a1146ad16f7e8649e\"");
        assert_ne!(tag, tag_of(b"{ }"));
    }
}
