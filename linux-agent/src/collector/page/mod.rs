//! The page that browsers get: files that are part of the program. What they show, they ask the API for.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

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

static FILES: [File; 20] = files! {
    HTML "index.html" "index.html",
    PICTURE "icon.svg" "icon.svg",
    STYLE "style.css" "style.css",
    SCRIPT "main.js" "main.js",
    SCRIPT "api.js" "api.js",
    SCRIPT "dom.js" "dom.js",
    SCRIPT "words.js" "words.js",
    SCRIPT "units.js" "units.js",
    SCRIPT "plugins.js" "plugins.js",
    SCRIPT "figures.js" "figures.js",
    SCRIPT "hosts.js" "hosts.js",
    SCRIPT "host.js" "host.js",
    SCRIPT "section.js" "section.js",
    SCRIPT "series.js" "series.js",
    SCRIPT "chart.js" "chart.js",
    SCRIPT "table.js" "table.js",
    SCRIPT "why.js" "why.js",
    SCRIPT "uplot.js" "uplot/uPlot.iife.min.js",
    STYLE "uplot.css" "uplot/uPlot.min.css",
    TEXT "uplot-licence.txt" "uplot/LICENSE",
};

/// The tags of [`FILES`], by which browsers ask whether theirs is still good.
static TAGS: LazyLock<Vec<HeaderValue>> =
    LazyLock::new(|| FILES.iter().map(|it| tag::of(it.bytes)).collect());

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
        .insert(VARY, HeaderValue::from_static("Accept"));
    Some(response)
}

/// A file of the page, if there is one of this name.
pub fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    answer(name, headers).filter(|_| name != DOCUMENT)
}

fn answer(name: &str, headers: &HeaderMap) -> Option<Response> {
    let (file, tag) = FILES.iter().zip(&*TAGS).find(|(it, _)| it.name == name)?;
    let shared: [(HeaderName, HeaderValue); 5] = [
        (ETAG, tag.clone()),
        // Kept, and asked about each time: after an upgrade nobody runs half of each version.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Some(match tag::is_known(headers, tag) {
        true => (StatusCode::NOT_MODIFIED, shared).into_response(),
        false => {
            let kind = [(CONTENT_TYPE, HeaderValue::from_static(file.kind))];
            (shared, kind, file.bytes).into_response()
        }
    })
}
