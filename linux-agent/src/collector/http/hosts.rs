//! `GET /api/hosts`: which hosts there are, whether they report, and what they reported last.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::app::{App, Rules, SharedApp};
use super::parameters::only;
use super::reader::{Reader, UrlQuery};
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::lateness::{ReportState, in_all};
use crate::collector::now::{now_ms, steady_ms};
use crate::collector::settings::host::Host;
use crate::collector::store::reports::Stored;
use crate::collector::store::{Unavailable, begun};

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
}

/// Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Serialize)]
pub struct Answer {
    now: f64,
    hosts: Vec<HostState>,
}

#[derive(Serialize)]
struct HostState {
    client_id: ClientName,
    label: String,
    groups: Vec<String>,
    /// The host that reports for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_by: Option<ClientName>,
    state: ReportState,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_since: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orders_fetched: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<f64>,
    services: Vec<ServiceState>,
}

#[derive(Serialize)]
struct ServiceState {
    name: String,
    plugin: String,
    interval_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    state: ReportState,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Answers with all hosts of the settings, or with one.
pub async fn hosts(
    State(app): SharedApp,
    Reader { rules }: Reader,
    UrlQuery(query): UrlQuery<Parameters>,
) -> Result<Json<Answer>, Refusal> {
    let only = only(query.client_id);
    let wanted = rules.hosts.iter();
    let wanted = wanted.filter(|(id, _)| only.as_ref().is_none_or(|only| only == *id));
    let (hosts, now_ms) = states(&app, &rules, &wanted.collect::<Vec<_>>()).await?;
    Ok(Json(Answer {
        hosts,
        now: seconds(now_ms),
    }))
}

/// What the state of a host follows from, but for the settings. While it stays the same, so does the state.
#[derive(PartialEq, Eq)]
pub struct Mark {
    /// Of each service the last report, and whether the next one is late.
    services: Vec<(Option<i64>, bool)>,
    orders_ms: Option<i64>,
    /// Whether it was refused before it was let in, if at all.
    is_refused: bool,
}

/// The mark of a host of the settings.
pub fn mark(app: &App, id: &ClientName, host: &Host) -> Mark {
    let last = |name: &str| app.store.last(id, name).map(|it| it.id);
    let lateness = app.lateness.of(id, host, last, steady_ms());
    let services = host.services.keys().zip(&lateness.services);
    let services = services.map(|(name, it)| (last(name), it.late_ms.is_some()));
    let services: Vec<_> = services.collect();
    let received = host
        .services
        .keys()
        .filter_map(|name| app.store.last(id, name));
    let last_ms = received.map(|it| it.received_ms).max();
    Mark {
        services,
        orders_ms: app.watch.orders_ms(id),
        is_refused: refused_ms(app, id, last_ms).is_some(),
    }
}

/// The state of each of these hosts, in a line of JSON.
pub async fn lines(
    app: &App,
    rules: &Rules,
    wanted: &[(&ClientName, &Host)],
) -> Result<Vec<Vec<u8>>, Unavailable> {
    let (hosts, _) = states(app, rules, wanted).await?;
    let lines = hosts.iter().map(|host| {
        // Nothing in it can fail to be written.
        let mut line = serde_json::to_vec(host).unwrap_or_default();
        // Data is as it was posted, and may have been in several lines.
        for byte in line.iter_mut().filter(|it| matches!(**it, b'\n' | b'\r')) {
            *byte = b' ';
        }
        line
    });
    Ok(lines.collect())
}

/// The state of each of these hosts, and of when it is.
async fn states(
    app: &App,
    rules: &Rules,
    wanted: &[(&ClientName, &Host)],
) -> Result<(Vec<HostState>, i64), Unavailable> {
    let services = wanted.iter().flat_map(|(id, host)| {
        let names = host.services.keys();
        names.map(|name| ((*id).clone(), name.clone()))
    });
    let mut latest = app.store.latest(services.collect()).await?.into_iter();
    let now_ms = now_ms();
    let carriers = carriers(rules);
    let hosts = wanted.iter().map(|(id, host)| {
        let reports = latest.by_ref().take(host.services.len()).collect();
        let mut state = state_of(app, id, host, reports);
        state.carried_by = carriers.get(id).map(|it| (*it).clone());
        state
    });
    let mut hosts: Vec<HostState> = hosts.collect();
    add_beginnings(app, &mut hosts).await?;
    Ok((hosts, now_ms))
}

/// When the runs began that do not say it themselves, as boards do by their `uptime`.
async fn add_beginnings(app: &App, hosts: &mut [HostState]) -> Result<(), Unavailable> {
    let asked: Vec<(String, String)> = unknown_runs(hosts)
        .map(|it| {
            let boot = it.boot.clone().unwrap_or_default();
            (it.client_id.to_string(), boot)
        })
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let begun = app
        .store
        .look_up(move |connection| begun::read(connection, &asked));
    for (host, begun_ms) in unknown_runs(hosts).zip(begun.await?) {
        host.run_since = begun_ms.map(seconds);
    }
    Ok(())
}

fn unknown_runs(hosts: &mut [HostState]) -> impl Iterator<Item = &mut HostState> {
    let hosts = hosts.iter_mut();
    hosts.filter(|it| it.run_since.is_none() && it.boot.is_some())
}

/// Who reports for each board.
fn carriers(rules: &Rules) -> BTreeMap<&ClientName, &ClientName> {
    let hosts = rules.hosts.iter();
    hosts
        .flat_map(|(id, host)| host.reports_for.iter().map(move |board| (board, id)))
        .collect()
}

fn state_of(app: &App, id: &ClientName, host: &Host, reports: Vec<Option<Stored>>) -> HostState {
    let mut newest: Option<&Stored> = None;
    let mut services = Vec::with_capacity(host.services.len());
    let last = |name: &str| app.store.last(id, name).map(|it| it.id);
    let mut lateness = app.lateness.of(id, host, last, steady_ms());
    for (service, report) in lateness.services.iter_mut().zip(&reports) {
        // One that an earlier version stored.
        if service.state == ReportState::Never && report.is_some() {
            service.state = match service.late_ms {
                Some(_) => ReportState::Late,
                None => ReportState::Reporting,
            };
        }
    }
    let all = host.services.iter().zip(&reports).zip(&lateness.services);
    for (((name, ordered), report), late) in all {
        let last_ms = app.store.last(id, name).map(|last| last.received_ms);
        let last_ms = last_ms.or(report.as_ref().map(|it| (it.received * 1000.0) as i64));
        if let Some(report) = report
            && newest.is_none_or(|it| it.received < report.received)
        {
            newest = Some(report);
        }
        let origin = host.origins.get(name);
        services.push(ServiceState {
            name: name.clone(),
            plugin: ordered.plugin.clone(),
            interval_s: f64::from(ordered.interval_ms) / 1000.0,
            template: origin.map(|it| it.template.clone()),
            group: origin.and_then(|it| it.group.clone()),
            state: late.state,
            last: last_ms.map(seconds),
            time: report.as_ref().and_then(|it| it.time),
            data: report.as_ref().map(|it| it.data.clone()),
        });
    }
    let last = services.iter().filter_map(|it| it.last).reduce(f64::max);
    HostState {
        client_id: id.clone(),
        label: host.label.clone(),
        groups: host.groups.clone(),
        carried_by: None,
        state: in_all(&lateness.services),
        late_s: lateness.late_ms.map(seconds),
        last,
        boot: newest.and_then(|it| it.boot.clone()),
        // `uptime` is that of the board.
        run_since: newest.and_then(|it| Some(it.time.unwrap_or(it.received) - it.uptime?)),
        orders_fetched: app.watch.orders_ms(id).map(seconds),
        refused: refused_ms(app, id, last.map(|it| (it * 1000.0) as i64)).map(seconds),
        services,
    }
}

/// When a host was refused last, if nothing of it was taken since: neither a report, nor the question for its orders.
fn refused_ms(app: &App, id: &ClientName, last_ms: Option<i64>) -> Option<i64> {
    let taken_ms = last_ms.max(app.watch.orders_ms(id));
    let refused_ms = app.watch.refused_ms(id)?;
    taken_ms
        .is_none_or(|it| it < refused_ms)
        .then_some(refused_ms)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
