//! What people are told: a title, a text, and the alarms that it is about.

use serde::{Deserialize, Serialize};

use super::alarm::AlarmRow;
use crate::client_name::ClientName;
use crate::collector::settings::alarms::Severity;

/// At most this many hosts or alarms are named in a message; the rest are counted.
pub const MAX_NAMED: usize = 20;

/// Why it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// An alarm fires.
    Fired,
    /// It fires still.
    Repeat,
    /// It is over.
    Cleared,
    /// It comes and goes.
    Flapping,
    /// Many hosts are late at once.
    Storm,
    /// That is over.
    Over,
    /// Many alarms at once.
    Many,
}

impl MessageKind {
    /// As JSON and the database have it.
    pub fn name(self) -> &'static str {
        match self {
            MessageKind::Fired => "fired",
            MessageKind::Repeat => "repeat",
            MessageKind::Cleared => "cleared",
            MessageKind::Flapping => "flapping",
            MessageKind::Storm => "storm",
            MessageKind::Over => "over",
            MessageKind::Many => "many",
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Why it is sent.
    pub kind: MessageKind,
    /// The worst of its alarms.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Some more.
    pub text: String,
    /// What it is about.
    pub alarms: Vec<Brief>,
    /// Who is to have it; nobody: everybody.
    pub notify: Vec<String>,
}

/// An alarm, as a message has it. Times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Brief {
    pub id: i64,
    pub name: String,
    pub client_id: Option<ClientName>,
    pub host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub item: String,
    pub severity: Severity,
    pub since: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    pub text: String,
}

impl Brief {
    /// Of an alarm of the host that is called `label`.
    pub fn of(row: &AlarmRow, label: &str) -> Brief {
        Brief {
            id: row.id,
            name: row.name.clone(),
            client_id: row.client.clone(),
            host: label.to_owned(),
            item: row.item.clone(),
            severity: row.severity,
            since: row.began_ms as f64 / 1000.0,
            ended: row.ended_ms.map(|it| it as f64 / 1000.0),
            value: row.value,
            limit: row.level,
            text: row.text.clone(),
        }
    }

    /// `web1: disk_full /home`
    fn what(&self) -> String {
        match self.item.as_str() {
            "" => format!("{}: {}", self.host, self.name),
            item => format!("{}: {} {item}", self.host, self.name),
        }
    }
}

/// Of one alarm.
pub fn single(kind: MessageKind, brief: Brief, notify: Vec<String>) -> Message {
    let (severity, what) = (brief.severity, brief.what());
    let title = match kind {
        MessageKind::Cleared => format!("[cleared] {what}"),
        MessageKind::Repeat => format!("[{}, still] {what}", severity.name()),
        MessageKind::Flapping => format!("[flapping] {what}"),
        _ => format!("[{}] {what}", severity.name()),
    };
    let text = match kind {
        MessageKind::Cleared => format!("Over. It was: {}", brief.text),
        MessageKind::Flapping => format!(
            "{} It comes and goes; nothing more is said of it until it has stayed the same for half an hour.",
            brief.text
        ),
        _ => brief.text.clone(),
    };
    Message {
        kind,
        severity,
        title: in_one_line(&title),
        text,
        alarms: vec![brief],
        notify,
    }
}

/// Of many alarms, with a sentence before them.
pub fn joint(kind: MessageKind, title: &str, sentence: &str, alarms: Vec<Brief>) -> Message {
    let named = alarms.iter().take(MAX_NAMED);
    let mut lines: Vec<String> = named
        .map(|it| format!("{}: {}", it.what(), it.text))
        .collect();
    if alarms.len() > MAX_NAMED {
        lines.push(format!("and {} more", alarms.len() - MAX_NAMED));
    }
    let severity = alarms.iter().map(|it| it.severity).max();
    Message {
        kind,
        severity: severity.unwrap_or(Severity::Info),
        title: in_one_line(title),
        text: std::iter::once(sentence.to_owned())
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n"),
        alarms,
        notify: Vec::new(),
    }
}

/// Names from outside stay in their line.
pub fn in_one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// The lines of a text, one behind the other.
pub fn in_a_line(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines() {
        joined.push_str(match joined.chars().next_back() {
            None => "",
            Some('.' | ':' | ';') => " ",
            Some(_) => "; ",
        });
        joined.push_str(line);
    }
    joined
}

/// A number as people write it: three digits behind the point at most, and no zeros at the end.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_one_without_two_stops() {
        for (text, line) in [
            ("", ""),
            ("It is late.", "It is late."),
            (
                "Both are late.\nweb: late\ndb: late",
                "Both are late. web: late; db: late",
            ),
            ("Still late:\nweb: late", "Still late: web: late"),
        ] {
            assert_eq!(in_a_line(text), line);
        }
    }

    #[test]
    fn numbers_have_no_zeros_at_their_end() {
        for (value, text) in [
            (90.0, "90"),
            (0.5, "0.5"),
            (1.0 / 3.0, "0.333"),
            (-2.10, "-2.1"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
