//! Bodies in JSON, of requests that change something.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;

use super::app::App;
use super::refusal::Refusal;
use crate::collector::report;

/// Largest such body, in bytes.
pub const MAX_BODY_BYTES: usize = 4 << 10;

/// The body of a request that names its type. `such_as` is one, for whoever sends another.
pub async fn parsed<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    such_as: &str,
) -> Result<T, Refusal> {
    let held = app.room.read(headers, body, MAX_BODY_BYTES).await?;
    // A page of another site cannot say so, unless the browser asks here first.
    if !is_json(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the request needs Content-Type: application/json",
        ));
    }
    // A derived reader would also take an array of the values. The parser's own words might quote a secret.
    let parsed = Some(&held.bytes).filter(|it| report::is_object(it));
    let parsed = parsed.and_then(|it| serde_json::from_slice(it).ok());
    parsed.ok_or_else(|| {
        Refusal::bad(format!(
            "the body is not such as {such_as} in JSON; send that"
        ))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return false;
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}
