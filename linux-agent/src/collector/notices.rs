//! What the log says about clients: who was refused, whose clock is wrong. One line each, and never more than a
//! person can read.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The same about the same client is said once in this time. Repetitions are counted.
pub use crate::system::fault::SAY_AGAIN;

/// At most this many lines in [`SAY_AGAIN`]. Further ones are counted.
pub const MAX_LINES: u64 = 60;

/// A line has at most this many characters, since clients choose some of its words.
const MAX_LINE: usize = 500;

/// At most this many lines are remembered.
const MAX_REMEMBERED: usize = 1024;

/// Says what clients do, within these limits.
#[derive(Default)]
pub struct Notices(Mutex<Said>);

#[derive(Default)]
struct Said {
    /// When each was said, and how often it came since.
    last: HashMap<String, (Instant, u64)>,
    /// When the lines below began to be counted.
    began: Option<Instant>,
    lines: u64,
    left_out: u64,
}

impl Notices {
    /// Says `line`, unless a line with the same `about` was said recently.
    pub fn say(&self, about: String, line: impl Display) {
        // The counts are right even if a thread panicked.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in said.lines(about, line, Instant::now()) {
            log::warn!("{line}");
        }
    }
}

impl Said {
    fn lines(&mut self, about: String, line: impl Display, now: Instant) -> Vec<String> {
        let mut lines = self.begin(now);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < SAY_AGAIN;
        let more = match self.last.get_mut(&about) {
            Some((at, more)) if is_recent(*at) => {
                *more += 1;
                return lines;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        if self.lines >= MAX_LINES {
            if self.left_out == 0 {
                lines.push(format!(
                    "{MAX_LINES} lines about clients in a minute; what follows in it is only counted"
                ));
            }
            self.left_out += 1;
            return lines;
        }
        if self.last.len() >= MAX_REMEMBERED {
            self.last.retain(|_, (at, _)| is_recent(*at));
        }
        if self.last.len() < MAX_REMEMBERED {
            self.last.insert(about, (now, 0));
        }
        self.lines += 1;
        let line = in_one_line(&line.to_string());
        lines.push(match more {
            0 => line,
            more => format!("{line} ({more} times more since this was said)"),
        });
        lines
    }

    /// Starts a new minute if one is over. Returns what to say about the last.
    fn begin(&mut self, now: Instant) -> Vec<String> {
        let is_over = |began| now.saturating_duration_since(began) >= SAY_AGAIN;
        if !self.began.is_none_or(is_over) {
            return Vec::new();
        }
        self.began = Some(now);
        self.lines = 0;
        match std::mem::take(&mut self.left_out) {
            0 => Vec::new(),
            count => vec![format!("{count} lines about clients were left out")],
        }
    }
}

fn in_one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(MAX_LINE)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_client_says_stays_in_one_line() {
        let long = format!("a\nmote: b\u{1b}[2J{}", "é".repeat(1000));
        let mut said = Said::default();
        let lines = said.lines(String::new(), &long, Instant::now());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("a mote: b [2J"), "{}", lines[0]);
        assert_eq!(lines[0].chars().count(), MAX_LINE + 1);
    }

    /// What is said of `events`, each with its second.
    fn said(events: &[(u64, &str)]) -> Vec<String> {
        let start = Instant::now();
        let mut said = Said::default();
        let say = |(s, about): &(u64, &str)| {
            said.lines((*about).to_owned(), about, start + Duration::from_secs(*s))
        };
        events.iter().flat_map(say).collect()
    }

    #[test]
    fn the_same_is_said_once_a_minute_with_its_count() {
        let events = [
            (0, "a"),
            (1, "a"),
            (2, "b"),
            (59, "a"),
            (60, "a"),
            (61, "a"),
        ];
        assert_eq!(
            said(&events),
            ["a", "b", "a (2 times more since this was said)"]
        );
    }

    #[test]
    fn a_flood_is_counted() {
        let names: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let mut events: Vec<_> = names.iter().map(|name| (1, name.as_str())).collect();
        events.extend([(61, "x"), (121, "0")]);
        let lines = said(&events);
        assert_eq!(lines.len(), 60 + 1 + 2 + 1);
        assert!(lines[60].starts_with("60 lines"), "{}", lines[60]);
        assert_eq!(lines[61], "4940 lines about clients were left out");
        assert_eq!(lines[62..], ["x", "0"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut said = Said::default();
        for minute in 0..100 {
            for n in 0..60 {
                let now = start + Duration::from_secs(30 * minute);
                said.lines(format!("{minute} {n}"), "x", now);
            }
        }
        assert!(said.last.len() <= MAX_REMEMBERED);
    }
}
