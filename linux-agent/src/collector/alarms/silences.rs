//! Silences: of a host, for a time, with a reason.

use super::moment::Now;
use crate::client_name::ClientName;

/// At most this many at a time.
pub const MAX_SILENCES: usize = 1000;

/// No message about a host until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Its number.
    pub id: i64,
    /// Of which host.
    pub client: ClientName,
    /// Of this alarm only.
    pub alarm: Option<String>,
    /// Since when, in milliseconds since 1970-01-01 00:00 UTC.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// Why.
    pub reason: String,
    /// Who wanted it.
    pub by: String,
    /// When somebody ended it before its time.
    pub ended_ms: Option<i64>,
}

/// Those that are in force.
#[derive(Default)]
pub struct Silences {
    /// Each with its end by the steady clock.
    all: Vec<(Silence, i64)>,
}

impl Silences {
    /// Adds one. `false`: there are too many.
    pub fn add(&mut self, silence: Silence, now: Now) -> bool {
        self.pass(now);
        if self.is_full() {
            return false;
        }
        let left_ms = (silence.until_ms - now.unix_ms).max(0);
        self.all
            .push((silence, now.steady_ms.saturating_add(left_ms)));
        true
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.all.len() >= MAX_SILENCES
    }

    /// What one is once it has ended now. `None`: there is none of this number.
    pub fn ended(&self, id: i64, now: Now) -> Option<Silence> {
        let (silence, _) = self.all.iter().find(|(silence, _)| silence.id == id)?;
        Some(Silence {
            ended_ms: Some(now.unix_ms),
            ..silence.clone()
        })
    }

    /// Takes one away.
    pub fn remove(&mut self, id: i64) {
        self.all.retain(|(silence, _)| silence.id != id);
    }

    /// Forgets those whose time is over.
    pub fn pass(&mut self, now: Now) {
        self.all.retain(|(_, end_ms)| now.steady_ms < *end_ms);
    }

    /// The one that covers an alarm, if one does.
    pub fn of(&self, client: Option<&ClientName>, alarm: &str) -> Option<&Silence> {
        let covers = |it: &&Silence| {
            Some(&it.client) == client && it.alarm.as_deref().is_none_or(|it| it == alarm)
        };
        self.all.iter().map(|(silence, _)| silence).find(covers)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Silence> {
        self.all.iter().map(|(silence, _)| silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_covers_a_host_or_one_alarm_of_it_until_it_ends() {
        let silence = |id, alarm: Option<&str>, until_ms| Silence {
            id,
            client: ClientName::Number(1),
            alarm: alarm.map(str::to_owned),
            since_ms: 0,
            until_ms,
            reason: String::new(),
            by: String::new(),
            ended_ms: None,
        };
        // The wall's clock jumps an hour ahead meanwhile, which changes nothing.
        let at = |steady_ms| Now {
            steady_ms,
            unix_ms: 1_000_000 + steady_ms + if steady_ms > 500 { 3_600_000 } else { 0 },
        };
        let mut silences = Silences::default();
        assert!(silences.add(silence(1, Some("disk"), 1_000_000 + 1000), at(0)));
        assert!(silences.add(silence(2, None, 1_000_000 + 2000), at(0)));
        let (one, other) = (ClientName::Number(1), ClientName::Number(2));
        let id = |silences: &Silences, client, alarm| silences.of(client, alarm).map(|it| it.id);
        assert_eq!(id(&silences, Some(&one), "disk"), Some(1));
        assert_eq!(id(&silences, Some(&one), "late"), Some(2));
        assert_eq!(id(&silences, Some(&other), "disk"), None);
        assert_eq!(id(&silences, None, "collector"), None);
        silences.pass(at(999));
        assert_eq!(id(&silences, Some(&one), "disk"), Some(1));
        silences.pass(at(1000));
        assert_eq!(id(&silences, Some(&one), "disk"), Some(2));
        let ended = silences.ended(2, at(1500)).unwrap();
        assert_eq!(ended.ended_ms, Some(at(1500).unix_ms));
        // Until it is taken away it is in force.
        assert_eq!(id(&silences, Some(&one), "disk"), Some(2));
        silences.remove(2);
        assert_eq!(silences.ended(2, at(1500)), None);
        assert_eq!(silences.all().count(), 0);
    }

    #[test]
    fn silences_are_bounded() {
        let mut silences = Silences::default();
        let now = Now {
            steady_ms: 0,
            unix_ms: 0,
        };
        let added = (0..1001).map(|id| {
            let silence = Silence {
                id,
                client: ClientName::Number(1),
                alarm: None,
                since_ms: 0,
                until_ms: 10,
                reason: String::new(),
                by: String::new(),
                ended_ms: None,
            };
            silences.add(silence, now)
        });
        assert_eq!(added.filter(|it| *it).count(), MAX_SILENCES);
    }
}
