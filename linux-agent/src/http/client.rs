//! The calls of the protocol.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::Connector;

use crate::client_name::ClientName;
use crate::http::document::{Tagged, read_document};
use crate::http::error::CallError;
use crate::http::offer::{BATCH_PATH, Batches};
use crate::http::outcome::{self, Outcome};
use crate::http::report_body::body_of;
use crate::http::requester::{Requester, beginning};
use crate::http::words;
use crate::protocol::UNKNOWN_CLIENT;
use crate::settings::{self, Encoding, Server};

/// At most this many bytes of an answer to a report are read, so that the connection can be kept.
pub const MAX_ANSWER: u64 = 64 << 10;

/// The head of an answer says what became of the report. The body may take this long; then the connection is
/// closed.
pub const ANSWER_WAIT: Duration = Duration::from_millis(250);

/// The same, after a body that did not end in time.
const NEXT_ANSWER_WAIT: Duration = Duration::from_millis(10);

/// A client of one server. It keeps its connection.
pub struct Client {
    pub(super) session: Requester,
    client_id: String,
    report_url: Uri,
    /// The body of the last answer to a report did not end in time.
    is_endless: AtomicBool,
    /// This client's last services document, if the server named it.
    tagged: Mutex<Option<Tagged>>,
    /// Requests with many reports.
    pub(super) batches: Batches,
}

/// What a server said to a report.
pub struct Tried {
    /// Of its answer.
    pub status: StatusCode,
    /// Its own words, if it has some.
    pub words: Option<String>,
    /// The beginning of its answer.
    pub body: Vec<u8>,
    /// Why the report is not acknowledged, if it is not.
    pub error: Option<CallError>,
}

impl Client {
    /// A client. It does not connect yet.
    pub fn new(server: &Server, client_id: &str) -> Self {
        Self::with(Requester::new(server), client_id)
    }

    /// As [`Client::new`], over connections other than TCP.
    pub fn over(connector: impl Connector, server: &Server, client_id: &str) -> Self {
        Self::with(Requester::over(connector, server), client_id)
    }

    fn with(session: Requester, client_id: &str) -> Self {
        let server = &session.server;
        Client {
            report_url: url(server, &server.report_path),
            client_id: client_id.to_owned(),
            is_endless: AtomicBool::new(false),
            tagged: Mutex::new(None),
            batches: Batches::new(url(server, BATCH_PATH)),
            session,
        }
    }

    /// Asks which services to monitor. Returns the document's bytes, at most
    /// [`MAX_DOCUMENT`](crate::protocol::MAX_DOCUMENT). One that the server named
    /// with an `ETag` is not sent again as long as it stays the same.
    pub fn fetch_config(&self) -> Result<Vec<u8>, CallError> {
        let mut tagged = self
            .tagged
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let url = &self.config_url(&self.client_id);
        let tag = tagged.as_ref().map(|it| it.tag.as_str());
        let mut response = self.ask_config(url, &self.client_id, tag)?;
        self.batches.note_offer(response.headers());
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(tagged) = &*tagged
        {
            return Ok(tagged.document.clone());
        }
        *tagged = None;
        if !response.status().is_success() {
            return Err(self.session.refused(url, &mut response, ""));
        }
        let document = read_document(url, &mut response)?;
        if self.session.server.config_method == settings::Method::Get {
            *tagged = Tagged::of(response.headers(), &document);
        }
        Ok(document)
    }

    /// As [`Client::fetch_config`], for another client.
    pub fn fetch_config_of(&self, client_id: &str) -> Result<Vec<u8>, CallError> {
        let url = &self.config_url(client_id);
        let mut response = self.ask_config(url, client_id, None)?;
        match response.status().is_success() {
            true => read_document(url, &mut response),
            false => Err(self.session.refused(url, &mut response, "")),
        }
    }

    fn ask_config(
        &self,
        url: &Uri,
        client_id: &str,
        tag: Option<&str>,
    ) -> Result<Response<Body>, CallError> {
        let timeout = self
            .session
            .server
            .request_timeout
            .as_secs_f64()
            .to_string();
        let refresh = self
            .session
            .server
            .config_update_interval
            .as_secs_f64()
            .to_string();
        let headers = [
            ("Mote-Client", client_id),
            ("Mote-Request-Timeout", &timeout),
            ("Mote-Config-Interval", &refresh),
            (header::IF_NONE_MATCH.as_str(), tag.unwrap_or_default()),
        ];
        let headers = match tag {
            Some(_) => &headers[..],
            None => &headers[..3],
        };
        let method = match self.session.server.config_method {
            settings::Method::Get => Method::GET,
            settings::Method::Post => Method::POST,
        };
        self.session.call(
            method,
            url,
            headers,
            b"",
            self.session.server.request_timeout,
        )
    }

    /// Exchanges a one-time code for a document with client id and token. The error for a refused code holds the
    /// server's sentence, but never the code.
    pub fn enroll(&self, code: &str, claimed: Option<&ClientName>) -> Result<Vec<u8>, CallError> {
        let url = &url(&self.session.server, "api/enroll");
        // A code for one host does without.
        let mut body = serde_json::json!({ "code": code });
        if let Some(claimed) = claimed {
            body["client_id"] = serde_json::json!(claimed);
        }
        let body = body.to_string();
        let headers = [(header::CONTENT_TYPE.as_str(), "application/json")];
        let whole = self.session.server.request_timeout;
        let mut response =
            self.session
                .call(Method::POST, url, &headers, body.as_bytes(), whole)?;
        match response.status().is_success() {
            true => read_document(url, &mut response),
            false => Err(self.session.refused(url, &mut response, code)),
        }
    }

    /// Why files with token or certificates were not used in the last call. What they held before was.
    pub fn trouble(&self) -> Option<String> {
        self.session.trouble()
    }

    /// Delivers one encoded report, and gives all that the server says to it, for a person.
    pub fn try_report(&self, report: &[u8]) -> Result<Tried, CallError> {
        let limit = self.session.server.request_timeout;
        let mut response = match self.send_report(report, limit) {
            Ok(response) => response,
            Err(error) => {
                return match error.broken_yes() {
                    Some(status) => Ok(Tried {
                        status,
                        words: None,
                        body: Vec::new(),
                        error: None,
                    }),
                    None => Err(error),
                };
            }
        };
        let status = response.status();
        let body = beginning(&mut response);
        let words = words::of(&body);
        let error = (!status.is_success())
            .then(|| self.session.refusal(&self.report_url, &response, &body, ""));
        Ok(Tried {
            status,
            words,
            body,
            error,
        })
    }

    /// Delivers one encoded report. The second value says why it was not acknowledged.
    pub fn post_report(&self, report: &[u8]) -> (Outcome, Option<CallError>) {
        let wait = match self.is_endless.load(Ordering::Relaxed) {
            true => NEXT_ANSWER_WAIT,
            false => ANSWER_WAIT,
        };
        let mut response = match self.send_report(report, wait) {
            Ok(response) => response,
            Err(error) if error.broken_yes().is_some() => {
                log::debug!("{error}, but its first line says that it took the report");
                return (Outcome::Acknowledged, None);
            }
            Err(error) => return (error.outcome(), Some(error)),
        };
        let status = response.status();
        if status.is_success() {
            // The answer's text means nothing; reading it keeps the connection usable.
            // With a small buffer, since the usual one is cleared before each read.
            let mut answer = response.body_mut().as_reader().take(MAX_ANSWER);
            let mut piece = [0; 256];
            let end = loop {
                match answer.read(&mut piece) {
                    Ok(1..) => {}
                    end => break end,
                }
            };
            self.is_endless.store(end.is_err(), Ordering::Relaxed);
            return (Outcome::Acknowledged, None);
        }
        let error = self.session.refused(&self.report_url, &mut response, "");
        let is_unknown = response.headers().contains_key(UNKNOWN_CLIENT);
        let outcome = outcome::of_status(status, is_unknown);
        (outcome.unwrap_or(error.outcome()), Some(error))
    }

    fn send_report(
        &self,
        report: &[u8],
        answer_wait: Duration,
    ) -> Result<Response<Body>, CallError> {
        let encoding = self.session.server.report_encoding;
        let body = &body_of(report, encoding, &self.session.server.field_names);
        let content_type = match encoding {
            Encoding::Json => "application/json",
            Encoding::Form => "application/x-www-form-urlencoded",
        };
        let headers = [(header::CONTENT_TYPE.as_str(), content_type)];
        self.session
            .call(Method::POST, &self.report_url, &headers, body, answer_wait)
    }

    fn config_url(&self, client_id: &str) -> Uri {
        let id = utf8_percent_encode(client_id, SEGMENT);
        url(
            &self.session.server,
            &format!("{}/{id}", self.session.server.config_path),
        )
    }
}

fn url(server: &Server, path: &str) -> Uri {
    format!("{}/{path}", server.url).parse().unwrap_or_default()
}

/// The bytes that need no escape in a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
