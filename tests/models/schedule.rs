//! The monitor against a naive model: services in a list, each with the instant it first is due; every other
//! instant is counted from there.

use std::collections::HashMap;

use mote_core::{
    Action, ClientId, Config, Extender, Interval, Monitor, MonitorSettings, Uptime, client_hash,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Names have at most 8 bytes.
const L: usize = 8;
const SPREAD_MS: u32 = 10_000;
const REFRESH_S: u32 = 300;

type Plugin = u8;

/// A service as a document orders it: name, plugin, interval in milliseconds.
type Order = (&'static str, Plugin, u32);

#[derive(Clone, Debug)]
enum Step {
    /// A document arrives, good or bad.
    Document(Vec<Order>),
    /// Something arrives that is no document.
    Junk(&'static str),
    Pass(u64),
    /// Time passes up to `poll_at` and so many milliseconds more.
    PassToPollAt(i64),
    /// Time passes to so many intervals after the nth service is due, and so many milliseconds more.
    PassIntervals {
        nth: usize,
        intervals: u64,
        more: i64,
    },
    PollOnce,
    PollUntilNone,
    Park(usize),
    Missed(usize),
    Fetched,
    FetchFailed,
    FetchNow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = select(vec!["A", "B", "C", "D", "E", "exactly8", "öööö"]);
    let intervals = select(vec![
        100,
        250,
        999,
        1000,
        1001,
        15_000,
        60_000,
        3_600_000,
        604_800_000,
    ]);
    let good = (names.clone(), 0..2u8, intervals);
    let bad = select(vec![
        ("", 0, 1000),
        ("nine-byte", 0, 1000),
        ("A", 0, 0),
        ("A", 0, 99),
        ("A", 0, 604_800_001),
    ]);
    let order = prop_oneof![60 => good, 1 => bad];
    let step = prop_oneof![
        4 => prop::collection::vec(order, 0..6).prop_map(Step::Document),
        1 => select(vec!["", "{}", "{\"services\": {\"A\": [\"0\", 1]}", "<html>"]).prop_map(Step::Junk),
        2 => select(vec![0, 1]).prop_map(Step::Pass),
        3 => (0..5000u64).prop_map(Step::Pass),
        2 => (0..600_000u64).prop_map(Step::Pass),
        1 => (0..700_000_000u64).prop_map(Step::Pass),
        9 => (-1..2i64).prop_map(Step::PassToPollAt),
        4 => (0..6usize, 0..4u64, -1..2i64)
            .prop_map(|(nth, intervals, more)| Step::PassIntervals { nth, intervals, more }),
        4 => Just(Step::PollOnce),
        9 => Just(Step::PollUntilNone),
        1 => (0..6usize).prop_map(Step::Park),
        1 => (0..6usize).prop_map(Step::Missed),
        3 => Just(Step::Fetched),
        1 => Just(Step::FetchFailed),
        1 => Just(Step::FetchNow),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn four_services_match_the_model(client in any::<u32>(), start in 0..1u64 << 40, steps in steps()) {
        Pair::<4>::new(client, start, SPREAD_MS).run(&steps);
    }

    #[test]
    fn one_service_matches_the_model(client in any::<u32>(), steps in steps()) {
        Pair::<1>::new(client, 0, SPREAD_MS).run(&steps);
    }

    #[test]
    fn six_services_without_spread_match_the_model(client in any::<u32>(), steps in steps()) {
        Pair::<6>::new(client, 0, 0).run(&steps);
    }
}

/// The monitor and the model of it.
struct Pair<const N: usize> {
    now: u64,
    spread_ms: u32,
    monitor: Monitor<Plugin, N, L>,
    services: Vec<Modelled>,
    fetch: Fetch,
    failures: u32,
    /// Fetches are due at the same place of every refresh interval.
    refresh_phase: Option<u64>,
    /// The first sample of a service comes as long after each of its starts.
    first_delays: HashMap<(&'static str, u32), u64>,
}

#[derive(Clone, Debug)]
struct Modelled {
    slot: usize,
    order: Order,
    state: State,
    /// Instants of the grid that are over, one by one or in leaps.
    sampled: u64,
    leapt: u64,
    reported_missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Starting,
    /// The first instant, and when it was last sampled.
    Running {
        first: u64,
        polled: Option<u64>,
    },
    Parked,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fetch {
    At(u64),
    UnderWay,
}

/// What one poll does; the slot as a number.
#[derive(Debug, PartialEq)]
enum Done {
    Fetch,
    Start(usize),
    Sample { slot: usize, due: u64, missed: u32 },
}

impl Modelled {
    fn interval_ms(&self) -> u64 {
        u64::from(self.order.2)
    }

    /// How many instants of the grid have come by `now`.
    fn instants(&self, now: u64) -> u64 {
        match self.state {
            State::Running { first, .. } if first <= now => (now - first) / self.interval_ms() + 1,
            _ => 0,
        }
    }

    /// The first instant of the grid that the last poll has not seen.
    fn due(&self) -> Option<u64> {
        let State::Running { first, polled } = self.state else {
            return None;
        };
        let seen = polled.map_or(0, |polled| self.instants(polled));
        Some(first + seen * self.interval_ms())
    }
}

impl<const N: usize> Pair<N> {
    fn new(client: u32, now: u64, spread_ms: u32) -> Self {
        let settings = MonitorSettings {
            client: client_hash(ClientId::Number(client)),
            first_sample_spread_ms: spread_ms,
            refresh: Interval::from_secs(REFRESH_S),
        };
        Pair {
            now,
            spread_ms,
            monitor: Monitor::new(settings, Uptime::from_millis(now)),
            services: vec![],
            fetch: Fetch::At(now),
            failures: 0,
            refresh_phase: None,
            first_delays: HashMap::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
            self.compare();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Document(orders) => self.document(orders),
            Step::Junk(text) => {
                assert!(Config::<Plugin, N, L>::parse(text.as_bytes(), |_| 0).is_err());
            }
            Step::Pass(millis) => self.now += millis,
            Step::PassToPollAt(more) => {
                let until = self.monitor.poll_at();
                if until != Uptime::NEVER {
                    self.now = self.now.max(until.as_millis().saturating_add_signed(*more));
                }
            }
            Step::PassIntervals {
                nth,
                intervals,
                more,
            } => {
                if let Some(service) = self.services.get(*nth)
                    && let Some(due) = service.due()
                {
                    let until = due + intervals * service.interval_ms();
                    self.now = self.now.max(until.saturating_add_signed(*more));
                }
            }
            Step::PollOnce => {
                self.poll();
            }
            Step::PollUntilNone => self.poll_until_none(),
            Step::Park(nth) => {
                let found = self.monitor.entries().nth(*nth).map(|(slot, _)| slot);
                if let Some(slot) = found {
                    self.monitor.park(slot);
                    self.service(slot.index()).state = State::Parked;
                }
            }
            Step::Missed(nth) => {
                let found = self.monitor.entries().nth(*nth).map(|(slot, _)| slot);
                if let Some(slot) = found {
                    self.monitor.missed(slot);
                    self.service(slot.index()).reported_missed += 1;
                }
            }
            Step::Fetched => self.fetched(),
            Step::FetchFailed => self.fetch_failed(),
            Step::FetchNow => {
                self.monitor.fetch_now(Uptime::from_millis(self.now));
                if self.fetch != Fetch::UnderWay {
                    self.fetch = Fetch::At(self.now);
                }
            }
        }
    }

    fn document(&mut self, orders: &[Order]) {
        let before = format!("{:?}", self.monitor);
        match config(orders) {
            Some(config) => {
                assert!(is_good::<N>(orders), "{orders:?} was taken");
                self.monitor.apply(&config);
            }
            None => {
                assert!(!is_good::<N>(orders), "{orders:?} was refused");
                assert_eq!(before, format!("{:?}", self.monitor));
                return;
            }
        }
        self.services
            .retain(|it| orders.iter().any(|order| order.0 == it.order.0));
        for order in orders {
            let known = self.services.iter().position(|it| it.order.0 == order.0);
            let slot = match known {
                Some(at) if self.services[at].order == *order => continue,
                Some(at) => self.services.remove(at).slot,
                None => {
                    let taken = |slot: &usize| self.services.iter().any(|it| it.slot == *slot);
                    (0..).find(|slot| !taken(slot)).unwrap()
                }
            };
            self.services.push(Modelled {
                slot,
                order: *order,
                state: State::Starting,
                sampled: 0,
                leapt: 0,
                reported_missed: 0,
            });
        }
    }

    fn poll_until_none(&mut self) {
        // One fetch; each service starts or is sampled, never both at one instant.
        for _ in 0..=N {
            if !self.poll() {
                break;
            }
        }
        assert!(!self.poll(), "polled {} times at {}", N + 2, self.now);
        assert!(self.monitor.poll_at() > Uptime::from_millis(self.now));
    }

    /// Polls both; whether there was something to do.
    fn poll(&mut self) -> bool {
        let expected = self.expected();
        let found = self
            .monitor
            .poll(Uptime::from_millis(self.now))
            .map(|action| match action {
                Action::FetchConfig => Done::Fetch,
                Action::Start(slot) => Done::Start(slot.index()),
                Action::Sample { slot, due, missed } => Done::Sample {
                    slot: slot.index(),
                    due: due.as_millis(),
                    missed,
                },
            });
        assert_eq!(found, expected, "at {}", self.now);
        let now = self.now;
        match found {
            None => return false,
            Some(Done::Fetch) => self.fetch = Fetch::UnderWay,
            Some(Done::Start(slot)) => self.started(slot),
            Some(Done::Sample { slot, missed, .. }) => {
                let service = self.service(slot);
                let State::Running { polled, .. } = &mut service.state else {
                    panic!("{service:?} is not running");
                };
                *polled = Some(now);
                service.sampled += 1;
                service.leapt += u64::from(missed);
                assert_eq!(service.sampled + service.leapt, service.instants(now));
            }
        }
        true
    }

    fn expected(&self) -> Option<Done> {
        if matches!(self.fetch, Fetch::At(at) if at <= self.now) {
            return Some(Done::Fetch);
        }
        let starting = self
            .services
            .iter()
            .filter(|it| it.state == State::Starting);
        if let Some(slot) = starting.map(|it| it.slot).min() {
            return Some(Done::Start(slot));
        }
        let due = self
            .services
            .iter()
            .filter_map(|it| Some((it.due()?, it.slot, it)));
        let (due, slot, service) = due.min_by_key(|(due, slot, _)| (*due, *slot))?;
        (due <= self.now).then(|| {
            let State::Running { first, .. } = service.state else {
                panic!("{service:?} is not running");
            };
            let before = (due - first) / service.interval_ms();
            let missed = service.instants(self.now) - before - 1;
            Done::Sample {
                slot,
                due,
                missed: u32::try_from(missed).unwrap(),
            }
        })
    }

    /// The model does not know the hash behind the spread; it knows its bounds, and that it stays.
    fn started(&mut self, slot: usize) {
        let (now, spread_ms) = (self.now, self.spread_ms);
        let found = self.monitor.entries().find(|(id, _)| id.index() == slot);
        let first = found.unwrap().1.due().unwrap().as_millis();
        let service = self.service(slot);
        service.state = State::Running {
            first,
            polled: None,
        };
        let (name, _, interval_ms) = service.order;
        let delay = first - now;
        let window = u64::from(interval_ms.min(1000));
        let spread = u64::from(interval_ms.min(spread_ms));
        assert!(
            delay == window || (window..window + spread).contains(&delay),
            "{name} of {interval_ms} ms first is due after {delay} ms"
        );
        let usual = self
            .first_delays
            .entry((name, interval_ms))
            .or_insert(delay);
        assert_eq!(*usual, delay, "{name}");
    }

    fn fetched(&mut self) {
        self.monitor.fetched(Uptime::from_millis(self.now));
        self.failures = 0;
        let next = self.next_fetch();
        let refresh_ms = u64::from(REFRESH_S) * 1000;
        assert!(
            (self.now + 1..=self.now + refresh_ms).contains(&next),
            "{next}"
        );
        let phase = self.refresh_phase.get_or_insert(next % refresh_ms);
        assert_eq!(next % refresh_ms, *phase);
        self.fetch = Fetch::At(next);
    }

    fn fetch_failed(&mut self) {
        self.monitor.fetch_failed(Uptime::from_millis(self.now));
        let most = (1000 << self.failures.min(20)).min(u64::from(REFRESH_S) * 1000);
        self.failures += 1;
        let next = self.next_fetch();
        assert!(
            (self.now + most / 2..=self.now + most).contains(&next),
            "{next}"
        );
        self.fetch = Fetch::At(next);
    }

    /// Without services all there is to wait for is the next fetch.
    fn next_fetch(&self) -> u64 {
        let mut idle = self.monitor.clone();
        idle.apply(&Config::new());
        idle.poll_at().as_millis()
    }

    fn compare(&self) {
        let found: Vec<_> = self
            .monitor
            .entries()
            .map(|(slot, entry)| {
                let service = &entry.service;
                assert!(slot.index() < N);
                assert_eq!(&self.monitor.entry(slot).unwrap().service, service);
                (
                    slot.index(),
                    service.name.to_string(),
                    (service.plugin, service.interval.as_millis()),
                    entry.due().map(Uptime::as_millis),
                    u64::from(entry.missed()),
                )
            })
            .collect();
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by_key(|it| it.slot);
        let expected: Vec<_> = services
            .into_iter()
            .map(|it| {
                let (name, plugin, interval_ms) = it.order;
                (
                    it.slot,
                    name.to_owned(),
                    (plugin, interval_ms),
                    it.due(),
                    it.leapt + it.reported_missed,
                )
            })
            .collect();
        assert_eq!(found, expected, "at {}", self.now);

        let poll_at = self.monitor.poll_at();
        if self.expected().is_some() {
            assert!(poll_at <= Uptime::from_millis(self.now));
        } else {
            let fetch = match self.fetch {
                Fetch::At(at) => Some(at),
                Fetch::UnderWay => None,
            };
            let next = self
                .services
                .iter()
                .filter_map(Modelled::due)
                .chain(fetch)
                .min();
            assert_eq!(poll_at, next.map_or(Uptime::NEVER, Uptime::from_millis));
            let mut early = self.monitor.clone();
            assert_eq!(
                early.poll(Uptime::from_millis(poll_at.as_millis() - 1)),
                None
            );
        }
    }

    fn service(&mut self, slot: usize) -> &mut Modelled {
        self.services.iter_mut().find(|it| it.slot == slot).unwrap()
    }
}

fn config<const N: usize>(orders: &[Order]) -> Option<Config<Plugin, N, L>> {
    let services: Vec<_> = orders
        .iter()
        .map(|(name, plugin, ms)| match ms % 1000 {
            0 => format!("\"{name}\": [\"{plugin}\", {}]", ms / 1000),
            rest => format!("\"{name}\": [\"{plugin}\", {}.{rest:03}]", ms / 1000),
        })
        .collect();
    let document = format!("{{\"services\": {{{}}}}}", services.join(", "));
    Config::parse(document.as_bytes(), |plugin| plugin.parse().unwrap()).ok()
}

fn is_good<const N: usize>(orders: &[Order]) -> bool {
    let mut names: Vec<_> = orders.iter().map(|order| order.0).collect();
    names.sort();
    names.dedup();
    let named = orders.iter().all(|order| (1..=L).contains(&order.0.len()));
    let timed = orders
        .iter()
        .all(|order| (100..=604_800_000).contains(&order.2));
    names.len() == orders.len() && orders.len() <= N && named && timed
}

#[test]
fn a_full_table_gives_way_to_another() {
    let first = [("exactly8", 0, 1000), ("B", 1, 250), ("C", 2, 250)];
    let second = [("X", 7, 1000), ("öööö", 8, 250), ("Z", 9, 250)];
    let mut pair = Pair::<3>::new(1, 0, SPREAD_MS);
    for orders in [first, second, first] {
        pair.run(&[
            Step::Document(orders.to_vec()),
            Step::PollUntilNone,
            Step::Pass(100_000),
        ]);
        pair.run(&[Step::PollUntilNone]);
        let names: Vec<_> = pair
            .monitor
            .entries()
            .map(|(_, it)| it.service.name.as_str())
            .collect();
        assert_eq!(names, orders.map(|order| order.0));
    }
}

#[test]
fn a_million_ticks_at_random_lateness_do_not_drift() {
    const INTERVALS_MS: [u32; 6] = [100, 250, 333, 1000, 7000, 60_000];
    let settings = MonitorSettings {
        client: client_hash(ClientId::Number(1)),
        first_sample_spread_ms: SPREAD_MS,
        refresh: None,
    };
    let mut monitor = Monitor::<Plugin, 6, L>::new(settings, Uptime::from_millis(0));
    let names = ["A", "B", "C", "D", "E", "F"];
    let orders: Vec<_> = (0..6)
        .map(|n| (names[n], n as u8, INTERVALS_MS[n]))
        .collect();
    monitor.apply(&config(&orders).unwrap());
    while monitor.poll(Uptime::from_millis(0)).is_some() {}
    let firsts: Vec<_> = monitor
        .entries()
        .map(|(_, it)| it.due().unwrap().as_millis())
        .collect();

    let (mut sampled, mut missed_in_all) = ([0u64; 6], [0u64; 6]);
    let mut random = 1u32;
    let mut now = 0;
    while sampled.iter().sum::<u64>() < 1_000_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Mostly a little late, now and then by several intervals.
        let late = u64::from(random >> 16) % if random >> 28 == 0 { 2000 } else { 40 };
        now = monitor.poll_at().as_millis() + late;
        while let Some(action) = monitor.poll(Uptime::from_millis(now)) {
            let Action::Sample { slot, due, missed } = action else {
                panic!("{action:?}");
            };
            let n = slot.index();
            let ticks = sampled[n] + missed_in_all[n];
            assert_eq!(
                due.as_millis(),
                firsts[n] + ticks * u64::from(INTERVALS_MS[n])
            );
            sampled[n] += 1;
            missed_in_all[n] += u64::from(missed);
        }
    }
    for n in 0..6 {
        let grid = (firsts[n]..=now).step_by(INTERVALS_MS[n] as usize);
        assert_eq!(sampled[n] + missed_in_all[n], grid.count() as u64);
    }
    assert!(
        missed_in_all[0] > 1000 && missed_in_all[5] == 0,
        "{missed_in_all:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn an_interval_is_within_its_bounds_and_reads_back(millis in prop_oneof![any::<u32>(), 0..200u32, 604_799_000..604_801_000u32]) {
        let interval = Interval::from_millis(millis);
        prop_assert_eq!(interval.is_some(), (100..=604_800_000).contains(&millis));
        if let Some(interval) = interval {
            let text = interval.to_string();
            let seconds: f64 = text.strip_suffix(" s").unwrap().parse().unwrap();
            prop_assert_eq!((seconds * 1000.0).round(), f64::from(millis));
            prop_assert_eq!(Interval::from_secs(millis / 1000), Interval::from_millis(millis / 1000 * 1000));
        }
    }

    #[test]
    fn an_extended_timer_never_jumps(steps in prop::collection::vec(0..=1u32 << 31, 0..100)) {
        let mut extender = Extender::new();
        let mut passed = 0u64;
        for step in steps {
            passed += u64::from(step);
            let timer = u32::try_from(passed % (1 << 32)).unwrap();
            prop_assert_eq!(extender.extend(timer), passed);
        }
    }
}
