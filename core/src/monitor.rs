//! The whole loop of a client as one state machine without I/O: when to fetch orders, which service
//! is due, which number a report gets.

use crate::backoff::Backoff;
use crate::config::Config;
use crate::hash::hash;
use crate::schedule::{Entry, Schedule, SlotId, Spread, Turn};
use crate::time::{Interval, Uptime};

/// What the shell around the monitor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the server for the services document, then call [`Monitor::apply`], [`Monitor::fetched`]
    /// or [`Monitor::fetch_failed`].
    FetchConfig,
    /// Take the baseline of a service's rates, or [`Monitor::park`] it.
    Start(SlotId),
    /// Sample a service and report it.
    Sample {
        /// Which service.
        slot: SlotId,
        /// The instant it was due.
        due: Uptime,
        /// Instants of its grid that were missed since the sample before.
        missed: u32,
    },
}

/// How a monitor behaves, apart from the services it is ordered to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorSettings {
    /// The hash of the client id: [`crate::client_hash`].
    pub client: u32,
    /// First samples are spread over this many milliseconds, or one interval if that is shorter; 0: no spread.
    pub first_sample_spread_ms: u32,
    /// How often orders are fetched. `None`: there is no server to ask.
    pub refresh: Option<Interval>,
}

/// The state of a client with at most `N` services whose names have at most `L` bytes.
///
/// `P` is what a plugin's name stands for on this platform. Nothing here reads a clock, blocks, allocates or
/// panics; each call does work bounded by `N`.
#[derive(Clone, Debug)]
pub struct Monitor<P, const N: usize, const L: usize> {
    schedule: Schedule<P, N, L>,
    refresh: Refresh,
    seq: u32,
}

#[derive(Clone, Debug)]
struct Refresh {
    /// None: there is nobody to ask.
    interval: Option<Interval>,
    /// The grid of regular refreshes; failures do not move it.
    regular: Uptime,
    /// None while one is under way.
    next: Option<Uptime>,
    backoff: Backoff,
}

impl<P: Clone + PartialEq, const N: usize, const L: usize> Monitor<P, N, L> {
    /// A monitor without services, which asks for its orders at once.
    pub fn new(settings: MonitorSettings, now: Uptime) -> Self {
        let mut monitor = Self::unset();
        monitor.set(settings, now);
        monitor
    }

    /// A monitor without services or a server, until [`Monitor::set`] gives it settings. A board makes it in its
    /// static place before it runs.
    pub const fn unset() -> Self {
        Monitor {
            schedule: Schedule::new(Spread {
                client: 0,
                max_ms: 0,
            }),
            refresh: Refresh {
                interval: None,
                regular: Uptime::from_millis(0),
                next: None,
                backoff: Backoff::new(0),
            },
            seq: 0,
        }
    }

    /// Applies other settings. Services keep their phase; the spread counts for those that start from now on. A new
    /// refresh interval begins with a refresh.
    pub fn set(&mut self, settings: MonitorSettings, now: Uptime) {
        self.schedule.set_spread(settings.spread());
        if self.refresh.interval != settings.refresh {
            self.refresh = Refresh::new(&settings, now);
        }
    }

    /// The next thing to do at `now`. Call it until it returns `None`.
    pub fn poll(&mut self, now: Uptime) -> Option<Action> {
        if self.refresh.next.is_some_and(|at| at <= now) {
            self.refresh.next = None;
            return Some(Action::FetchConfig);
        }
        Some(match self.schedule.poll(now)? {
            Turn::Start(slot) => Action::Start(slot),
            Turn::Sample { slot, due, missed } => Action::Sample { slot, due, missed },
        })
    }

    /// When [`Monitor::poll`] has something to do again, unless something is applied before.
    pub fn poll_at(&self) -> Uptime {
        let fetch = self.refresh.next.unwrap_or(Uptime::NEVER);
        fetch.min(self.schedule.poll_at())
    }

    /// Applies a configuration, from the server or from where the last one was kept.
    pub fn apply(&mut self, config: &Config<P, N, L>) {
        self.schedule.apply(config);
    }

    /// The server gave a valid services document: the next one is asked for at the regular time.
    pub fn fetched(&mut self, now: Uptime) {
        if let Some(interval) = self.refresh.interval {
            self.refresh.backoff.succeeded();
            self.refresh.next = Some(self.refresh.next_regular(interval, now));
        }
    }

    /// The server gave no valid services document: it is asked again after a delay that grows from about
    /// 1 s to the refresh interval.
    pub fn fetch_failed(&mut self, now: Uptime) {
        if let Some(interval) = self.refresh.interval {
            let backoff = &mut self.refresh.backoff;
            let cap_ms = interval.as_millis();
            let doubled = crate::backoff::FIRST_MS.saturating_mul(1 << backoff.failures().min(20));
            let delay_ms = backoff.failed(doubled.min(cap_ms) / 2, cap_ms);
            self.refresh.next = Some(now.after_millis(u64::from(delay_ms)));
        }
    }

    /// Asks for orders at once, as an operator's reload does.
    pub fn fetch_now(&mut self, now: Uptime) {
        if self.refresh.next.is_some() {
            self.refresh.next = Some(now);
        }
    }

    /// The number that the next report gets.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Uses up the number of a report. Numbers wrap after 2³² reports; the client should then take a new
    /// boot id, since a server may hold the old numbers for redeliveries.
    pub fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        seq
    }

    /// Takes a service off the timetable until a new configuration changes it, as one whose plugin
    /// this platform does not have.
    pub fn park(&mut self, slot: SlotId) {
        self.schedule.park(slot);
    }

    /// Counts an instant at which a service was due but could not be sampled.
    pub fn missed(&mut self, slot: SlotId) {
        self.schedule.missed(slot);
    }

    /// The service in a slot. `None` if it left.
    pub fn entry(&self, slot: SlotId) -> Option<&Entry<P, L>> {
        self.schedule.entry(slot)
    }

    /// All services with their timing, in the order of their slots.
    pub fn entries(&self) -> impl Iterator<Item = (SlotId, &Entry<P, L>)> {
        self.schedule.entries()
    }
}

impl MonitorSettings {
    fn spread(&self) -> Spread {
        Spread {
            client: self.client,
            max_ms: self.first_sample_spread_ms,
        }
    }
}

impl Refresh {
    fn new(settings: &MonitorSettings, now: Uptime) -> Self {
        let offset = settings.refresh.and_then(|interval| {
            // An interval is never 0.
            hash(settings.client, b"refresh").checked_rem(interval.as_millis())
        });
        Refresh {
            interval: settings.refresh,
            regular: now.after_millis(u64::from(offset.unwrap_or(0))),
            next: settings.refresh.map(|_| now),
            backoff: Backoff::new(settings.client),
        }
    }

    fn next_regular(&mut self, interval: Interval, now: Uptime) -> Uptime {
        if self.regular <= now {
            let (_, late_ms) = now.intervals_since(self.regular, interval);
            self.regular = now.after_millis(u64::from(interval.as_millis() - late_ms));
        }
        self.regular
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Service;
    use crate::{ClientId, client_hash};

    type Small = Monitor<u8, 2, 8>;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn monitor(refresh_s: u32) -> Small {
        let settings = MonitorSettings {
            client: client_hash(ClientId::Number(7)),
            first_sample_spread_ms: 0,
            refresh: Interval::from_secs(refresh_s),
        };
        Monitor::new(settings, at(0))
    }

    #[test]
    fn orders_are_fetched_at_once_and_then_on_a_grid() {
        let mut monitor = monitor(300);
        assert_eq!(monitor.poll(at(0)), Some(Action::FetchConfig));
        assert_eq!(
            (monitor.poll(at(1)), monitor.poll_at()),
            (None, Uptime::NEVER)
        );
        monitor.fetched(at(40));
        let first = monitor.poll_at();
        assert!(first > at(40) && first <= at(300_040));
        for round in 0..1000 {
            let due = first.after_millis(round * 300_000);
            assert_eq!(monitor.poll_at(), due);
            let late = due.after_millis(round % 700);
            assert_eq!(monitor.poll(late), Some(Action::FetchConfig));
            monitor.fetched(late.after_millis(30));
        }
    }

    #[test]
    fn failed_fetches_back_off_to_the_refresh_interval() {
        let mut monitor = monitor(60);
        let mut now = at(0);
        for ceiling in [
            1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000,
        ] {
            assert_eq!(monitor.poll(now), Some(Action::FetchConfig));
            monitor.fetch_failed(now);
            let delay = monitor.poll_at().millis_since(now);
            assert!(
                delay >= ceiling / 2 && delay <= ceiling,
                "{delay} of {ceiling}"
            );
            now = monitor.poll_at();
        }
        monitor.poll(now);
        monitor.fetched(now);
        assert!(monitor.poll_at() > now);
    }

    #[test]
    fn without_a_server_nothing_is_fetched() {
        let mut monitor = monitor(0);
        assert_eq!(
            (monitor.poll(at(0)), monitor.poll_at()),
            (None, Uptime::NEVER)
        );
        let mut config = Config::new();
        config
            .push(Service {
                name: "A".try_into().unwrap(),
                plugin: 1,
                interval: Interval::MIN,
            })
            .unwrap();
        monitor.apply(&config);
        assert!(matches!(monitor.poll(at(0)), Some(Action::Start(_))));
        assert_eq!(monitor.poll_at(), at(100));
    }

    #[test]
    fn a_reload_fetches_at_once_but_not_twice() {
        let mut monitor = monitor(300);
        monitor.poll(at(0));
        monitor.fetch_now(at(1));
        assert_eq!(monitor.poll(at(1)), None);
        monitor.fetched(at(2));
        monitor.fetch_now(at(3));
        assert_eq!(monitor.poll(at(3)), Some(Action::FetchConfig));
    }

    #[test]
    fn another_refresh_interval_begins_with_a_refresh() {
        let mut monitor = monitor(300);
        monitor.poll(at(0));
        monitor.fetched(at(0));
        let settings = |refresh_s| MonitorSettings {
            client: client_hash(ClientId::Number(7)),
            first_sample_spread_ms: 0,
            refresh: Interval::from_secs(refresh_s),
        };
        monitor.set(settings(300), at(1));
        assert_eq!(monitor.poll(at(1)), None);
        monitor.set(settings(60), at(2));
        assert_eq!(monitor.poll(at(2)), Some(Action::FetchConfig));
        monitor.fetched(at(2));
        assert!(monitor.poll_at() <= at(60_002));
    }

    #[test]
    fn reports_are_numbered_without_gaps() {
        let mut monitor = monitor(300);
        assert_eq!([0; 3].map(|_| monitor.next_seq()), [0, 1, 2]);
    }
}
