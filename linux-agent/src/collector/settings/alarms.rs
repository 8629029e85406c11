//! `[alarms.NAME]`, of all hosts and in templates: when a figure of a host is worth a word.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use super::rules::truth;
use crate::collector::span;
use crate::protocol::is_text;
use crate::toml_reader::{FromTable, Given, Table, TomlError, Value};

/// Alarms that are there without a setting.
pub const BUILT_IN: [&str; 3] = ["late", "lost", "collector"];

/// Those of them that a host has.
pub const OF_A_HOST: [&str; 2] = ["late", "lost"];

/// At most this many alarms of one host.
pub const MAX_ALARMS: usize = 64;

/// The longest text of an alarm, in bytes.
pub const MAX_TEXT: usize = 500;

/// What stands in a text for what is only known later.
const PLACES: [&str; 7] = ["name", "host", "service", "field", "item", "value", "limit"];

const SPAN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// When a figure of a host is worth a word.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmRule {
    /// The name of its table.
    pub name: String,
    /// Of what.
    pub figure: Figure,
    /// Beyond what.
    pub limit: Limit,
    /// What ends it: as the limit, but on the better side of this.
    pub clear: f64,
    /// For how long without a break, in milliseconds.
    pub hold_ms: i64,
    /// How bad it is.
    pub severity: Severity,
    /// What it says, with places such as `{value}`.
    pub text: Option<String>,
    /// The names of those who hear of it; none: everybody.
    pub notify: Vec<String>,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A number in reports.
    Field {
        /// Of this service.
        service: String,
        /// Of this name.
        field: String,
        /// Of the items that this matches.
        item: Pattern,
        /// Divided by the number of CPUs.
        per_cpu: bool,
    },
    /// By how many seconds the host's clock is off, as the collector sees it.
    ClockOff,
    /// How many services are ordered of the host.
    Services,
}

/// A name in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// What a figure must not be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// On its way to this level, so that it is there within this time at the present rate.
    Reaches { level: f64, within_ms: i64 },
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be mended.
    Critical,
}

impl Severity {
    const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// As settings and messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl Pattern {
    /// Whether it matches a whole name.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        // The first part stands at the beginning, the last at the end, the others somewhere in between, in order.
        let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        let Some(mut rest) = rest.strip_suffix(last) else {
            return false;
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

/// A table as it is written.
pub struct AlarmTable {
    service: Option<String>,
    field: Option<String>,
    item: Option<String>,
    per_cpu: bool,
    figure: Option<Figure>,
    above: Option<f64>,
    below: Option<f64>,
    reaches: Option<f64>,
    within: Option<Duration>,
    clear: Option<f64>,
    hold: Option<Duration>,
    severity: Option<Severity>,
    text: Option<String>,
    notify: Vec<String>,
}

impl FromTable for AlarmTable {
    fn from_table(table: &Table<'_>) -> Result<AlarmTable, TomlError> {
        Ok(AlarmTable {
            service: table.get("service", |it| name(it, 1))?,
            field: table.get("field", |it| name(it, 1))?,
            item: table.get("item", |it| name(it, 0))?,
            per_cpu: table.get("per_cpu", truth)?.unwrap_or(false),
            figure: table.get("figure", figure)?,
            above: table.get("above", number)?,
            below: table.get("below", number)?,
            reaches: table.get("reaches", number)?,
            within: table.get("within", length)?,
            clear: table.get("clear", number)?,
            hold: table.get("for", length)?,
            severity: table.get("severity", severity)?,
            text: table.get("text", text)?,
            notify: table.list("notify", |it| name(it, 1))?,
        })
    }
}

impl AlarmTable {
    /// Who is to hear of it.
    pub fn notify(&self) -> &[String] {
        &self.notify
    }

    /// What it means. `key` is its place in the file.
    pub fn rule(&self, name: &str, key: &str, given: &Given) -> Result<AlarmRule, TomlError> {
        let broken = |last: &str, rule: &str| Err(given.invalid(&format!("{key}.{last}"), rule));
        let figure = match (&self.figure, &self.service, &self.field) {
            (Some(figure), None, None) if self.item.is_none() && !self.per_cpu => figure.clone(),
            (None, Some(service), Some(field)) => Figure::Field {
                service: service.clone(),
                field: field.clone(),
                // An item says which; without one the field is that of the service itself.
                item: Pattern(self.item.clone().unwrap_or_default()),
                per_cpu: self.per_cpu,
            },
            (None, None, _) => {
                return broken(
                    "service",
                    "is missing: name the service and the field, or a figure",
                );
            }
            (None, Some(_), None) => {
                return broken(
                    "field",
                    "is missing: name the number in reports of the service",
                );
            }
            (Some(_), _, _) => {
                return broken(
                    "figure",
                    "cannot be there beside service, field, item or per_cpu; leave either out",
                );
            }
        };
        let limit = match (self.above, self.below, self.reaches, self.within) {
            (Some(level), None, None, None) => Limit::Above(level),
            (None, Some(level), None, None) => Limit::Below(level),
            (None, None, Some(level), Some(within)) => Limit::Reaches {
                level,
                within_ms: whole_ms(within),
            },
            _ => {
                return broken(
                    "above",
                    "or `below`, or `reaches` with `within`, must be there, and one of them only",
                );
            }
        };
        if matches!(limit, Limit::Reaches { .. })
            && !matches!(figure, Figure::Field { per_cpu: false, .. })
        {
            return broken("reaches", "needs a field of a service, without per_cpu");
        }
        let clear = match (limit, self.clear) {
            (Limit::Above(level), clear) if clear.is_none_or(|it| it <= level) => {
                clear.unwrap_or(level)
            }
            (Limit::Below(level), clear) if clear.is_none_or(|it| it >= level) => {
                clear.unwrap_or(level)
            }
            (Limit::Reaches { .. }, None) => 0.0,
            (Limit::Above(_), _) => return broken("clear", "must not be more than `above`"),
            (Limit::Below(_), _) => return broken("clear", "must not be less than `below`"),
            (Limit::Reaches { .. }, _) => {
                return broken("clear", "goes with `above` and `below` only");
            }
        };
        Ok(AlarmRule {
            name: name.to_owned(),
            figure,
            limit,
            clear,
            hold_ms: self.hold.map_or(0, whole_ms),
            severity: self.severity.unwrap_or(Severity::Warning),
            text: self.text.clone(),
            notify: self.notify.clone(),
        })
    }
}

fn whole_ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn name(value: &Value, least: usize) -> Result<String, String> {
    let name = value
        .as_str()
        .filter(|it| it.len() >= least && is_text(it, 255));
    name.map(str::to_owned).ok_or_else(|| {
        format!("must be text of {least} to 255 bytes in quotes, without control characters")
    })
}

fn number(value: &Value) -> Result<f64, String> {
    let number = value.as_number().filter(|it| it.is_finite());
    number.ok_or_else(|| "must be a number".to_owned())
}

fn length(value: &Value) -> Result<Duration, String> {
    span::parse(value.as_str().unwrap_or_default(), SPAN)
}

fn severity(value: &Value) -> Result<Severity, String> {
    let severity = value.as_str().and_then(Severity::of);
    severity.ok_or_else(|| "must be \"info\", \"warning\" or \"critical\"".to_owned())
}

fn figure(value: &Value) -> Result<Figure, String> {
    match value.as_str() {
        Some("clock_off_s") => Ok(Figure::ClockOff),
        Some("services") => Ok(Figure::Services),
        _ => Err("must be \"clock_off_s\" or \"services\"".to_owned()),
    }
}

/// What stands in braces must be known, so that a slip of the pen shows here and not in a message at night.
fn text(value: &Value) -> Result<String, String> {
    let text = value
        .as_str()
        .filter(|it| !it.is_empty() && is_text(it, MAX_TEXT));
    let text = text
        .ok_or_else(|| format!("must be text of 1 to {MAX_TEXT} bytes in quotes, in one line"))?;
    for part in text.split('{').skip(1) {
        let name = part.split_once('}').map(|(name, _)| name);
        if !name.is_some_and(|it| PLACES.contains(&it)) {
            let places = PLACES.map(|it| format!("{{{it}}}")).join(", ");
            return Err(format!(
                "has braces that stand for nothing; there are {places}"
            ));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("*", "/home", true),
            ("/home", "/home", true),
            ("/home", "/home2", false),
            ("/home*", "/home2", true),
            ("*/home", "/srv/home", true),
            ("/a*b*c", "/aXbYc", true),
            ("/a*b*c", "/aXcYb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(
                Pattern(pattern.to_owned()).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
