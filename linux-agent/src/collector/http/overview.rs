//! `GET /`: what was reported last, for people: the page for browsers, text for others.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderMap, REFRESH, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use super::app::SharedApp;
use super::reader::Reader;
use super::refusal::Refusal;
use crate::collector::page;
use crate::collector::store::reports::Stored;
use crate::system::clock;

/// Answers with the page, or with text.
pub async fn overview(
    State(app): SharedApp,
    headers: HeaderMap,
    reader: Result<Reader, Refusal>,
) -> Result<Response, Refusal> {
    // The document holds nothing of the hosts, and has the form to log in. Where there is only the token of readers, the
    // browser asks for that.
    if page::is_wanted(&headers)
        && !matches!(&reader, Err(refusal) if refusal.asks_for_password())
        && let Some(document) = page::document(&headers)
    {
        return Ok(document);
    }
    let Reader { rules } = reader?;
    let now = clock::unix_ms() as f64 / 1000.0;
    let mut text = String::from("mote collector: what was reported last (times in UTC)\n");
    for (id, host) in &*rules.hosts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{} (client {id})", host.label);
        let services = host.services.keys().map(|name| (id.clone(), name.clone()));
        let latest = app.store.latest(services.collect()).await?;
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
        (VARY, "Accept"),
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
