//! The two calls of the protocol, over ureq.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body};

use crate::settings::{self, Encoding, Server};
use crate::transport::{CachingResolver, TcpConnector};
use crate::uplink::Outcome;

/// A services document may have this many bytes.
pub const MAX_DOCUMENT: usize = 64 << 10;

/// Of the answer to a report, this many bytes are read so that the connection can be kept.
const MAX_ANSWER: u64 = 64 << 10;

/// A server that goes on redirecting is given up.
const MAX_REDIRECTS: usize = 5;

/// Waiting longer than this is not granted to a server that asks for it with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A client of one server that keeps its connection.
pub struct Client {
    agent: Agent,
    server: Server,
    client_id: String,
    report_url: Uri,
}

/// Why a call got no usable answer; displays as one sentence.
#[derive(Debug)]
pub struct CallError {
    url: String,
    fault: CallFault,
}

#[derive(Debug)]
enum CallFault {
    BadUrl,
    Unreachable(ureq::Error),
    Status(StatusCode, Option<Duration>),
    RedirectedAway(String),
    TooManyRedirects,
    TooLarge,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(server: &Server, client_id: &str) -> Self {
        let connector = TcpConnector {
            timeout: server.request_timeout,
        };
        Self::over(connector, server, client_id)
    }

    /// As [`Client::new`], over other connections than those of TCP.
    pub fn over(connector: impl Connector, server: &Server, client_id: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, within the origin only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // An agent's way to its server is a setting, not an accident of its environment.
            .proxy(None)
            .timeout_global(Some(server.request_timeout))
            .user_agent(concat!("mote/", env!("CARGO_PKG_VERSION")))
            .build();
        Client {
            agent: Agent::with_parts(config, connector, CachingResolver::default()),
            report_url: url(server, &server.report_path),
            server: server.clone(),
            client_id: client_id.to_owned(),
        }
    }

    /// Asks which services to monitor; gives the document's bytes, at most [`MAX_DOCUMENT`].
    pub fn fetch_config(&self) -> Result<Vec<u8>, CallError> {
        self.fetch_config_of(&self.client_id)
    }

    /// As [`Client::fetch_config`], for another client than this one.
    pub fn fetch_config_of(&self, client_id: &str) -> Result<Vec<u8>, CallError> {
        let url = &self.config_url(client_id);
        let timeout = self.server.request_timeout.as_secs_f64().to_string();
        let refresh = self.server.config_update_interval.as_secs_f64().to_string();
        let headers = [
            ("Mote-Client", client_id),
            ("Mote-Request-Timeout", &timeout),
            ("Mote-Config-Interval", &refresh),
        ];
        let method = match self.server.config_method {
            settings::Method::Get => Method::GET,
            settings::Method::Post => Method::POST,
        };
        let mut response = self.call(method, url, &headers, b"")?;
        if !response.status().is_success() {
            return Err(refusal(url, &response));
        }
        let mut document = Vec::new();
        let limit = MAX_DOCUMENT as u64 + 1;
        response
            .body_mut()
            .as_reader()
            .take(limit)
            .read_to_end(&mut document)
            .map_err(|error| CallFault::Unreachable(ureq::Error::from(error)).of(url))?;
        if document.len() > MAX_DOCUMENT {
            return Err(CallFault::TooLarge.of(url));
        }
        Ok(document)
    }

    /// Delivers one encoded report. The second value says why it was not acknowledged.
    pub fn post_report(&self, report: &[u8]) -> (Outcome, Option<CallError>) {
        let url = &self.report_url;
        let form;
        let (body, content_type) = match self.server.report_encoding {
            Encoding::Json => (report, "application/json"),
            Encoding::Form => {
                form = form_encoded(report);
                (form.as_slice(), "application/x-www-form-urlencoded")
            }
        };
        let headers = [(header::CONTENT_TYPE.as_str(), content_type)];
        let mut response = match self.call(Method::POST, url, &headers, body) {
            Ok(response) => response,
            Err(error) => return (error.outcome(), Some(error)),
        };
        let status = response.status();
        if status.is_success() {
            // The answer's text means nothing; reading it keeps the connection usable.
            // With a small buffer, since the usual one is cleared before each read.
            let mut answer = response.body_mut().as_reader().take(MAX_ANSWER);
            let mut piece = [0; 256];
            while matches!(answer.read(&mut piece), Ok(1..)) {}
            return (Outcome::Acknowledged, None);
        }
        let error = refusal(url, &response);
        let outcome = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => error.outcome(),
            _ if status.is_client_error() => Outcome::Refused,
            _ => error.outcome(),
        };
        (outcome, Some(error))
    }

    fn config_url(&self, client_id: &str) -> Uri {
        let id = utf8_percent_encode(client_id, SEGMENT);
        url(&self.server, &format!("{}/{id}", self.server.config_path))
    }

    /// One request and, within the origin, what it is redirected to with the same method and body.
    fn call(
        &self,
        method: Method,
        url: &Uri,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<Body>, CallError> {
        let mut uri = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::builder().method(&method).uri(uri.clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let bad_url = |_| CallFault::BadUrl.of(url);
            let response = if method == Method::GET {
                self.agent.run(request.body(()).map_err(bad_url)?)
            } else {
                self.agent.run(request.body(body).map_err(bad_url)?)
            }
            .map_err(|error| CallFault::Unreachable(error).of(url))?;
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

impl CallFault {
    fn of(self, url: &Uri) -> CallError {
        CallError {
            url: url.to_string(),
            fault: self,
        }
    }
}

impl CallError {
    fn outcome(&self) -> Outcome {
        match &self.fault {
            CallFault::Status(_, retry_after) => Outcome::Busy {
                retry_after: *retry_after,
            },
            CallFault::Unreachable(error) if is_no_connection(error) => Outcome::Unreachable,
            _ => Outcome::Unanswered,
        }
    }
}

/// Whether not even a connection came about; these kinds never come from one that did.
fn is_no_connection(error: &ureq::Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut
        ),
        _ => false,
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        match &self.fault {
            CallFault::BadUrl => write!(f, "{url} is not a valid address"),
            CallFault::Unreachable(ureq::Error::Timeout(_)) => {
                write!(f, "{url} did not answer in time")
            }
            CallFault::Unreachable(ureq::Error::HostNotFound) => {
                write!(f, "{url}: the name of the host is not known")
            }
            CallFault::Unreachable(ureq::Error::Io(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                write!(
                    f,
                    "{url} closed the connection before its answer was complete"
                )
            }
            CallFault::Unreachable(ureq::Error::Io(error)) => write!(f, "{url}: {error}"),
            CallFault::Unreachable(ureq::Error::Protocol(error)) => {
                write!(f, "{url} does not answer in valid HTTP: {error}")
            }
            CallFault::Unreachable(error) => write!(f, "{url}: {error}"),
            CallFault::Status(status, _) => write!(f, "{url} answered {status}"),
            CallFault::RedirectedAway(location) if location.is_empty() => {
                write!(f, "{url} redirects without saying where")
            }
            CallFault::RedirectedAway(location) => write!(
                f,
                "{url} redirects to {:.200}, which is another server and not followed",
                // The only control character that the head of an answer may have.
                location.replace('\t', " ")
            ),
            CallFault::TooManyRedirects => {
                write!(f, "{url} redirects more than {MAX_REDIRECTS} times")
            }
            CallFault::TooLarge => {
                write!(
                    f,
                    "{url} answered with more than {} KiB",
                    MAX_DOCUMENT >> 10
                )
            }
        }
    }
}

impl std::error::Error for CallError {}

/// Where `location` leads from `base`, if that has the same scheme, host and port.
fn same_origin(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let target = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else if location.is_empty() {
        return None;
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let target: Uri = target.parse().ok()?;
    let port = |uri: &Uri| uri.port_u16().unwrap_or(80);
    (target.scheme_str() == Some(scheme)
        && target.authority()?.as_str().contains('@') == authority.contains('@')
        && target.host()?.eq_ignore_ascii_case(base.host()?)
        && port(&target) == port(base))
    .then_some(target)
}

/// What stands for itself in a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The report's fields as JSON text; `data` stays as it is.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    client_id: &'a RawValue,
    #[serde(borrow)]
    service_name: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    boot: Option<&'a RawValue>,
    #[serde(borrow)]
    uptime: Option<&'a RawValue>,
    #[serde(borrow)]
    age: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: &'a RawValue,
}

/// An encoded report as the fields of a form, for servers that read those.
fn form_encoded(report: &[u8]) -> Vec<u8> {
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(report) else {
        // Reports are our own JSON; one that is not would be refused by any server.
        return Vec::new();
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("client_id", Some(fields.client_id)),
        ("service_name", Some(fields.service_name)),
        ("data", Some(fields.data)),
        ("time", fields.time),
        ("boot", fields.boot),
        ("uptime", fields.uptime),
        ("age", fields.age),
        ("seq", Some(fields.seq)),
    ] {
        let Some(json) = value.map(RawValue::get) else {
            continue;
        };
        match serde_json::from_str::<String>(json) {
            Ok(text) => form.append_pair(name, &text),
            Err(_) => form.append_pair(name, json),
        };
    }
    form.finish().into_bytes()
}

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
    fn redirects_stay_within_the_origin() {
        let base: Uri = "http://Mon.example:8000/api/client/config/1"
            .parse()
            .unwrap();
        let follow = |location| same_origin(&base, location).map(|uri| uri.to_string());
        let slash = Some("http://Mon.example:8000/api/client/config/1/".to_owned());
        assert_eq!(follow("/api/client/config/1/"), slash);
        assert_eq!(follow("1/"), slash);
        assert_eq!(
            follow("http://Mon.example:8000/api/client/config/1/"),
            slash
        );
        assert!(follow("http://mon.example:8000/x").is_some());
        for elsewhere in [
            "http://mon.example/api",
            "https://mon.example:8000/api",
            "http://evil.example:8000/",
            "//evil.example:8000/",
            "http://mon.example:8000@evil.example/",
            "http://evil@mon.example:8000/",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(follow(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_default_port_equals_its_number() {
        let base: Uri = "http://a/x".parse().unwrap();
        assert!(same_origin(&base, "http://a:80/y").is_some());
    }

    #[test]
    fn a_form_holds_the_same_values() {
        let report = br#"{"client_id":"web 1","service_name":"N\u00f6t","data":{"status":0,"a":"x&y"},"time":1.5,"boot":"b","seq":7}"#;
        let form = form_encoded(report);
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
        let expected = [
            ("client_id", "web 1"),
            ("service_name", "Nöt"),
            ("data", r#"{"status":0,"a":"x&y"}"#),
            ("time", "1.5"),
            ("boot", "b"),
            ("seq", "7"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let of_a_board = br#"{"client_id":7,"service_name":"N","data":{"status":0},"uptime":9,"age":3,"seq":0,"time":5.250,"boot":"b"}"#;
        let form = String::from_utf8(form_encoded(of_a_board)).unwrap();
        assert!(
            form.ends_with("&time=5.250&boot=b&uptime=9&age=3&seq=0"),
            "{form}"
        );
    }
}
