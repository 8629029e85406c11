//! `mote alarms`, `mote silence` and `mote events`: what is wrong, and what happened.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use super::ask::RunningCollector;
use super::instant::{lasting, written, zone};
use super::outcome::{Failed, exit, failed, say, say_raw};
use super::source::Source;
use super::table::TextTable;
use crate::collector::span;

/// A day, in seconds.
const DAY_S: f64 = 86_400.0;

/// Shows what is wrong, and who heard of it.
pub fn alarms(source: &Source, with_history: bool, json: bool) -> Result<(), Failed> {
    let collector = RunningCollector::of(source)?;
    if json {
        return say(&collector.get_text("/api/alarms")?);
    }
    let answer: Value = collector.get("/api/alarms")?;
    let now = number(&answer, "now");
    let (active, history) = (list(&answer, "active"), list(&answer, "history"));
    let has_receivers = !list(&answer, "notify").is_empty();
    if active.is_empty() {
        say("no alarm is active")?;
    } else {
        say_raw(&table("SINCE", active, now, has_receivers))?;
    }
    for it in list(&answer, "silences") {
        say(&printable(&format!(
            "silence {}: {} of {}, by {}, until {}: {}",
            it["id"],
            it["alarm"].as_str().unwrap_or("all alarms"),
            text(it, "host"),
            text(it, "by"),
            written(number(it, "until")),
            text(it, "reason")
        )))?;
    }
    if !has_receivers {
        say(
            "nobody is told of alarms: add a table such as [notify.ops] to the collector's settings",
        )?;
    }
    if with_history && !history.is_empty() {
        say_raw(&format!(
            "\n{}",
            table("BEGAN", history, now, has_receivers)
        ))?;
    }
    say(&format!("Times are in {}.", zone()))
}

fn table(since: &str, alarms: &[Value], now: f64, has_receivers: bool) -> String {
    let mut table = TextTable::new(&[
        "HOST", "ALARM", "SEVERITY", "STATE", since, "LASTED", "TOLD", "WHAT",
    ]);
    for it in alarms {
        let item = text(it, "item");
        let end = it["ended"].as_f64().unwrap_or(now);
        let since = number(it, "since");
        table.add([
            text(it, "host").to_owned(),
            format!("{} {item}", text(it, "name")).trim_end().to_owned(),
            text(it, "severity").to_owned(),
            match it.get("silence") {
                Some(_) => format!("{}, silenced", text(it, "state")),
                None => text(it, "state").to_owned(),
            },
            written(since),
            lasting(end - since),
            told(it, has_receivers),
            text(it, "text").to_owned(),
        ]);
    }
    table.text()
}

/// Whether the messages arrived. One about many alarms gathers before it is sent.
fn told(alarm: &Value, has_receivers: bool) -> String {
    let sent = list(alarm, "sent");
    let is_open = alarm.get("ended").is_none() && alarm.get("silence").is_none();
    let count = |state: &str| sent.iter().filter(|it| text(it, "state") == state).count();
    match (sent.len(), count("arrived"), count("waiting")) {
        (0, ..) if has_receivers && is_open => "nobody yet".to_owned(),
        (0, ..) => "nobody".to_owned(),
        (all, arrived, _) if all == arrived => "arrived".to_owned(),
        (all, arrived, 0) => format!("{arrived} of {all} arrived"),
        (_, _, waiting) => format!("{waiting} on the way"),
    }
}

/// Silences a host, or one alarm of it.
pub fn silence(
    source: &Source,
    host: &str,
    length: Duration,
    reason: &str,
    alarm: Option<&str>,
) -> Result<(), Failed> {
    let wish = json!({
        "client_id": host,
        "alarm": alarm,
        "for_s": length.as_secs(),
        "reason": reason,
    });
    let told =
        RunningCollector::of(source)?.call(Method::POST, "/api/silences", &wish.to_string())?;
    let silence = read(&told)?;
    say(&printable(&format!(
        "silence {}: no messages about {} until {}; `mote silence --end {}` ends it",
        silence["id"],
        text(&silence, "host"),
        written(number(&silence, "until")),
        silence["id"]
    )))
}

/// Ends a silence.
pub fn end_silence(source: &Source, id: u64) -> Result<(), Failed> {
    let path = format!("/api/silences/{id}");
    let ended = read(&RunningCollector::of(source)?.call(Method::DELETE, &path, "")?)?;
    say(&printable(&format!(
        "silence {id} of {} is over",
        text(&ended, "host")
    )))
}

/// Shows what happened, the newest last.
pub fn events(
    source: &Source,
    host: Option<&str>,
    from: Option<f64>,
    to: Option<f64>,
    json: bool,
) -> Result<(), Failed> {
    let now = crate::system::clock::unix_ms() as f64 / 1000.0;
    let from = from.unwrap_or_else(|| to.unwrap_or(now) - DAY_S).max(0.0);
    let mut path = format!("/api/events?limit=1000&from={from}");
    if let Some(to) = to {
        path.push_str(&format!("&to={to}"));
    }
    if let Some(host) = host {
        let host = percent_encoding::utf8_percent_encode(host, percent_encoding::NON_ALPHANUMERIC);
        path.push_str(&format!("&client_id={host}"));
    }
    let collector = RunningCollector::of(source)?;
    let told = collector.get_text(&path)?;
    let answer = read(&told)?;
    if let Some(host) = host {
        is_known(&collector, host, &answer)?;
    }
    if json {
        return say(&told);
    }
    let mut table = TextTable::new(&["WHEN", "HOST", "KIND", "WHAT"]);
    for it in list(&answer, "events").iter().rev() {
        table.add([
            written(number(it, "at")),
            text(it, "host").to_owned(),
            text(it, "kind").to_owned(),
            text(it, "text").to_owned(),
        ]);
    }
    if table.is_empty() {
        return say("nothing happened");
    }
    say_raw(&table.text())?;
    if answer.get("next").is_some() {
        say("There are earlier ones; say --to for those.")?;
    }
    say(&format!("Times are in {}.", zone()))
}

/// Hosts that the settings no longer name have events too. Those of the collector come with those of any host.
fn is_known(collector: &RunningCollector, name: &str, events: &Value) -> Result<(), Failed> {
    let own = list(events, "events");
    if own.iter().any(|it| it.get("client_id").is_some()) {
        return Ok(());
    }
    let hosts: Value = collector.get("/api/hosts")?;
    let hosts = list(&hosts, "hosts");
    let is_meant = |it: &Value| {
        text(it, "label") == name || it["client_id"].to_string().trim_matches('"') == name
    };
    if hosts.iter().any(is_meant) {
        return Ok(());
    }
    let sentence = format!(
        "the settings have no host {name:?}, and nothing happened to one in this time; `mote hosts` shows those there are"
    );
    Err(failed(exit::USAGE, sentence))
}

/// A length of time on the command line.
pub fn length(text: &str, most: Duration) -> Result<Duration, String> {
    span::parse(text, Duration::from_secs(1)..=most)
}

fn read(answer: &str) -> Result<Value, Failed> {
    serde_json::from_str(answer).map_err(|cause| {
        let sentence =
            format!("the collector's answer is not one that this version knows: {cause}");
        failed(exit::UNAVAILABLE, sentence)
    })
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

/// Names from outside move no cursor.
fn printable(text: &str) -> String {
    let chars = text.chars();
    chars
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}
