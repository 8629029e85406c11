//! Requests that are refused.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::client_name::ClientName;
use crate::collector::auth::known::Denied;
use crate::collector::store::Unavailable;
use crate::protocol::UNKNOWN_CLIENT;

/// An error as the client gets it: a status and one sentence.
pub struct Refusal {
    pub(super) status: StatusCode,
    pub(super) sentence: String,
    header: Option<(HeaderName, HeaderValue)>,
    client: Option<Box<ClientName>>,
}

/// What of a request was refused: all of it, or some of its lines. They go with the answer to whoever writes the log.
pub type Refusals = Arc<[Refused]>;

/// One refusal, for the log.
#[derive(Clone)]
pub struct Refused {
    /// As the client has it.
    pub status: StatusCode,
    /// Why.
    pub sentence: String,
    /// Who it was, as far as the request said.
    pub client: Option<Box<ClientName>>,
}

impl Refusal {
    /// One without headers of its own.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Refusal {
            status,
            sentence: sentence.into(),
            header: None,
            client: None,
        }
    }

    /// The same with a header.
    pub fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Refusal {
            header: Some((name, value)),
            ..self
        }
    }

    /// The same of a request that says who it comes from.
    pub fn of(self, client: &ClientName) -> Self {
        Refusal {
            client: Some(Box::new(client.clone())),
            ..self
        }
    }

    /// A request that cannot be understood.
    pub fn bad(sentence: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// Of a reader; a browser asks for a password then.
    pub fn reader(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized | Denied::Forbidden => {
                let sentence = "reading needs the token of read_token_file, as a bearer token or as \
                                the password of any user";
                Refusal::new(StatusCode::UNAUTHORIZED, sentence).with(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"mote\", charset=\"UTF-8\""),
                )
            }
            Denied::Unavailable => Unavailable.into(),
        }
    }

    /// For a client that is no host of the settings.
    pub fn unknown_client(id: &ClientName) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, no_such_host(id))
            .with(
                HeaderName::from_static(UNKNOWN_CLIENT),
                HeaderValue::from_static("1"),
            )
            .of(id)
    }

    /// Whether a browser asks the person for a password then.
    pub fn asks_for_password(&self) -> bool {
        let header = self.header.as_ref();
        header.is_some_and(|(name, value)| {
            name == WWW_AUTHENTICATE && value.as_bytes().starts_with(b"Basic")
        })
    }

    /// Whether the answer says that no host has the client's id.
    pub fn is_unknown_client(&self) -> bool {
        let name = self.header.as_ref().map(|(name, _)| name);
        name.is_some_and(|name| name == UNKNOWN_CLIENT)
    }

    /// For the log.
    pub fn into_refused(self) -> Refused {
        Refused {
            status: self.status,
            sentence: self.sentence,
            client: self.client,
        }
    }
}

impl From<Unavailable> for Refusal {
    fn from(_: Unavailable) -> Self {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database is out of order at the moment; try again later",
        )
    }
}

/// That no host has this id, and what to do.
pub fn no_such_host(id: &ClientName) -> String {
    let id = id.to_string();
    format!(
        "no host of the collector's settings has the id {id:?}; add a table such as [hosts.NAME] with that id"
    )
}

/// Of an agent. A stranger is not to learn from it which ids there are: that is for the log.
impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized => {
                let sentence = "the request needs a valid token (Authorization: Bearer TOKEN) of a host that the \
                                collector knows; the collector's log says which is missing";
                Refusal::new(StatusCode::UNAUTHORIZED, sentence)
                    .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Denied::Forbidden => Refusal::new(
                StatusCode::FORBIDDEN,
                "the token is not that of this client, nor of a host that reports for it; the collector's log says \
                 more",
            ),
            Denied::Unavailable => Unavailable.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": &self.sentence }));
        let mut response = (self.status, body).into_response();
        if let Some((name, value)) = self.header.clone() {
            response.headers_mut().insert(name, value);
        }
        let refusals: Refusals = [self.into_refused()].into();
        response.extensions_mut().insert(refusals);
        response
    }
}
