//! What the collector answers: services to agents, reports to whoever reads them.

pub(crate) mod body;
pub(crate) mod enroll;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFRESH, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::auth::Guard;
use super::auth::known::Denied;
use super::report::{Encoding, Report};
use super::settings::host::{Host, HostId};
use super::store::runs;
use super::store::{Store, Unavailable};
use crate::collector::store::database::{self, MAX_PAGE, Page, Stored};
use body::Room;
use enroll::Guesses;

/// Largest body of a report, in bytes.
pub const MAX_BODY_BYTES: usize = 256 << 10;

const DEFAULT_PAGE: u32 = 1000;

/// What the answers come from.
pub struct App {
    /// Every host of the settings.
    pub hosts: Arc<BTreeMap<HostId, Host>>,
    /// The database.
    pub store: Store,
    /// Who may have which answer.
    pub guard: Guard,
    /// Where the bodies of requests are while they come.
    pub room: Room,
    /// Wrong codes of late.
    pub guesses: Guesses,
}

/// The same for all requests.
pub type Shared = State<Arc<App>>;

/// Everything that the collector answers.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/api/client/config/{id}", get(services))
        .route("/api/client/config/{id}/", get(services))
        .route("/api/client/service/report", post(receive))
        .route("/api/client/service/report/", post(receive))
        .route("/api/enroll", post(enroll::enroll))
        .route("/api/reports", get(reports))
        .route("/api/accounting", get(runs::accounting))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Arc::new(app))
}

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

    fn unknown_client(id: &HostId) -> Self {
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

async fn services(
    State(app): Shared,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let caller = app.guard.caller(&headers).await?;
    let Path(id) = id.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let id = HostId::new(&id);
    caller.admit(&id)?;
    match app.hosts.get(&id) {
        Some(host) => Ok(Json(host).into_response()),
        None => Err(Refusal::unknown_client(&id)),
    }
}

async fn receive(
    State(app): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, Refusal> {
    // Nobody without a token shall have a body kept or parsed; it is read to its end all the same, as such a client
    // would not see the answer before.
    let caller = match app.guard.caller(&headers).await {
        Ok(caller) => caller,
        Err(denied) => {
            let _ = app.room.read(&headers, body, 0).await;
            return Err(denied.into());
        }
    };
    let held = app.room.read(&headers, body, MAX_BODY_BYTES).await?;
    let encoding = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| Encoding::of(kind.to_str().ok()?))
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the Content-Type of a report is application/json or \
                 application/x-www-form-urlencoded",
            )
        })?;
    let report = Report::parse(encoding, &held.bytes)
        .map_err(|invalid| Refusal::bad(invalid.to_string()))?;
    caller.admit(&report.client_id)?;
    if !app.hosts.contains_key(&report.client_id) {
        return Err(Refusal::unknown_client(&report.client_id));
    }
    app.store.insert(report).await?;
    Ok(Json(json!({ "status": "ok" })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportsQuery {
    client_id: Option<String>,
    service: Option<String>,
    since: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

async fn reports(
    State(app): Shared,
    headers: HeaderMap,
    query: Result<Query<ReportsQuery>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    app.guard
        .admit_reader(&headers)
        .await
        .map_err(Refusal::reader)?;
    let Query(query) = query.map_err(|cause| Refusal::bad(cause.body_text()))?;
    let since = given::<f64>("since", query.since.as_deref())?;
    if !since.is_none_or(f64::is_finite) {
        return Err(Refusal::bad("since is not a finite number"));
    }
    let limit = given("limit", query.limit.as_deref())?.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::bad(format!("limit is not within 1 to {MAX_PAGE}")));
    }
    let not_empty = |text: &String| !text.is_empty();
    let query = database::Query {
        client: query.client_id.filter(not_empty).map(|id| HostId::new(&id)),
        service: query.service.filter(not_empty),
        since_ms: since.map(whole_ms),
        after: given("after", query.after.as_deref())?.unwrap_or(0),
        limit,
    };
    Ok(Json(app.store.read(query).await?))
}

/// A parameter; one without a value, as an empty field of a form sends it, is not there.
fn given<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Refusal> {
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|_| Refusal::bad(format!("{name} is not a number, or out of range")))
}

/// The whole milliseconds of a time in seconds. The nearest microsecond first: 1.123 s is a little
/// less than 1123 ms in binary, and would give back the report of that very time.
fn whole_ms(seconds: f64) -> i64 {
    ((seconds * 1e6).round() / 1e3).floor() as i64
}

async fn overview(State(app): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    app.guard
        .admit_reader(&headers)
        .await
        .map_err(Refusal::reader)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let mut text = String::from("mote collector: what was reported last (times in UTC)\n");
    for (id, host) in &*app.hosts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{} (client {id})", host.label);
        let names = host.services.keys().cloned().collect();
        let latest = app.store.latest(id.clone(), names).await?;
        for (name, report) in host.services.keys().zip(latest) {
            let _ = match report {
                Some(report) => writeln!(text, "  {name}: {}", in_short(&report, now)),
                None => writeln!(text, "  {name}: nothing yet"),
            };
        }
    }
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (REFRESH, "2"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text).into_response())
}

fn in_short(report: &Stored, now: f64) -> String {
    const MAX_CHARS: usize = 160;
    let time = report.time.unwrap_or(report.received);
    let second_of_day = time.rem_euclid(86_400.0) as u32;
    let (minutes, seconds) = (second_of_day / 60, second_of_day % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let age = now - time;
    let data = report.data.get();
    let mut short: String = data
        .chars()
        .take(MAX_CHARS)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    if short.len() < data.len() {
        short.push('…');
    }
    format!("{hours:02}:{minutes:02}:{seconds:02}, {age:.0} s ago: {short}")
}

async fn no_such_page(uri: Uri) -> Refusal {
    let sentence = format!("there is no {:?} here", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, sentence)
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let sentence = format!("{:?} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_given_out_comes_back_as_the_same_millisecond() {
        for ms in (1_795_339_484_000..1_795_339_485_000).chain([0, 1, 999]) {
            let given_out = (ms as f64 / 1000.0).to_string();
            assert_eq!(whole_ms(given_out.parse().unwrap()), ms);
        }
        assert_eq!(whole_ms(1.9996), 1999);
        assert_eq!(whole_ms(-0.5), -500);
        assert_eq!(whole_ms(1e300), i64::MAX);
    }
}
