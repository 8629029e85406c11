//! The timetable: a fixed table of services and when each is due.
//!
//! Each service has a grid of instants, `first + k × interval`, that nothing moves: the next instant is
//! always the last one plus the interval, so there is no drift. A service that is late is sampled once and
//! goes on at the next instant of its grid; the instants it lost are counted as missed.

use heapless::Vec;

use crate::config::{Config, Service};
use crate::hash::hash;
use crate::time::Uptime;

/// The first sample comes this long after the start of a service, in milliseconds, or one interval if that is
/// shorter, plus the spread: rates need a window.
pub const FIRST_WINDOW_MS: u32 = 1000;

/// The place of a service in the table. It stays the same while the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    /// Below the capacity of the table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A service of the table and its timing.
#[derive(Clone, Debug)]
pub struct Entry<P, const L: usize> {
    /// What the server ordered.
    pub service: Service<P, L>,
    phase: Phase,
    missed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Due(Uptime),
    Parked,
}

impl<P, const L: usize> Entry<P, L> {
    /// The next sample. `None` while the service starts or is parked.
    pub fn due(&self) -> Option<Uptime> {
        match self.phase {
            Phase::Due(due) => Some(due),
            Phase::Starting | Phase::Parked => None,
        }
    }

    /// Instants of the grid at which nothing was sampled.
    pub fn missed(&self) -> u32 {
        self.missed
    }
}

/// What to do for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Take the baseline of its rates.
    Start(SlotId),
    /// Sample it.
    Sample {
        /// Which service.
        slot: SlotId,
        /// The instant it was due.
        due: Uptime,
        /// Instants missed since the sample before, this one not among them.
        missed: u32,
    },
}

/// At most `N` services (65535 at most) and when each is due.
#[derive(Clone, Debug)]
pub struct Schedule<P, const N: usize, const L: usize> {
    slots: Vec<Option<Entry<P, L>>, N>,
    spread: Spread,
}

/// How first samples are spread: by a hash of client and service, so that it survives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The hash of the client id: [`crate::client_hash`].
    pub client: u32,
    /// First samples lie within this many milliseconds, or within one interval if that is shorter.
    pub max_ms: u32,
}

impl<P: Clone + PartialEq, const N: usize, const L: usize> Schedule<P, N, L> {
    /// An empty table.
    pub const fn new(spread: Spread) -> Self {
        Schedule {
            slots: Vec::new(),
            spread,
        }
    }

    /// Services that start from now on are spread like this.
    pub fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
    }

    /// Applies a configuration: unchanged services keep their slot, phase and counts; changed ones start again in
    /// their slot; others leave; new ones take free slots.
    pub fn apply(&mut self, config: &Config<P, N, L>) {
        for slot in &mut self.slots {
            let stays = |entry: &Entry<P, L>| {
                config
                    .services()
                    .iter()
                    .any(|it| it.name == entry.service.name)
            };
            if !slot.as_ref().is_some_and(stays) {
                *slot = None;
            }
        }
        for service in config.services() {
            let known = self
                .slots
                .iter_mut()
                .flatten()
                .find(|entry| entry.service.name == service.name);
            match known {
                Some(entry) if entry.service == *service => {}
                Some(entry) => *entry = Entry::starting(service),
                None => self.insert(Entry::starting(service)),
            }
        }
    }

    /// The next thing to do at `now`, if any: at most one service a call, the longest due first.
    pub fn poll(&mut self, now: Uptime) -> Option<Turn> {
        let spread = self.spread;
        let (slot, at) = self.first();
        if at > now {
            return None;
        }
        let entry = self.slots.get_mut(slot.index())?.as_mut()?;
        match entry.phase {
            Phase::Starting => {
                entry.phase = Phase::Due(now.after_millis(spread.first_delay_ms(&entry.service)));
                Some(Turn::Start(slot))
            }
            Phase::Due(due) => {
                let interval = entry.service.interval;
                let (missed, late_ms) = now.intervals_since(due, interval);
                let next = now.after_millis(u64::from(interval.as_millis() - late_ms));
                let missed = u32::try_from(missed).unwrap_or(u32::MAX);
                entry.phase = Phase::Due(next);
                entry.missed = entry.missed.saturating_add(missed);
                Some(Turn::Sample { slot, due, missed })
            }
            Phase::Parked => None,
        }
    }

    /// When [`Schedule::poll`] has something to do again; [`Uptime::NEVER`] for an empty table.
    pub fn poll_at(&self) -> Uptime {
        self.first().1
    }

    /// Takes a service off the timetable until a new configuration changes it.
    pub fn park(&mut self, slot: SlotId) {
        if let Some(Some(entry)) = self.slots.get_mut(slot.index()) {
            entry.phase = Phase::Parked;
        }
    }

    /// Counts an instant at which the service was due but could not be sampled.
    pub fn missed(&mut self, slot: SlotId) {
        if let Some(Some(entry)) = self.slots.get_mut(slot.index()) {
            entry.missed = entry.missed.saturating_add(1);
        }
    }

    /// The service in a slot. `None` if it left.
    pub fn entry(&self, slot: SlotId) -> Option<&Entry<P, L>> {
        self.slots.get(slot.index())?.as_ref()
    }

    /// All services, in the order of their slots.
    pub fn entries(&self) -> impl Iterator<Item = (SlotId, &Entry<P, L>)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((SlotId(index), slot.as_ref()?)))
    }

    /// The service that is due longest, and when. Among equals the first slot.
    #[inline(never)]
    fn first(&self) -> (SlotId, Uptime) {
        let mut first = (SlotId(0), Uptime::NEVER);
        // A plain loop: iterators take four times the flash.
        for (index, slot) in (0..).zip(&self.slots) {
            if let Some(entry) = slot
                && entry.sort_key() < first.1
            {
                first = (SlotId(index), entry.sort_key());
            }
        }
        first
    }

    /// A free slot. There is always one: a configuration holds no more services than the table.
    fn insert(&mut self, entry: Entry<P, L>) {
        match self.slots.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(entry),
            None => {
                let pushed = self.slots.push(Some(entry)).is_ok();
                debug_assert!(pushed);
            }
        }
    }
}

impl<P, const L: usize> Entry<P, L> {
    fn starting(service: &Service<P, L>) -> Self
    where
        P: Clone,
    {
        Entry {
            service: service.clone(),
            phase: Phase::Starting,
            missed: 0,
        }
    }

    fn sort_key(&self) -> Uptime {
        match self.phase {
            Phase::Starting => Uptime::from_millis(0),
            Phase::Due(due) => due,
            Phase::Parked => Uptime::NEVER,
        }
    }
}

impl Spread {
    fn first_delay_ms<P, const L: usize>(&self, service: &Service<P, L>) -> u64 {
        let interval_ms = service.interval.as_millis();
        let spread_ms = match interval_ms.min(self.max_ms) {
            0 => 0,
            range => hash(self.client, service.name.as_bytes()) % range,
        };
        u64::from(interval_ms.min(FIRST_WINDOW_MS)) + u64::from(spread_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Interval;
    use std::vec;
    use std::vec::Vec as StdVec;

    type Table = Schedule<u8, 4, 8>;

    const NO_SPREAD: Spread = Spread {
        client: 1,
        max_ms: 0,
    };

    fn config(services: &[(&str, u8, u32)]) -> Config<u8, 4, 8> {
        let mut config = Config::new();
        for (name, plugin, interval_ms) in services {
            config
                .push(Service {
                    name: (*name).try_into().unwrap(),
                    plugin: *plugin,
                    interval: Interval::from_millis(*interval_ms).unwrap(),
                })
                .unwrap();
        }
        config
    }

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn started(services: &[(&str, u8, u32)], now: Uptime) -> Table {
        let mut table = Table::new(NO_SPREAD);
        table.apply(&config(services));
        for _ in services {
            assert!(matches!(table.poll(now), Some(Turn::Start(_))));
        }
        table
    }

    #[test]
    fn the_first_sample_has_a_window() {
        let table = started(&[("slow", 0, 60_000)], at(5000));
        assert_eq!(table.poll_at(), at(6000));
        let table = started(&[("fast", 0, 200)], at(5000));
        assert_eq!(table.poll_at(), at(5200));
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million ticks take Miri many minutes")]
    fn a_million_ticks_do_not_drift() {
        let mut table = started(&[("A", 0, 100)], at(0));
        let mut now = at(0);
        for tick in 1..=1_000_000u64 {
            // Polled late by up to 99 ms, never on time.
            now = table.poll_at().after_millis(tick % 99);
            let turn = table.poll(now);
            assert!(
                matches!(turn, Some(Turn::Sample { due, missed: 0, .. }) if due == at(tick * 100)),
                "{tick} {turn:?}"
            );
        }
        assert_eq!(table.poll_at(), at(1_000_001 * 100));
        assert!(now < table.poll_at());
    }

    #[test]
    fn late_ticks_are_counted_not_made_up() {
        let mut table = started(&[("A", 0, 1000)], at(0));
        let Some(Turn::Sample { slot, due, missed }) = table.poll(at(4500)) else {
            panic!("nothing due");
        };
        assert_eq!((due, missed), (at(1000), 3));
        assert_eq!(table.poll(at(4999)), None);
        assert_eq!(table.poll_at(), at(5000));
        assert_eq!(table.entry(slot).unwrap().missed(), 3);
    }

    #[test]
    fn the_longest_due_comes_first() {
        let mut table = started(&[("A", 0, 60_000), ("B", 1, 500), ("C", 2, 700)], at(0));
        let mut order = vec![];
        while let Some(Turn::Sample { slot, .. }) = table.poll(at(1000)) {
            order.push(table.entry(slot).unwrap().service.plugin);
        }
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn unchanged_services_keep_their_phase_and_slot() {
        let mut table = started(&[("A", 0, 1000), ("B", 1, 1000), ("C", 2, 1000)], at(0));
        table.apply(&config(&[("D", 3, 1000), ("C", 2, 1000), ("B", 1, 2000)]));
        let starts: StdVec<_> = core::iter::from_fn(|| match table.poll(at(300)) {
            Some(Turn::Start(slot)) => Some((slot.index(), table.entry(slot)?.service.plugin)),
            _ => None,
        })
        .collect();
        assert_eq!(starts, [(0, 3), (1, 1)]);
        let dues: StdVec<_> = table.entries().map(|(_, entry)| entry.due()).collect();
        assert_eq!(dues, [Some(at(1300)), Some(at(1300)), Some(at(1000))]);
    }

    #[test]
    fn a_parked_service_waits_for_a_change() {
        let mut table = started(&[("A", 0, 1000)], at(0));
        let (slot, _) = table.entries().next().unwrap();
        table.park(slot);
        assert_eq!(table.poll_at(), Uptime::NEVER);
        table.apply(&config(&[("A", 0, 1000)]));
        assert_eq!(table.poll(at(9000)), None);
        table.apply(&config(&[("A", 1, 1000)]));
        assert_eq!(table.poll(at(9000)), Some(Turn::Start(slot)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "10,000 hashes take Miri a minute")]
    fn spread_is_stable_and_even() {
        let service = |name: &str| Service::<u8, 16> {
            name: name.try_into().unwrap(),
            plugin: 0,
            interval: Interval::from_secs(60).unwrap(),
        };
        let delay = |client: u32, name: &str| {
            let client = hash(client, b"client");
            Spread {
                client,
                max_ms: 10_000,
            }
            .first_delay_ms(&service(name))
        };
        let mut tenths = [0; 10];
        for client in 0..10_000 {
            let delay = delay(client, "LinuxCPU");
            tenths[((delay - 1000) / 1000) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..1100).contains(count)),
            "{tenths:?}"
        );
        // Pinned: a change would move every client's phase on its next update.
        assert_eq!((delay(1, "LinuxCPU"), delay(1, "LinuxCPV")), (5863, 4008));
    }
}
