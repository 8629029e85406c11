//! Requests to one server, with its token and certificates and over connections that are kept.

use std::io::Read;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, AsSendBody, Body};

use crate::http::access::Credentials;
use crate::http::buffers::MAX_HEAD;
use crate::http::connect::Addresses;
use crate::http::denial::{About, about};
use crate::http::document::encoding;
use crate::http::error::{CallError, CallFault};
use crate::http::redirect::{MAX_REDIRECTS, same_origin};
use crate::http::resolver::CachingResolver;
use crate::http::tls;
use crate::http::transport::{TcpConnector, take_unread_status};
use crate::http::words;
use crate::settings::Server;

/// A longer `Retry-After` counts as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What requests to a server are sent with.
pub struct Requester {
    pub server: Server,
    parts: Mutex<Parts>,
}

/// The parts that depend on the files of token and certificates.
struct Parts {
    agent: Agent,
    /// The connections were given; a new certificate changes nothing.
    stays: bool,
    access: Credentials,
}

impl Requester {
    /// Connects when it is asked to.
    pub fn new(server: &Server) -> Self {
        Self::with(agent(server, None), false, server)
    }

    /// The same over connections other than TCP.
    pub fn over(connector: impl Connector, server: &Server) -> Self {
        Self::with(agent_over(connector), true, server)
    }

    fn with(agent: Agent, stays: bool, server: &Server) -> Self {
        Requester {
            server: server.clone(),
            parts: Mutex::new(Parts {
                agent,
                stays,
                access: Credentials::new(server),
            }),
        }
    }

    /// Sends one request and follows redirects within the origin, with the same method and body. A request with a body
    /// follows only 307 and 308, which keep both: behind the others the body gets lost, for example on a login page
    /// that answers 200.
    pub fn call(
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
            take_unread_status();
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
            .map_err(|error| self.explained(failure(error).of(url), None, None))?;
            let status = response.status();
            let keeps_body = match status.as_u16() {
                307 | 308 => true,
                301 | 302 => body.is_empty(),
                303 if !body.is_empty() => false,
                _ => return Ok(response),
            };
            let location = response.headers().get(header::LOCATION);
            let location = location
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            uri = same_origin(&uri, location)
                .ok_or_else(|| CallFault::RedirectedAway(location.to_owned()).of(url))?;
            if !keeps_body {
                return Err(CallFault::BodyRedirected(status, location.to_owned()).of(url));
            }
        }
        Err(CallFault::TooManyRedirects.of(url))
    }

    /// Why files with token or certificates were not used in the last call. What they held before was.
    pub fn trouble(&self) -> Option<String> {
        self.parts().access.trouble()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Brings token and certificates up to date. Returns what to send a request with.
    fn prepare(&self, url: &Uri) -> Result<(Agent, Option<HeaderValue>), CallError> {
        let mut parts = self.parts();
        let Parts {
            agent,
            stays,
            access,
        } = &mut *parts;
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
    pub fn refused(&self, url: &Uri, response: &mut Response<Body>, secret: &str) -> CallError {
        let answer = beginning(response);
        self.refusal(url, response, &answer, secret)
    }

    /// The same with an answer that begins like this.
    pub fn refusal(
        &self,
        url: &Uri,
        response: &Response<Body>,
        answer: &[u8],
        secret: &str,
    ) -> CallError {
        let error = refusal(url, response);
        let is_secret = |it: &String| !secret.is_empty() && it.contains(secret);
        let words = words::of(answer).filter(|it| !is_secret(it));
        let status = response.status();
        let mut parts = self.parts();
        let access = &mut parts.access;
        let token_file = access.token_file().map(|it| it.display().to_string());
        let about = about(status, response.headers(), answer, token_file.is_some());
        let reason = match (about, status, token_file) {
            (About::Token, StatusCode::UNAUTHORIZED, Some(file)) => {
                format!("it does not take the token in {file}")
            }
            (About::Token, StatusCode::UNAUTHORIZED, None) => WANTS_TOKEN.to_owned(),
            (About::Token, _, Some(file)) => {
                format!("the token in {file} may be another client's")
            }
            (About::Forgery, ..) => WANTS_BROWSER.to_owned(),
            _ => String::new(),
        };
        let error = match about {
            About::Token => {
                access.doubt_token();
                error.of_token()
            }
            _ => error,
        };
        drop(parts);
        self.explained(error, Some(reason).filter(|it| !it.is_empty()), words)
    }

    /// An error with its reason and the server's words, if known. Certificates that the server refused are read again
    /// before the next call.
    pub fn explained(
        &self,
        error: CallError,
        reason: Option<String>,
        words: Option<String>,
    ) -> CallError {
        let mut parts = self.parts();
        let access = &mut parts.access;
        if error.is_of_tls() {
            access.doubt_tls();
        }
        let words = words.map(|it| format!("it says \"{it}\""));
        let reasons = [reason, access.trouble(), words].into_iter().flatten();
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        error.because(Some(reasons).filter(|it| !it.is_empty()))
    }
}

const WANTS_TOKEN: &str =
    "it wants a token; get one with `mote enroll`, or name it in `server.token_file`";

const WANTS_BROWSER: &str = "the server wants a CSRF token, which only browsers have: exempt this path there \
                             (csrf_exempt)";

fn refusal(url: &Uri, response: &Response<Body>) -> CallError {
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    CallFault::Status(response.status(), retry_after).of(url)
}

/// Why the last request of this thread has no answer that can be read.
fn failure(error: ureq::Error) -> CallFault {
    let is_of_head = matches!(
        error,
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)
    );
    match take_unread_status() {
        Some(status) if is_of_head && status.is_success() => CallFault::BrokenHead(status, error),
        _ => CallFault::Unreachable(error),
    }
}

fn agent(server: &Server, tls: Option<tls::TlsConfig>) -> Agent {
    agent_over(TcpConnector {
        timeout: server.request_timeout,
        tls,
        addresses: Addresses::default(),
        tells_address: true,
    })
}

pub(super) fn agent_over(connector: impl Connector) -> Agent {
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
pub fn beginning(response: &mut Response<Body>) -> Vec<u8> {
    let mut answer = Vec::new();
    if encoding(response.headers()).is_none() {
        let mut body = response.body_mut().as_reader().take(words::MAX_LOOKED_AT);
        // Words that are cut off are better than none.
        let _ = body.read_to_end(&mut answer);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::outcome::Outcome;

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
