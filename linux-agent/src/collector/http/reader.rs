//! What every answer to a reader begins with: whether it may read, and what it asks for.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::app::{App, Rules};
use super::parameters;
use super::refusal::Refusal;
use super::way::Way;
use super::who::{self, Person};
use crate::collector::settings::access::Role;

/// Somebody who may read, with the rules that the request keeps.
pub struct Reader {
    /// Those in force when it began.
    pub rules: Arc<Rules>,
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Reader, Refusal> {
        let rules = app.rules();
        person(app, &rules, parts).await?;
        Ok(Reader { rules })
    }
}

/// Somebody who may change something, such as silence a host, with the rules that the request keeps.
pub struct Admin {
    /// Who.
    pub person: Person,
    /// Those in force when it began.
    pub rules: Arc<Rules>,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Admin, Refusal> {
        let rules = app.rules();
        let person = person(app, &rules, parts).await?;
        match person.role {
            Role::Admin => Ok(Admin { person, rules }),
            Role::Viewer => {
                let sentence = "this is for admins; who you are may look only";
                Err(Refusal::new(StatusCode::FORBIDDEN, sentence))
            }
        }
    }
}

async fn person(app: &App, rules: &Rules, parts: &Parts) -> Result<Person, Refusal> {
    let way: Option<&Way> = parts.extensions.get();
    // Each request has one.
    let unknown = || {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it is not known where this comes from",
        )
    };
    who::person(app, rules, &parts.headers, way.ok_or_else(unknown)?).await
}

/// What stands behind the `?`. It comes after [`Reader`] among the arguments of an answer, so that a stranger learns
/// nothing of what may stand there.
pub struct UrlQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for UrlQuery<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<UrlQuery<T>, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        parameters::read(query).map(UrlQuery)
    }
}
