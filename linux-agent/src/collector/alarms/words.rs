//! What alarms say.

use super::message::number;
use crate::collector::lateness::{HostLateness, ReportState};
use crate::collector::settings::alarms::{AlarmRule, Figure, Limit};
use crate::collector::settings::host::Host;
use crate::collector::span;

/// Of a figure that is beyond its limit.
pub fn of_value(rule: &AlarmRule, host: &str, item: &str, value: f64, level: f64) -> String {
    let than = match rule.limit {
        Limit::Below(_) => "less",
        _ => "more",
    };
    let (value, level) = (number(value), number(level));
    if let Some(text) = &rule.text {
        return fill(text, rule, host, item, (&value, &level));
    }
    let what = match &rule.figure {
        Figure::ClockOff => return format!("its clock is off by {value} s, more than {level} s"),
        Figure::Services => {
            let are = if value == "1" {
                "service is"
            } else {
                "services are"
            };
            return format!("{value} {are} ordered of it, {than} than {level}");
        }
        Figure::Field {
            service,
            field,
            per_cpu,
            ..
        } => match per_cpu {
            true => format!("{service} {field} per CPU"),
            false => format!("{service} {field}"),
        },
    };
    match item {
        "" => format!("{what} is {value}, {than} than {level}"),
        item => format!("{what} of {item} is {value}, {than} than {level}"),
    }
}

/// Of a figure that reaches a level in this time.
pub fn of_forecast(
    rule: &AlarmRule,
    host: &str,
    item: &str,
    (value, level): (f64, f64),
    left_ms: i64,
) -> String {
    let (value, level) = (number(value), number(level));
    if let Some(text) = &rule.text {
        return fill(text, rule, host, item, (&value, &level));
    }
    let what = match &rule.figure {
        Figure::Field { service, field, .. } => format!("{service} {field}"),
        _ => rule.name.clone(),
    };
    let of_item = if item.is_empty() {
        String::new()
    } else {
        format!(" of {item}")
    };
    let left = span::in_words(left_ms);
    format!("{what}{of_item} is {value} and reaches {level} in {left} at the present rate")
}

/// Of a host that is late.
pub fn of_lateness(host: &Host, late: &HostLateness, cause: Option<&str>) -> String {
    let by = span::in_words(late.late_ms.unwrap_or(0));
    let services = host.services.keys().zip(&late.services);
    let overdue: Vec<&str> = services
        .filter(|(_, it)| it.late_ms.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let what = match (late.state, overdue.as_slice()) {
        (ReportState::Silent, _) => format!("nothing comes any more; it is late by {by}"),
        (_, [one]) => format!("{one} is late by {by}, other services report"),
        (_, [first, others @ ..]) => {
            let others = match others.len() {
                1 => "1 other service".to_owned(),
                count => format!("{count} other services"),
            };
            format!("{first} and {others} are late, by {by} at most; others report")
        }
        (_, []) => "it reports".to_owned(),
    };
    match cause {
        Some(cause) => format!("{what}; {cause}"),
        None => what,
    }
}

fn fill(
    text: &str,
    rule: &AlarmRule,
    host: &str,
    item: &str,
    (value, level): (&str, &str),
) -> String {
    let (service, field) = match &rule.figure {
        Figure::Field { service, field, .. } => (service.as_str(), field.as_str()),
        _ => ("", ""),
    };
    let mut filled = String::new();
    let mut parts = text.split('{');
    filled.push_str(parts.next().unwrap_or_default());
    // What stands in a name is never taken for a place of its own.
    for part in parts {
        let (place, rest) = part.split_once('}').unwrap_or((part, ""));
        filled.push_str(match place {
            "name" => &rule.name,
            "host" => host,
            "service" => service,
            "field" => field,
            "item" => item,
            "value" => value,
            _ => level,
        });
        filled.push_str(rest);
    }
    filled
}

/// What changed in the orders of a host; empty: nothing.
pub fn order_changes(before: &Host, now: &Host) -> String {
    const MAX_CHANGES: usize = 10;
    let every = |ms: u32| format!("every {} s", number(f64::from(ms) / 1000.0));
    let mut changes = Vec::new();
    for (name, ordered) in &now.services {
        match before.services.get(name) {
            None => changes.push(format!("{name} is new, {}", every(ordered.interval_ms))),
            Some(old) if old.plugin != ordered.plugin => {
                changes.push(format!(
                    "{name} is {} in place of {}",
                    ordered.plugin, old.plugin
                ));
            }
            Some(old) if old.interval_ms != ordered.interval_ms => {
                let (old, new) = (every(old.interval_ms), every(ordered.interval_ms));
                changes.push(format!("{name} {new} in place of {old}"));
            }
            Some(_) => {}
        }
    }
    let gone = before
        .services
        .keys()
        .filter(|name| !now.services.contains_key(*name));
    changes.extend(gone.map(|name| format!("{name} is not ordered any more")));
    let more = changes.len().saturating_sub(MAX_CHANGES);
    changes.truncate(MAX_CHANGES);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    changes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::lateness::ServiceLateness;
    use crate::collector::settings::host::OrderedService;

    #[test]
    fn one_other_service_is_and_more_are() {
        let told = |late: usize| {
            let names = ["A", "B", "C", "D"];
            let ordered = || OrderedService {
                plugin: "p".to_owned(),
                interval_ms: 1000,
            };
            let host = Host {
                services: names.map(|it| (it.to_owned(), ordered())).into(),
                ..Host::default()
            };
            let services = (0..names.len()).map(|at| ServiceLateness {
                state: ReportState::Late,
                late_ms: (at < late).then_some(65_000),
            });
            let late = HostLateness {
                state: ReportState::Late,
                late_ms: Some(65_000),
                quiet_ms: None,
                is_heard: true,
                services: services.collect(),
            };
            of_lateness(&host, &late, None)
        };
        let by = "by 1 min 5 s";
        assert_eq!(told(1), format!("A is late {by}, other services report"));
        assert_eq!(
            told(2),
            format!("A and 1 other service are late, {by} at most; others report")
        );
        assert_eq!(
            told(3),
            format!("A and 2 other services are late, {by} at most; others report")
        );
    }
}
