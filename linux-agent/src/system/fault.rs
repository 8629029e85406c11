//! Something that fails again and again, and how often the log says so.

use std::time::{Duration, Instant};

/// A failure that comes and goes for the same reason is said once in this time.
pub const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Why something does not work at the moment. The log hears of it when it begins, when the reason changes
/// and when it is over, but not each time of a failure that comes and goes.
#[derive(Debug, Default)]
pub struct Fault {
    now: Option<String>,
    /// What was said last and when.
    said: Option<(String, Instant)>,
    /// Its beginning was said, so its end will be.
    loud: bool,
}

impl Fault {
    /// Why it does not work. `None`: it works.
    pub fn reason(&self) -> Option<&str> {
        self.now.as_deref()
    }

    /// Notes a failure at `now`, for `reason`. Returns whether the log says so.
    pub fn failed(&mut self, reason: String, now: Instant) -> bool {
        let is_said = self.is_news(&reason, now);
        if is_said {
            log::warn!("{reason}");
            self.said = Some((reason.clone(), now));
        } else {
            log::debug!("{reason}");
        }
        if self.now.as_deref() != Some(&reason) {
            self.loud = is_said;
        }
        self.now = Some(reason);
        is_said
    }

    /// Notes a success; if it failed before, the log says `over`. Returns whether it does.
    pub fn worked(&mut self, over: &str) -> bool {
        let is_said = self.now.take().is_some() && self.loud;
        if is_said {
            log::info!("{over}");
        }
        is_said
    }

    fn is_news(&self, reason: &str, now: Instant) -> bool {
        if let Some(before) = &self.now {
            return before != reason;
        }
        self.said.as_ref().is_none_or(|(said, at)| {
            said != reason || now.saturating_duration_since(*at) >= SAY_AGAIN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the log says about `events`: second, and why it failed; `None`: it worked.
    fn said<'e>(events: &[(u64, Option<&'e str>)]) -> Vec<&'e str> {
        let start = Instant::now();
        let mut fault = Fault::default();
        let mut lines = Vec::new();
        for (second, reason) in events {
            let now = start + Duration::from_secs(*second);
            let is_said = match reason {
                Some(reason) => fault.failed((*reason).to_owned(), now),
                None => fault.worked("over"),
            };
            assert_eq!(fault.reason(), *reason);
            if is_said {
                lines.push(reason.unwrap_or("over"));
            }
        }
        lines
    }

    #[test]
    fn a_failure_is_said_when_it_begins_changes_and_ends() {
        let events = [
            (0, None),
            (1, Some("a")),
            (2, Some("a")),
            (3000, Some("a")),
            (3001, Some("b")),
            (3002, Some("a")),
            (3003, None),
            (3004, None),
        ];
        assert_eq!(said(&events), ["a", "b", "a", "over"]);
    }

    #[test]
    fn one_that_comes_and_goes_is_said_once_a_minute() {
        let events: Vec<_> = (0..180)
            .map(|second| (second, (second % 2 == 0).then_some("a")))
            .collect();
        assert_eq!(said(&events), ["a", "over", "a", "over", "a", "over"]);
    }

    #[test]
    fn another_one_is_not_taken_for_the_one_before() {
        let events = [(0, Some("a")), (1, None), (2, Some("b")), (3, None)];
        assert_eq!(said(&events), ["a", "over", "b", "over"]);
    }
}
