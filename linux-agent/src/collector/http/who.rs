//! Who may look: the one place where people and programs are let in or refused.

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use super::app::{App, Rules};
use super::refusal::Refusal;
use super::way::{self, Way};
use crate::collector::auth::known::Denied;
use crate::collector::auth::sessions::SessionHolder;
use crate::collector::now::now_ms;
use crate::collector::settings::access::Role;

/// Somebody who may look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// A user of the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub role: Role,
    pub by: By,
}

/// What lets somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A name and a password.
    Session,
    /// The link of the start.
    Link,
    /// A trusted proxy's word.
    Proxy,
    /// The token of readers.
    Token,
    /// Nothing, since this machine itself asks and there are no users.
    Loopback,
    /// The collector's own socket, which only its user and root may open.
    Owner,
}

impl Person {
    /// What others read of who it was.
    pub fn name(&self) -> String {
        let nameless = match self.by {
            By::Owner => "a command on the collector's machine",
            By::Loopback => "somebody on the collector's machine",
            By::Link => "whoever had the link of the start",
            By::Token => "whoever has the token of readers",
            By::Session | By::Proxy => "a user",
        };
        self.user.clone().unwrap_or_else(|| nameless.to_owned())
    }
}

/// Who it is, if they may look.
pub async fn person(
    app: &App,
    rules: &Rules,
    headers: &HeaderMap,
    way: &Way,
) -> Result<Person, Refusal> {
    let access = &rules.access;
    if way.is_owner {
        return Ok(nobody(Role::Admin, By::Owner));
    }
    if let Some(name) = &access.proxy_user_header
        && way.is_by_proxy
        && headers.contains_key(name)
    {
        let user = way::one(headers, name.as_str()).unwrap_or_default();
        return match access.users.get(user) {
            Some(it) => Ok(Person {
                user: Some(user.to_owned()),
                role: it.role,
                by: By::Proxy,
            }),
            None => {
                let sentence = format!(
                    "the proxy has let in {user:?}, who is no user of the collector's settings; add a table such as \
                     [users.ada]"
                );
                Err(Refusal::new(StatusCode::FORBIDDEN, sentence))
            }
        };
    }
    match app.sessions.holder(headers, access, now_ms()) {
        Some(SessionHolder::User(user)) => {
            if let Some(it) = access.users.get(&user) {
                let (user, role, by) = (Some(user), it.role, By::Session);
                return Ok(Person { user, role, by });
            }
        }
        Some(SessionHolder::Link) => return Ok(nobody(Role::Admin, By::Link)),
        None => {}
    }
    match rules.guard.admit_reader(headers).await {
        Ok(true) => Ok(nobody(Role::Viewer, By::Token)),
        // There is no such token.
        Ok(false) if access.users.is_empty() && way.is_local => {
            Ok(nobody(Role::Admin, By::Loopback))
        }
        Ok(false) if access.users.is_empty() => {
            let sentence = "only this machine itself may look, since there are no users; `mote passwd NAME` makes one, or use \
                            the link that the collector prints when it starts";
            Err(Refusal::new(StatusCode::FORBIDDEN, sentence))
        }
        Err(Denied::Unauthorized | Denied::Forbidden) if access.users.is_empty() => {
            Err(Refusal::reader(Denied::Unauthorized))
        }
        Err(Denied::Unavailable) => Err(Refusal::reader(Denied::Unavailable)),
        told => {
            // Not one that browsers ask a password for: the page does.
            let challenge = HeaderValue::from_static("Bearer realm=\"mote\"");
            let sentence = match told {
                Ok(_) => "log in; the settings name no read_token_file with a token for programs",
                Err(_) => "log in, or send the token of read_token_file as a bearer token",
            };
            Err(Refusal::new(StatusCode::UNAUTHORIZED, sentence).with(WWW_AUTHENTICATE, challenge))
        }
    }
}

fn nobody(role: Role, by: By) -> Person {
    let user = None;
    Person { user, role, by }
}
