//! Services whose reports the server does not take while it takes those of others: what `status` and the log say of
//! them. No clock.
//!
//! A service is one of them once it failed again and again, always with others taken in between, for longer than chance
//! explains: a balancer with one broken server makes none. While nobody's reports are taken, the server is at fault,
//! and that is said elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::system::fault::SAY_AGAIN;

/// At most this many services are remembered.
pub const MAX_REMEMBERED: usize = 256;

/// Failures after which others were taken, and how long ago the first one must be.
const MIN_FAILURES: u32 = 2;
const MIN_TIME: Duration = Duration::from_secs(30);

/// A service that failed for the last time so long ago may not exist any more. No pause of the delivery is longer.
const OLD: Duration = Duration::from_secs(3660);

/// What is known of the services that failed since a report of theirs was taken.
#[derive(Debug, Default)]
pub struct Untaken {
    services: BTreeMap<u64, UntakenService>,
    /// How many reports the server has taken.
    taken: u64,
    /// When the log last spoke of them, and of how many.
    said: Option<(Instant, usize)>,
}

/// A failure of one report.
#[derive(Debug)]
pub struct FailedReport<'a> {
    /// The key of its service.
    pub key: u64,
    /// The service's name.
    pub name: &'a str,
    /// Why it failed, in one sentence.
    pub reason: String,
    /// The server refuses the token.
    pub is_denial: bool,
    /// The server asked to be left alone for long.
    pub is_put_off: bool,
}

/// A service that failed since a report of it was taken.
#[derive(Debug)]
pub struct UntakenService {
    /// Its name.
    pub name: String,
    /// Why its last report was not taken.
    pub reason: String,
    /// The server refuses the token with its reports.
    pub is_denial: bool,
    /// When it failed first.
    pub since: Instant,
    last: Instant,
    is_put_off: bool,
    /// How many reports the server had taken when it failed last.
    taken: u64,
    /// How often it failed after others were taken, and since when.
    alone: u32,
    alone_since: Option<Instant>,
}

impl Untaken {
    /// Notes a failure. Returns whether the log says so.
    pub fn failed(&mut self, failure: FailedReport<'_>, now: Instant) -> bool {
        let taken = self.taken;
        if !self.services.contains_key(&failure.key) && !self.has_room(now) {
            return false;
        }
        let service = self
            .services
            .entry(failure.key)
            .or_insert_with(|| UntakenService {
                name: failure.name.to_owned(),
                reason: String::new(),
                is_denial: false,
                since: now,
                last: now,
                is_put_off: false,
                taken,
                alone: 0,
                alone_since: None,
            });
        service.reason = failure.reason;
        service.is_denial = failure.is_denial;
        service.is_put_off = failure.is_put_off;
        service.last = now;
        if service.taken < taken {
            service.taken = taken;
            service.alone = service.alone.saturating_add(1);
            service.alone_since.get_or_insert(now);
        }
        self.say(now)
    }

    /// Notes that a report of a service was taken. Returns whether the log says so.
    pub fn took(&mut self, key: u64, now: Instant) -> bool {
        self.taken += 1;
        let was_failing = self.services.remove(&key).is_some();
        let is_over = was_failing && self.said.is_some() && self.list(now, |_| true).is_empty();
        if is_over {
            self.said = None;
            log::info!("the server takes the reports of all services again");
        }
        is_over
    }

    /// Those that the server does not take, the one that waits longest first. `is_ordered`: the service of a key is
    /// certain to exist.
    pub fn list(&self, now: Instant, is_ordered: impl Fn(u64) -> bool) -> Vec<&UntakenService> {
        let services = self.services.iter();
        let untaken = services.filter(|(key, it)| {
            it.is_untaken(self.taken, now) && (!it.is_old(now) || is_ordered(**key))
        });
        let mut untaken: Vec<&UntakenService> = untaken.map(|(_, it)| it).collect();
        untaken.sort_by_key(|it| it.since);
        untaken
    }

    /// Whether a service is one of them.
    pub fn has(&self, key: u64, now: Instant) -> bool {
        let service = self.services.get(&key);
        service.is_some_and(|it| it.is_untaken(self.taken, now))
    }

    /// Why the last report of all these services was not taken.
    pub fn last_reason(&self) -> Option<&str> {
        let last = self.services.values().max_by_key(|it| it.last);
        last.map(|it| it.reason.as_str())
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.services.len() >= MAX_REMEMBERED {
            self.services.retain(|_, it| !it.is_old(now));
        }
        self.services.len() < MAX_REMEMBERED
    }

    /// When there is the first one, and at most once a minute when there are more.
    fn say(&mut self, now: Instant) -> bool {
        let untaken = self.list(now, |_| true);
        let count = untaken.len();
        let is_news = match self.said {
            None => count > 0,
            Some((at, before)) => count > before && now.saturating_duration_since(at) >= SAY_AGAIN,
        };
        if is_news && let Some(sentence) = sentence(&untaken, now) {
            log::warn!("{sentence}");
            self.said = Some((now, count));
        }
        is_news
    }
}

impl UntakenService {
    fn is_untaken(&self, taken: u64, now: Instant) -> bool {
        let is_past = |at: Instant| now.saturating_duration_since(at) >= MIN_TIME;
        let is_again = self.alone >= MIN_FAILURES && self.alone_since.is_some_and(is_past);
        is_again || self.is_put_off && self.taken < taken && is_past(self.last)
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > OLD
    }
}

/// One sentence about services from [`Untaken::list`].
pub fn sentence(untaken: &[&UntakenService], now: Instant) -> Option<String> {
    let (first, others) = untaken.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        1 => " and one other".to_owned(),
        count => format!(" and {count} others"),
    };
    Some(format!(
        "the server takes no reports of {:?}{others}, for {} s now: {}",
        first.name,
        now.saturating_duration_since(first.since).as_secs(),
        first.reason
    ))
}

#[cfg(test)]
mod tests {
    use mote_core::Uptime;

    use super::*;
    use crate::delivery::uplink::{Next, Uplink};
    use crate::http::outcome::Outcome;
    use crate::queue::{Queue, Whose};

    struct Scene {
        untaken: Untaken,
        start: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Scene {
                untaken: Untaken::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn failed(&mut self, key: u64, second: u64) -> bool {
            let failure = FailedReport {
                key,
                name: &format!("S{key}"),
                reason: "no".to_owned(),
                is_denial: false,
                is_put_off: false,
            };
            let now = self.at(second);
            self.untaken.failed(failure, now)
        }

        fn took(&mut self, key: u64, second: u64) -> bool {
            let now = self.at(second);
            self.untaken.took(key, now)
        }

        fn sentence(&self, second: u64) -> Option<String> {
            let now = self.at(second);
            sentence(&self.untaken.list(now, |_| false), now)
        }
    }

    #[test]
    fn a_service_that_fails_beside_others_is_named_once_it_is_no_chance() {
        let mut scene = Scene::new();
        for second in 0..=30 {
            assert!(!scene.failed(1, second), "at {second}");
            assert_eq!(scene.sentence(second), None);
            scene.took(9, second);
        }
        // Another one that failed just now is no reason to stay silent at the end.
        assert!(!scene.failed(2, 30));
        assert!(scene.failed(1, 31));
        let expected = "the server takes no reports of \"S1\", for 31 s now: no";
        assert_eq!(scene.sentence(31).as_deref(), Some(expected));
        assert!(!scene.failed(1, 500), "it was said");
        assert!(scene.took(1, 501));
        assert_eq!(scene.sentence(501), None);
        assert!(!scene.took(1, 501));
    }

    #[test]
    fn an_outage_names_none_also_when_it_ends() {
        let mut scene = Scene::new();
        for second in 0..1000 {
            for key in 0..8 {
                assert!(!scene.failed(key, second));
            }
        }
        assert!(!scene.took(0, 1000));
        // The others come one after another, and some fail once more.
        for key in 1..8 {
            assert!(!scene.failed(key, 1000));
            assert_eq!(scene.sentence(1000), None);
            assert!(!scene.took(key, 1000));
        }
    }

    #[test]
    fn one_that_fails_now_and_then_is_not_named() {
        let mut scene = Scene::new();
        for second in 0..1000 {
            match second % 4 {
                3 => assert!(!scene.took(1, second)),
                _ => assert!(!scene.failed(1, second)),
            }
            scene.took(9, second);
            assert_eq!(scene.sentence(second), None);
        }
    }

    #[test]
    fn many_are_one_sentence_and_a_line_a_minute() {
        let mut scene = Scene::new();
        let mut lines = Vec::new();
        for second in 0..100 {
            for key in 0..1000 {
                // Each begins to fail a second after the one before.
                if key <= second && scene.failed(key, second) {
                    lines.push(second);
                }
            }
            scene.took(5000, second);
        }
        assert_eq!(lines, [31, 91]);
        let said = scene.sentence(99).unwrap();
        assert!(
            said.starts_with("the server takes no reports of \"S0\" and 68 others, for 99 s"),
            "{said}"
        );
        for key in 0..68 {
            assert!(!scene.took(key, 99));
        }
        assert!(scene.took(68, 99));
    }

    #[test]
    fn memory_is_bounded_and_old_ones_make_room() {
        let mut scene = Scene::new();
        for key in 0..2 * MAX_REMEMBERED as u64 {
            scene.failed(key, 0);
        }
        assert_eq!(scene.untaken.services.len(), MAX_REMEMBERED);
        scene.failed(9999, OLD.as_secs() + 1);
        assert_eq!(scene.untaken.services.len(), 1);
    }

    #[test]
    fn one_that_is_not_heard_of_any_more_is_named_if_it_is_ordered() {
        let mut scene = Scene::new();
        for second in [0, 1, 2, 40] {
            scene.failed(1, second);
            scene.took(9, second);
        }
        let later = 41 + OLD.as_secs();
        assert_eq!(scene.sentence(later), None);
        let untaken = scene.untaken.list(scene.at(later), |key| key == 1);
        assert_eq!(untaken.len(), 1);
    }

    #[test]
    fn one_that_the_server_put_off_for_long_needs_no_second_failure() {
        let mut scene = Scene::new();
        let failure = FailedReport {
            key: 1,
            name: "S1",
            reason: "later".to_owned(),
            is_denial: false,
            is_put_off: true,
        };
        scene.untaken.failed(failure, scene.start);
        assert_eq!(scene.sentence(30), None, "nobody else is taken");
        scene.took(9, 0);
        assert_eq!(scene.sentence(29), None);
        assert!(scene.sentence(30).is_some());
    }

    /// A balancer with a broken server behind it, which gets every second request, or half of them at random.
    #[test]
    fn a_balancer_with_a_broken_server_behind_it_names_none() {
        let mut dice = 1u32;
        for (services, interval_ms, is_random) in [
            (2, 1000, false),
            (5, 5000, false),
            (20, 10_000, false),
            (5, 5000, true),
            (20, 1000, true),
        ] {
            let mut scene = Scene::new();
            let mut uplink = Uplink::new(Queue::new(1 << 20, 3_600_000), 7);
            uplink.set_rate(1000.0 * services as f64 / interval_ms as f64);
            let mut calls = 0;
            for ms in (0..600_000).step_by(10) {
                let (now, uptime) = (
                    scene.start + Duration::from_millis(ms),
                    Uptime::from_millis(ms),
                );
                for key in (0..services).filter(|_| ms % interval_ms == 0) {
                    uplink.push(b"report", Whose { key, name: "" }, uptime);
                }
                while let Next::Send(record) = uplink.next(uptime) {
                    calls += 1;
                    dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let is_taken = if is_random {
                        dice >> 31 == 0
                    } else {
                        calls % 2 == 1
                    };
                    let outcome = match is_taken {
                        true => Outcome::Acknowledged,
                        false => Outcome::Busy { retry_after: None },
                    };
                    let is_said = match is_taken {
                        true => scene.untaken.took(record.service, now),
                        false => scene.failed(record.service, ms / 1000),
                    };
                    assert!(!is_said, "{services} services at {ms} ms");
                    uplink.delivered(record, outcome, uptime);
                }
                let untaken = scene.untaken.list(now, |_| true);
                assert!(
                    untaken.is_empty(),
                    "{services} services at {ms} ms: {untaken:?}"
                );
            }
        }
    }
}
