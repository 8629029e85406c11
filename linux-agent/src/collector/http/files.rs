//! `GET /page/{name}`: what the page is made of. Everybody may have it, as it is in every copy of the program.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::parameters::in_path;
use super::refusal::Refusal;
use crate::collector::page;

/// Answers with a file.
pub async fn file(
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let name = in_path(name)?;
    page::file(&name, &headers).ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the page has no file {name:?}"),
        )
    })
}
