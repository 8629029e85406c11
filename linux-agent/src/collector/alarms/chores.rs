//! What is done less often than once a second: accounts, forecasts, old rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::forecast;
use super::moment::Now;
use super::records;
use super::state::SharedAlarms;
use crate::client_name::ClientName;
use crate::collector::settings::alarms::{AlarmRule, Figure, Limit};
use crate::collector::store::Store;
use crate::collector::store::history::series::Question;

/// How often old rows are removed, in milliseconds.
const TRIM_EVERY_MS: i64 = 3_600_000;

/// How often each forecast is made, in milliseconds.
const FORECASTS_EVERY_MS: i64 = 600_000;

/// How often accounts are looked at, in milliseconds.
const ACCOUNTS_EVERY_MS: i64 = 60_000;

/// What is done less often.
#[derive(Default)]
pub struct Chores {
    accounts_ms: i64,
    trimmed_ms: i64,
    forecasts_ms: i64,
    /// What is left of a round of forecasts.
    forecasts: Vec<(ClientName, Arc<AlarmRule>)>,
}

impl Chores {
    pub async fn step(&mut self, shared: &SharedAlarms, store: &Store, now: Now) {
        let is_due =
            |last_ms: i64, every_ms: i64| last_ms == 0 || now.steady_ms - last_ms >= every_ms;
        let hosts = Arc::clone(&shared.lock().engine.hosts);
        if is_due(self.accounts_ms, ACCOUNTS_EVERY_MS) {
            self.accounts_ms = now.steady_ms;
            let clients: Vec<ClientName> = hosts.keys().cloned().collect();
            let asked = clients.clone();
            let read = store.look_up(move |connection| records::read_gaps(connection, &asked));
            if let Ok(all) = read.await {
                let mut state = shared.lock();
                for (client, runs) in clients.iter().zip(all) {
                    state.engine.note_gaps(client, &runs, now);
                }
            }
        }
        if is_due(self.trimmed_ms, TRIM_EVERY_MS) {
            self.trimmed_ms = now.steady_ms;
            // Tried again in an hour.
            let _ = store.change(records::trim).await;
        }
        if is_due(self.forecasts_ms, FORECASTS_EVERY_MS) && self.forecasts.is_empty() {
            self.forecasts_ms = now.steady_ms;
            let all = hosts.iter().flat_map(|(client, host)| {
                let rules = host
                    .alarms
                    .iter()
                    .filter(|it| matches!(it.limit, Limit::Reaches { .. }));
                rules.map(|rule| (client.clone(), Arc::clone(rule)))
            });
            self.forecasts = all.collect();
        }
        // A few at a time, so that nothing else waits.
        for _ in 0..4 {
            let Some((client, rule)) = self.forecasts.pop() else {
                break;
            };
            forecast_of(shared, store, client, &rule, now).await;
        }
    }
}

async fn forecast_of(
    shared: &SharedAlarms,
    store: &Store,
    client: ClientName,
    rule: &AlarmRule,
    now: Now,
) {
    let (
        Figure::Field {
            service,
            field,
            item: pattern,
            ..
        },
        Limit::Reaches { level, .. },
    ) = (&rule.figure, rule.limit)
    else {
        return;
    };
    let question = Question {
        client: client.clone(),
        service: service.clone(),
        item: None,
        field: Some(field.clone()),
        from_ms: now.unix_ms - forecast::PAST_MS,
        to_ms: now.unix_ms,
        bins: forecast::BINS,
    };
    let Ok(Some(series)) = store.series(question).await else {
        return;
    };
    let mut left = BTreeMap::new();
    for ((item, _), bins) in &series.columns {
        if !pattern.matches(item) {
            continue;
        }
        let values = bins.iter().enumerate().filter(|(_, bin)| bin.count > 0);
        let values = values.map(|(index, bin)| {
            let at_ms = series.from_ms + series.step_ms * index as i64;
            (at_ms, bin.sum / f64::from(bin.count))
        });
        let values: Vec<_> = values.collect();
        if let Some((_, value)) = values.last() {
            left.insert(item.clone(), (*value, forecast::time_left(&values, level)));
        }
    }
    shared
        .lock()
        .engine
        .note_forecast(&client, rule, &left, now);
}
