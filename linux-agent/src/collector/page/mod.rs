//! The page that browsers get: files that are part of the program. What they show, they ask the API for.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::tag;

/// Scripts and styles from here alone, and no word to anybody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// The document itself, which is served at `/`.
const DOCUMENT: &str = "index.html";

/// A file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($kind:ident $name:literal $path:literal,)*) => {
        [$(File { name: $name, kind: $kind, bytes: include_bytes!(concat!("assets/", $path)) }),*]
    };
}

static FILES: [File; 25] = files! {
    HTML "index.html" "index.html",
    PICTURE "icon.svg" "icon.svg",
    STYLE "style.css" "style.css",
    SCRIPT "main.js" "main.js",
    SCRIPT "add.js" "add.js",
    SCRIPT "api.js" "api.js",
    SCRIPT "session.js" "session.js",
    SCRIPT "live.js" "live.js",
    SCRIPT "dom.js" "dom.js",
    SCRIPT "words.js" "words.js",
    SCRIPT "units.js" "units.js",
    SCRIPT "plugins.js" "plugins.js",
    SCRIPT "figures.js" "figures.js",
    SCRIPT "hosts.js" "hosts.js",
    SCRIPT "host.js" "host.js",
    SCRIPT "alarms.js" "alarms.js",
    SCRIPT "marks.js" "marks.js",
    SCRIPT "section.js" "section.js",
    SCRIPT "series.js" "series.js",
    SCRIPT "chart.js" "chart.js",
    SCRIPT "table.js" "table.js",
    SCRIPT "why.js" "why.js",
    SCRIPT "uplot.js" "uplot/uPlot.iife.min.js",
    STYLE "uplot.css" "uplot/uPlot.min.css",
    TEXT "uplot-licence.txt" "uplot/LICENSE",
};

/// A file as it is sent to those who take gzip, and the tags by which browsers ask whether theirs is still good.
struct Ready {
    tag: HeaderValue,
    packed: Vec<u8>,
    packed_tag: HeaderValue,
}

/// Of each of [`FILES`].
static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let each = FILES.iter().map(|file| {
        let packed = packed(file.bytes);
        Ready {
            tag: tag::of(file.bytes),
            packed_tag: tag::of(&packed),
            packed,
        }
    });
    each.collect()
});

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let _ = packed.write_all(bytes);
    packed.finish().unwrap_or_default()
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next() == Some("gzip");
            let weight = parts.next().and_then(|it| it.strip_prefix("q="));
            is_gzip && weight.and_then(|it| it.parse().ok()) != Some(0.0)
        })
}

/// Whether who asks is a browser, or says at least that it reads HTML.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(ACCEPT).into_iter();
    kinds
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/html")
}

/// The document.
pub fn document(headers: &HeaderMap) -> Option<Response> {
    let mut response = answer(DOCUMENT, headers)?;
    // Others get text at the same address.
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    Some(response)
}

/// A file of the page, if there is one of this name.
pub fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    answer(name, headers).filter(|_| name != DOCUMENT)
}

fn answer(name: &str, headers: &HeaderMap) -> Option<Response> {
    let (file, ready) = FILES.iter().zip(&*READY).find(|(it, _)| it.name == name)?;
    let is_packed = takes_gzip(headers);
    let tag = match is_packed {
        true => &ready.packed_tag,
        false => &ready.tag,
    };
    let shared: [(HeaderName, HeaderValue); 6] = [
        (ETAG, tag.clone()),
        // Kept, and asked about each time: after an upgrade nobody runs half of each version.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    Some(match tag::is_known(headers, tag) {
        true => (StatusCode::NOT_MODIFIED, shared).into_response(),
        false => {
            let kind = [(CONTENT_TYPE, HeaderValue::from_static(file.kind))];
            match is_packed {
                true => {
                    let coding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
                    (shared, kind, coding, ready.packed.as_slice()).into_response()
                }
                false => (shared, kind, file.bytes).into_response(),
            }
        }
    })
}
