//! `GET /api/series`: the history of a service.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::app::SharedApp;
use super::gaps::{Explained, explain};
use super::parameters::{given, instant};
use super::reader::{Reader, UrlQuery};
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::now::now_ms;
use crate::collector::store::history::gaps::Gap;
use crate::collector::store::history::partials::{self, Partial};
use crate::collector::store::history::series::{MAX_BINS, Question, Series, Tier};

const DEFAULT_BINS: u32 = 600;

const DEFAULT_LENGTH_MS: i64 = 3_600_000;

/// What the query may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    client_id: Option<String>,
    service: Option<String>,
    item: Option<String>,
    field: Option<String>,
    from: Option<String>,
    to: Option<String>,
    width: Option<String>,
}

/// Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Serialize)]
pub struct Answer {
    client_id: ClientName,
    service: String,
    from: f64,
    to: f64,
    /// The length of a bin, in seconds.
    step: f64,
    tier: Tier,
    /// When each bin begins.
    times: Vec<f64>,
    columns: Vec<Column>,
    columns_left_out: usize,
    gaps: Vec<Explained>,
    #[serde(skip_serializing_if = "is_zero")]
    damaged_blocks: usize,
}

/// A value a bin; none where nothing was reported.
#[derive(Serialize)]
struct Column {
    #[serde(skip_serializing_if = "String::is_empty")]
    item: String,
    field: String,
    min: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    avg: Vec<Option<f64>>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Answers with the columns of a service, each in bins of equal length.
pub async fn series(
    State(app): SharedApp,
    Reader { rules }: Reader,
    UrlQuery(query): UrlQuery<Parameters>,
) -> Result<Json<Answer>, Refusal> {
    let question = question(query, now_ms())?;
    let (client_id, service) = (question.client.clone(), question.service.clone());
    let (from_ms, to_ms) = (question.from_ms, question.to_ms);
    let Some(series) = app.store.series(question).await? else {
        let sentence = format!("client {client_id} never reported the service {service:?}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, sentence));
    };
    let host = rules.hosts.get(&client_id);
    let ordered_ms = host
        .and_then(|host| host.services.get(&service))
        .map(|it| i64::from(it.interval_ms));
    let end_ms = to_ms.min(now_ms());
    let gaps = gaps(&series, from_ms, end_ms, ordered_ms);
    let gaps = explain(&app.store, &client_id, host, &series.samples, gaps).await?;
    let times = (0..series.bins as i64).map(|bin| seconds(series.from_ms + bin * series.step_ms));
    Ok(Json(Answer {
        client_id,
        service,
        from: seconds(from_ms),
        to: seconds(to_ms),
        step: seconds(series.step_ms),
        tier: series.tier,
        times: times.collect(),
        gaps,
        columns_left_out: series.left_out.len(),
        damaged_blocks: series.damaged,
        columns: series.columns.into_iter().map(Column::of).collect(),
    }))
}

fn question(query: Parameters, now_ms: i64) -> Result<Question, Refusal> {
    let text = |name: &str, text: Option<String>| {
        let text = text.filter(|it| !it.is_empty());
        text.ok_or_else(|| Refusal::bad(format!("{name} is missing")))
    };
    let to_ms = instant("to", query.to.as_deref())?.unwrap_or(now_ms);
    let from_ms = instant("from", query.from.as_deref())?.unwrap_or(to_ms - DEFAULT_LENGTH_MS);
    if from_ms >= to_ms {
        return Err(Refusal::bad("from is not before to"));
    }
    let bins = given("width", query.width.as_deref())?.unwrap_or(DEFAULT_BINS);
    if !(1..=MAX_BINS).contains(&bins) {
        return Err(Refusal::bad(format!("width is not within 1 to {MAX_BINS}")));
    }
    Ok(Question {
        client: ClientName::from_text(&text("client_id", query.client_id)?),
        service: text("service", query.service)?,
        // An empty item is that of fields that stand in none.
        item: query.item,
        field: query.field.filter(|it| !it.is_empty()),
        from_ms,
        to_ms,
        bins,
    })
}

/// Where nothing was reported for more than 2.5 intervals: those of the orders, or else those that reports mostly have.
fn gaps(series: &Series, from_ms: i64, to_ms: i64, ordered_ms: Option<i64>) -> Vec<Gap> {
    let usual_ms = ordered_ms.or_else(|| series.samples.usual_distance());
    // Without an interval one report shows nothing.
    let usual_ms = usual_ms.unwrap_or(match series.samples.all.is_empty() {
        true => 0,
        false => i64::MAX / 5,
    });
    // Of partials only the beginning is known.
    let allowed_ms = match series.tier {
        Tier::Points => usual_ms * 5 / 2,
        Tier::Partials => (usual_ms * 5 / 2).max(2 * partials::LENGTH_MS),
    };
    series.samples.gaps(from_ms..to_ms, allowed_ms)
}

impl Column {
    fn of(((item, field), bins): ((String, String), Vec<Partial>)) -> Column {
        let each = |value: fn(&Partial) -> f64| {
            let bins = bins.iter();
            bins.map(|bin| (bin.count > 0).then(|| value(bin)))
                .collect()
        };
        Column {
            item,
            field,
            min: each(|bin| bin.min),
            max: each(|bin| bin.max),
            avg: each(|bin| bin.sum / f64::from(bin.count)),
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
