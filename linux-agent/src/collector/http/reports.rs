//! Reports, as agents post them and readers get them.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::app::{App, Peer, Rules, SharedApp};
use super::parameters::{given, only, whole_ms};
use super::reader::{Reader, UrlQuery};
use super::refusal::Refusal;
use crate::collector::auth::known::Caller;
use crate::collector::now::now_ms;
use crate::collector::report::Report;
use crate::collector::settings::host::Host;
use crate::collector::store::reports::{self, MAX_PAGE, Page};
use crate::collector::store::{Arrived, StoreOutcome, Unavailable};
use crate::collector::watch::{Finding, ReportArrival};
use crate::protocol::{MAX_NAME, UNKNOWN_PLUGIN, is_text};

/// Largest body of a report, in bytes.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// A client may report this many services that nobody orders.
pub const MAX_SERVICES_OF_CLIENT: usize = 1024;

const DEFAULT_PAGE: u32 = 1000;

/// `POST /api/client/service/report/`: keeps one report.
pub async fn receive(
    State(app): SharedApp,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, Refusal> {
    let rules = app.rules();
    let (caller, body) = caller(&app, &rules, &headers, body).await?;
    let held = app.room.read(&headers, body, MAX_BODY_BYTES).await?;
    let report = Report::parse(&held.bytes).map_err(|invalid| Refusal::bad(invalid.to_string()))?;
    let received_ms = now_ms();
    admit(&app, &rules, &caller, &report, received_ms, peer)?;
    let arrived = Arrived {
        report,
        received_ms,
    };
    match app.store.insert(vec![arrived], held.room).await?.first() {
        Some(StoreOutcome::Stored) => Ok(Json(json!({ "status": "ok" }))),
        _ => Err(Unavailable.into()),
    }
}

/// Who posts. Gives the body back, unless that is nobody who may.
pub async fn caller(
    app: &App,
    rules: &Rules,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Caller, Body), Refusal> {
    // Without a valid token no body is kept or parsed. It is read to its end anyway, since the client would not see
    // the answer before.
    match rules.guard.caller(headers).await {
        Ok(caller) => Ok((caller, body)),
        Err(denied) => {
            let _ = app.room.read(headers, body, 0).await;
            Err(denied.into())
        }
    }
}

/// Whether a report may be kept. If so, the log hears what it shows.
pub fn admit(
    app: &App,
    rules: &Rules,
    caller: &Caller,
    report: &Report,
    received_ms: i64,
    peer: IpAddr,
) -> Result<(), Refusal> {
    let client = &report.client_id;
    caller
        .admit(client)
        .map_err(|denied| Refusal::from(denied).of(client))?;
    let Some(host) = rules.hosts.get(client) else {
        return Err(Refusal::unknown_client(client));
    };
    let (service, is_ordered) = (
        &report.service_name,
        host.services.contains_key(&report.service_name),
    );
    if !is_ordered
        && app.store.services_of(client) >= MAX_SERVICES_OF_CLIENT
        && app.store.last(client, service).is_none()
    {
        let sentence = format!(
            "client {client} has reported {MAX_SERVICES_OF_CLIENT} services already, and {service:?} is neither one of \
             them nor ordered"
        );
        return Err(Refusal::bad(sentence).of(client));
    }
    say_what_it_shows(app, host, report, received_ms, peer);
    app.alarms.note(report);
    Ok(())
}

/// What is wrong with the host goes to the log.
fn say_what_it_shows(app: &App, host: &Host, report: &Report, received_ms: i64, peer: IpAddr) {
    let (client, label) = (&report.client_id, &host.label);
    let say = |about: &str, line: String| app.notices.say(format!("{about} {client}"), line);
    let unknown = report.error.as_deref();
    let unknown = unknown.and_then(|error| error.strip_suffix(UNKNOWN_PLUGIN));
    if let Some(plugin) = unknown.filter(|plugin| is_text(plugin, 2 * MAX_NAME)) {
        let service = &report.service_name;
        let line = format!(
            "host `{label}` (client {client}): service {service:?}: {plugin}{UNKNOWN_PLUGIN}"
        );
        app.notices.say(format!("plugin {client} {service}"), line);
    }
    let Some(time) = report.time else { return };
    let arrival = ReportArrival {
        boot: report.boot.as_deref(),
        sampled_ms: (time * 1000.0) as i64,
        received_ms,
        address: peer,
    };
    for finding in app.watch.note(client, &arrival) {
        match finding {
            Finding::Ahead(ms) => say(
                "ahead",
                format!(
                    "host `{label}` (client {client}): its clock is {} s ahead of this one",
                    ms / 1000
                ),
            ),
            Finding::Behind(ms) => say(
                "behind",
                format!(
                    "host `{label}` (client {client}): its clock is {} s behind this one, or all its reports come so late",
                    ms / 1000
                ),
            ),
            Finding::Copied([one, two]) => say(
                "copied",
                format!(
                    "host `{label}` (client {client}): two agents report with this id, from {} (boot {}) and from {} \
                     (boot {}); if one machine is a copy of the other, give it a client_id of its own",
                    one.address, one.boot, two.address, two.boot
                ),
            ),
        }
    }
}

/// The parameters of [`kept`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportsQuery {
    client_id: Option<String>,
    service: Option<String>,
    since: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /api/reports`: the reports that are kept, oldest first.
pub async fn kept(
    State(app): SharedApp,
    _: Reader,
    UrlQuery(query): UrlQuery<ReportsQuery>,
) -> Result<Json<Page>, Refusal> {
    let since = given::<f64>("since", query.since.as_deref())?;
    if !since.is_none_or(f64::is_finite) {
        return Err(Refusal::bad("since is not a finite number"));
    }
    let limit = given("limit", query.limit.as_deref())?.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::bad(format!("limit is not within 1 to {MAX_PAGE}")));
    }
    let query = reports::Query {
        client: only(query.client_id),
        service: query.service.filter(|it| !it.is_empty()),
        since_ms: since.map(whole_ms),
        after: given("after", query.after.as_deref())?.unwrap_or(0),
        limit,
    };
    Ok(Json(app.store.read(query).await?))
}
