//! Reports as agents post them and as whoever looks reads them.

use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use serde_json::json;

use super::app::Shared;
use super::refusal::Refusal;
use crate::collector::report::{Encoding, Report};
use crate::collector::settings::host::HostId;
use crate::collector::store::database::{self, MAX_PAGE, Page};

/// Largest body of a report, in bytes.
pub const MAX_BODY_BYTES: usize = 256 << 10;

const DEFAULT_PAGE: u32 = 1000;

/// `POST /api/client/service/report/`: keeps one report.
pub async fn receive(
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

/// What [`reports`] may be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportsQuery {
    client_id: Option<String>,
    service: Option<String>,
    since: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /api/reports`: those that are kept, oldest first.
pub async fn reports(
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
