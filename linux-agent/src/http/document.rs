//! Answers that are documents.

use std::io::Read;

use ureq::Body;
use ureq::http::{HeaderMap, Response, Uri, header};

use crate::http::error::{CallError, CallFault};
use crate::http::words;
use crate::protocol::MAX_DOCUMENT;

/// A longer `ETag` is not used.
pub const MAX_TAG: usize = 256;

/// A document that the server named with an `ETag`.
pub struct Tagged {
    /// The name.
    pub tag: String,
    /// Its bytes.
    pub document: Vec<u8>,
}

impl Tagged {
    /// `None` without a name that can be sent back.
    pub fn of(headers: &HeaderMap, document: &[u8]) -> Option<Tagged> {
        let tag = headers.get(header::ETAG)?.to_str().ok()?;
        (1..=MAX_TAG).contains(&tag.len()).then(|| Tagged {
            tag: tag.to_owned(),
            document: document.to_owned(),
        })
    }
}

/// Reads a whole answer of at most [`MAX_DOCUMENT`] bytes that is not encoded.
pub fn read_document(url: &Uri, response: &mut Response<Body>) -> Result<Vec<u8>, CallError> {
    if let Some(encoding) = encoding(response.headers()) {
        return Err(CallFault::Encoded(encoding).of(url));
    }
    let mut document = Vec::new();
    let limit = MAX_DOCUMENT as u64 + 1;
    response
        .body_mut()
        .as_reader()
        .take(limit)
        .read_to_end(&mut document)
        .map_err(|error| CallFault::Unreachable(ureq::Error::from(error)).of(url))?;
    if document.len() > MAX_DOCUMENT {
        return Err(CallFault::TooLarge.of(url));
    }
    // Servers of the family call their JSON text/html, so only the text itself tells.
    if document.trim_ascii_start().starts_with(b"<") {
        let title = words::of(&document).map(|it| format!("it says \"{it}\""));
        return Err(CallFault::Page.of(url).because(title));
    }
    Ok(document)
}

/// The encoding of an answer, which nobody asked for.
pub fn encoding(headers: &HeaderMap) -> Option<String> {
    let given = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut given = given.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    given.find(|value| !value.trim().eq_ignore_ascii_case("identity"))
}
