//! `GET /api/openapi.json`: what the collector answers, for programs. Everybody may have it, as it is in every copy of the
//! program.

use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

/// Answers with the document.
pub async fn openapi() -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, include_str!("../../../docs/openapi.json")).into_response()
}
