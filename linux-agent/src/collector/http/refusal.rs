//! Requests that are refused.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::collector::auth::known::Denied;
use crate::collector::settings::host::HostId;
use crate::collector::store::Unavailable;

/// An error as the client gets it: a status and one sentence.
pub struct Refusal {
    status: StatusCode,
    sentence: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// One without headers of its own.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Refusal {
            status,
            sentence: sentence.into(),
            header: None,
        }
    }

    /// The same with a header.
    pub fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Refusal {
            header: Some((name, value)),
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
    pub fn unknown_client(id: &HostId) -> Self {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no host {:?} in the settings", id.to_string()),
        )
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

/// Of an agent.
impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized => {
                let sentence = "the request needs a valid token (Authorization: Bearer TOKEN)";
                Refusal::new(StatusCode::UNAUTHORIZED, sentence)
                    .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Denied::Forbidden => Refusal::new(
                StatusCode::FORBIDDEN,
                "the token is not that of this client, nor of a host that reports for it",
            ),
            Denied::Unavailable => Unavailable.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.sentence }));
        let mut response = (self.status, body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
