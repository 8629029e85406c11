//! The calls of the protocol.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, AsSendBody, Body};

use crate::http::access::Access;
use crate::http::buffers::MAX_HEAD;
use crate::http::connect::Addresses;
use crate::http::document::{Tagged, encoding, read_document};
use crate::http::error::{CallError, CallFault};
use crate::http::offer::{BATCH_PATH, Batches};
use crate::http::outcome::Outcome;
use crate::http::redirect::{MAX_REDIRECTS, same_origin};
use crate::http::report_body::body_of;
use crate::http::resolver::CachingResolver;
use crate::http::tls;
use crate::http::transport::TcpConnector;
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

/// A longer `Retry-After` counts as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A client of one server. It keeps its connection.
pub struct Client {
    session: Mutex<Session>,
    pub(super) server: Server,
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

/// The parts that depend on the files of token and certificates.
struct Session {
    agent: Agent,
    /// The connections were given; a new certificate changes nothing.
    stays: bool,
    access: Access,
}

impl Client {
    /// A client. It does not connect yet.
    pub fn new(server: &Server, client_id: &str) -> Self {
        Self::with(agent(server, None), false, server, client_id)
    }

    /// As [`Client::new`], over connections other than TCP.
    pub fn over(connector: impl Connector, server: &Server, client_id: &str) -> Self {
        Self::with(agent_over(connector), true, server, client_id)
    }

    fn with(agent: Agent, stays: bool, server: &Server, client_id: &str) -> Self {
        Client {
            session: Mutex::new(Session {
                agent,
                stays,
                access: Access::new(server),
            }),
            report_url: url(server, &server.report_path),
            server: server.clone(),
            client_id: client_id.to_owned(),
            is_endless: AtomicBool::new(false),
            tagged: Mutex::new(None),
            batches: Batches::new(url(server, BATCH_PATH)),
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
            return Err(self.refused(url, &mut response, ""));
        }
        let document = read_document(url, &mut response)?;
        if self.server.config_method == settings::Method::Get {
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
            false => Err(self.refused(url, &mut response, "")),
        }
    }

    fn ask_config(
        &self,
        url: &Uri,
        client_id: &str,
        tag: Option<&str>,
    ) -> Result<Response<Body>, CallError> {
        let timeout = self.server.request_timeout.as_secs_f64().to_string();
        let refresh = self.server.config_update_interval.as_secs_f64().to_string();
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
        let method = match self.server.config_method {
            settings::Method::Get => Method::GET,
            settings::Method::Post => Method::POST,
        };
        self.call(method, url, headers, b"", self.server.request_timeout)
    }

    /// Exchanges a one-time code for a document with client id and token. The error for a refused code holds the
    /// server's sentence, but never the code.
    pub fn enroll(&self, code: &str) -> Result<Vec<u8>, CallError> {
        let url = &url(&self.server, "api/enroll");
        let body = serde_json::json!({ "code": code }).to_string();
        let headers = [(header::CONTENT_TYPE.as_str(), "application/json")];
        let whole = self.server.request_timeout;
        let mut response = self.call(Method::POST, url, &headers, body.as_bytes(), whole)?;
        match response.status().is_success() {
            true => read_document(url, &mut response),
            false => Err(self.refused(url, &mut response, code)),
        }
    }

    /// Delivers one encoded report, and gives all that the server says to it, for a person.
    pub fn try_report(&self, report: &[u8]) -> Result<Tried, CallError> {
        let mut response = self.send_report(report, self.server.request_timeout)?;
        let status = response.status();
        let body = beginning(&mut response);
        let words = words::of(&body);
        let error = (!status.is_success())
            .then(|| self.explained(refusal(&self.report_url, &response), words.clone()));
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
        let error = self.refused(&self.report_url, &mut response, "");
        let is_unknown = response.headers().contains_key(UNKNOWN_CLIENT);
        let outcome = verdict(status, is_unknown).unwrap_or(error.outcome());
        (outcome, Some(error))
    }

    fn send_report(
        &self,
        report: &[u8],
        answer_wait: Duration,
    ) -> Result<Response<Body>, CallError> {
        let encoding = self.server.report_encoding;
        let body = &body_of(report, encoding, &self.server.field_names);
        let content_type = match encoding {
            Encoding::Json => "application/json",
            Encoding::Form => "application/x-www-form-urlencoded",
        };
        let headers = [(header::CONTENT_TYPE.as_str(), content_type)];
        self.call(Method::POST, &self.report_url, &headers, body, answer_wait)
    }

    /// Why files with token or certificates were not used in the last call. What they held before was.
    pub fn trouble(&self) -> Option<String> {
        self.session().access.trouble()
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Brings token and certificates up to date. Returns what to send a request with.
    fn prepare(&self, url: &Uri) -> Result<(Agent, Option<HeaderValue>), CallError> {
        let mut session = self.session();
        let Session {
            agent,
            stays,
            access,
        } = &mut *session;
        let is_new = access.refresh(Instant::now());
        let no_access = |sentence| CallFault::NoAccess(sentence).of(url);
        if is_new && !*stays {
            // Replacing the agent closes its connections, which used the old certificates.
            *agent = self::agent(&self.server, access.tls().map_err(no_access)?);
        } else {
            access.tls().map_err(no_access)?;
        }
        let authorization = access.authorization().map_err(no_access)?;
        Ok((agent.clone(), authorization))
    }

    /// The error for a server's refusal, with the server's own words unless they contain `secret`.
    fn refused(&self, url: &Uri, response: &mut Response<Body>, secret: &str) -> CallError {
        let error = refusal(url, response);
        let answer = beginning(response);
        let is_secret = |it: &String| !secret.is_empty() && it.contains(secret);
        let words = words::of(&answer).filter(|it| !is_secret(it));
        self.explained(error, words)
    }

    /// An error with its reason, if known. Files that the server refused are read again before the next call.
    pub(super) fn explained(&self, error: CallError, words: Option<String>) -> CallError {
        let mut session = self.session();
        let access = &mut session.access;
        let token_file = access.token_file().map(|it| it.display().to_string());
        let reason = match (error.status(), token_file) {
            (Some(StatusCode::UNAUTHORIZED), Some(file)) => {
                Some(format!("it does not take the token in {file}"))
            }
            (Some(StatusCode::UNAUTHORIZED), None) => Some(
                "it wants a token; get one with `mote enroll`, or name it in `server.token_file`"
                    .to_owned(),
            ),
            (Some(StatusCode::FORBIDDEN), Some(file)) => {
                Some(format!("the token in {file} is another client's"))
            }
            _ => None,
        };
        match error.status() {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => access.doubt_token(),
            _ if error.is_of_tls() => access.doubt_tls(),
            _ => {}
        }
        let words = words.map(|it| format!("it says \"{it}\""));
        let reasons = [reason, access.trouble(), words].into_iter().flatten();
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        error.because(Some(reasons).filter(|it| !it.is_empty()))
    }

    fn config_url(&self, client_id: &str) -> Uri {
        let id = utf8_percent_encode(client_id, SEGMENT);
        url(&self.server, &format!("{}/{id}", self.server.config_path))
    }

    /// Sends one request and follows redirects within the origin, with the same method and body.
    pub(super) fn call(
        &self,
        method: Method,
        url: &Uri,
        headers: &[(&str, &str)],
        body: &[u8],
        answer_wait: Duration,
    ) -> Result<Response<Body>, CallError> {
        let (agent, authorization) = self.prepare(url)?;
        let mut uri = url.clone();
        let end = Instant::now() + self.server.request_timeout;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::builder().method(&method).uri(uri.clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = &authorization {
                request = request.header(header::AUTHORIZATION, token);
            }
            let bad_url = |_| CallFault::BadUrl.of(url);
            // All redirects share the time limit of the one call.
            let left = end.saturating_duration_since(Instant::now());
            let response = if method == Method::GET {
                run(
                    &agent,
                    request.body(()).map_err(bad_url)?,
                    left,
                    answer_wait,
                )
            } else {
                run(
                    &agent,
                    request.body(body).map_err(bad_url)?,
                    left,
                    answer_wait,
                )
            }
            .map_err(|error| self.explained(CallFault::Unreachable(error).of(url), None))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION);
            let location = location
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            uri = same_origin(&uri, location)
                .ok_or_else(|| CallFault::RedirectedAway(location.to_owned()).of(url))?;
        }
        Err(CallFault::TooManyRedirects.of(url))
    }
}

fn agent(server: &Server, tls: Option<tls::TlsConfig>) -> Agent {
    agent_over(TcpConnector {
        timeout: server.request_timeout,
        tls,
        addresses: Addresses::default(),
    })
}

fn agent_over(connector: impl Connector) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Redirects are followed here, within the origin only.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // No proxy from the environment: the settings say where the server is.
        .proxy(None)
        .max_response_header_size(MAX_HEAD)
        .user_agent(concat!("mote/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, connector, CachingResolver::default())
}

fn run(
    agent: &Agent,
    request: Request<impl AsSendBody>,
    limit: Duration,
    answer_wait: Duration,
) -> Result<Response<Body>, ureq::Error> {
    let request = agent
        .configure_request(request)
        .timeout_global(Some(limit))
        .timeout_recv_body(Some(answer_wait));
    agent.run(request.build())
}

/// As much of a plain answer as is looked at for a server's words.
fn beginning(response: &mut Response<Body>) -> Vec<u8> {
    let mut answer = Vec::new();
    if encoding(response.headers()).is_none() {
        let mut body = response.body_mut().as_reader().take(words::MAX_LOOKED_AT);
        // Words that are cut off are better than none.
        let _ = body.read_to_end(&mut answer);
    }
    answer
}

/// What a status other than 2xx means for a report. `None`: it is about the token, the time or the way.
pub(super) fn verdict(status: StatusCode, is_unknown_client: bool) -> Option<Outcome> {
    match status {
        // These are about the token or the time, not the report.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => None,
        // So is the id that mote's collector does not know.
        _ if is_unknown_client => None,
        // A wrong address, a server that was set up wrongly, a limit on the way.
        StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY => Some(Outcome::Doubtful),
        _ if status.is_client_error() => Some(Outcome::Refused),
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED => Some(Outcome::Failed),
        // Whoever is in between, or the server for all.
        _ => None,
    }
}

fn url(server: &Server, path: &str) -> Uri {
    format!("{}/{path}", server.url).parse().unwrap_or_default()
}

fn refusal(url: &Uri, response: &Response<Body>) -> CallError {
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    CallFault::Status(response.status(), retry_after).of(url)
}

/// The bytes that need no escape in a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_leads_is_told_without_control_characters() {
        let away = CallFault::RedirectedAway("http://b/\tx".to_owned());
        assert_eq!(
            away.of(&Uri::from_static("http://a/")).to_string(),
            "http://a/ redirects to http://b/ x, which is another server and not followed"
        );
    }

    #[test]
    fn a_server_may_ask_for_an_hour_and_no_more() {
        let after = |text: &str| {
            let response = Response::builder()
                .status(503)
                .header(header::RETRY_AFTER, text)
                .body(Body::builder().data(""))
                .unwrap();
            match refusal(&Uri::default(), &response).outcome() {
                Outcome::Busy { retry_after } => retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(after("3599"), Some(Duration::from_secs(3599)));
        for more in ["3600", "3601", "18446744073709551615"] {
            assert_eq!(after(more), Some(MAX_RETRY_AFTER), "{more}");
        }
        // A number too large for its type is ignored.
        assert_eq!(after("18446744073709551616"), None);
        assert_eq!(after("-1"), None);
    }
}
