//! Services whose reports the server does not take, though it may take those of others. No clock.
//!
//! A service fails alone if it fails again and again while others are taken. It is tried at delays of its own, and
//! the calls for such services take at most a quarter of the time, so they hold up nobody. Services that fail
//! together are an outage: the first success makes all of them due at once.

use std::collections::BTreeMap;

use mote_core::Uptime;

/// At most this many failing services are remembered: boards may name as many as they like.
pub const MAX_FAILING: usize = 1024;

/// If this many services fail, the server is left alone by all.
const MANY: usize = 4;

/// If a failure takes this long, fewer are enough.
const LONG_MS: u64 = 1000;
const MANY_LONG: usize = 2;

/// For this long after a report was taken right behind one that failed, each further delay needs [`MANY`] failures
/// again: if half of all calls fail at random, a single failure says little.
const RECENT_MS: u64 = 60_000;

/// The delays of a service that fails alone: the first, doubled up to the last.
const FIRST_ALONE_MS: u64 = 1000;
const MAX_ALONE_MS: u64 = 30_000;

/// After a call for a service that fails alone, the others have this many times as long.
const OTHERS_SHARE: u64 = 3;

/// The services that fail.
#[derive(Debug)]
pub struct FailingServices {
    services: BTreeMap<u64, Failing>,
    /// How many reports the server has taken.
    taken: u64,
    /// When the server last took a report after a failure.
    recovered_at: Option<Uptime>,
    failures: u64,
    /// Failures since the last delay began, or since a report was taken.
    in_a_row: usize,
    /// Something failed since a report was taken.
    failed_since: bool,
    /// Services that fail together are tried no earlier.
    together_at: Uptime,
    /// Services that fail alone are tried no earlier.
    alone_at: Uptime,
}

/// What a failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The service failed before, and others were taken since.
    pub others_work: bool,
    /// Since the last report was taken no other service failed, but for those that fail alone.
    pub is_only_one: bool,
    /// The service failed before, nothing was taken since, and it is time to wait.
    pub is_again: bool,
    /// The server fails on whatever it is given.
    pub is_outage: bool,
    /// It may have been chance, and is worth one more try at once.
    pub is_chance: bool,
    /// It fails alone, and did so before.
    pub is_known: bool,
    /// One of its reports was given up, or refused as perhaps at fault, since the last one was taken.
    pub was_given_up: bool,
    pub was_refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    /// How many reports the server had taken when it failed last on this service.
    taken: u64,
    /// Which of all failures that was.
    failure: u64,
    /// How often it failed although others were taken.
    alone: u8,
    /// The next try of one that fails alone.
    retry_at: Uptime,
    /// An outage is over, and with it what held the service back.
    is_free: bool,
    /// It has been tried again at once.
    was_chance: bool,
    /// A report was given up, or refused, since the last one was taken.
    given_up: bool,
    refused: bool,
}

impl Failing {
    fn is_together(&self) -> bool {
        self.alone == 0 && !self.is_free
    }
}

impl FailingServices {
    pub fn new() -> Self {
        FailingServices {
            services: BTreeMap::new(),
            taken: 0,
            recovered_at: None,
            failures: 0,
            in_a_row: 0,
            failed_since: false,
            together_at: Uptime::from_millis(0),
            alone_at: Uptime::from_millis(0),
        }
    }

    /// How many reports the server has taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether reports of a service step behind those of others.
    pub fn is_held(&self, service: u64) -> bool {
        self.services.get(&service).is_some_and(|it| !it.is_free)
    }

    /// When a service that is held is tried again.
    pub fn due_at(&self, service: u64) -> Option<Uptime> {
        let failing = self.services.get(&service).filter(|it| !it.is_free)?;
        Some(match failing.alone {
            0 => self.together_at,
            _ => failing.retry_at.max(self.alone_at),
        })
    }

    /// Whether a service fails while others are taken.
    pub fn is_alone(&self, service: u64) -> bool {
        self.services.get(&service).is_some_and(|it| it.alone > 0)
    }

    /// The number of a service's last failure. The service that waits longest is tried first.
    pub fn failure(&self, service: u64) -> u64 {
        self.services.get(&service).map_or(0, |it| it.failure)
    }

    /// Notes that the server failed on a report of a service, after this long.
    pub fn failed(&mut self, service: u64, took_ms: u64, now: Uptime) -> Said {
        let before = self.services.get(&service).copied();
        let taken = self.taken;
        let is_together = |it: &Failing| it.is_together() && it.taken == taken;
        let others = self.services.iter();
        let others = others.filter(|(key, it)| **key != service && is_together(it));
        let others = others.count();
        let others_work = before.is_some_and(|it| it.taken < taken);
        let was_given_up = before.is_some_and(|it| it.given_up);
        let was_refused = before.is_some_and(|it| it.refused);
        let is_only_one = others == 0;
        let mut alone = before.map_or(0, |it| it.alone);
        if others_work && is_only_one {
            alone = alone.saturating_add(1);
            self.alone_at = now.after_millis(took_ms.saturating_mul(OTHERS_SHARE));
        }
        if self.services.len() >= MAX_FAILING && before.is_none() {
            // It may fail again.
            self.services.pop_first();
        }
        let is_recent = self
            .recovered_at
            .is_some_and(|at| now.millis_since(at) < RECENT_MS);
        // A balancer that takes its servers in turn would give the same service the broken one each time.
        let is_chance = is_recent && took_ms < LONG_MS && !before.is_some_and(|it| it.was_chance);
        self.failures += 1;
        self.failed_since |= alone == 0;
        let doublings = u32::from(alone.saturating_sub(1)).min(10);
        let delay_ms = (FIRST_ALONE_MS << doublings).min(MAX_ALONE_MS);
        let failing = Failing {
            taken,
            failure: self.failures,
            alone,
            retry_at: now.after_millis(delay_ms),
            is_free: false,
            was_chance: is_chance,
            given_up: was_given_up,
            refused: was_refused,
        };
        self.services.insert(service, failing);
        let many = if took_ms < LONG_MS { MANY } else { MANY_LONG };
        self.in_a_row += usize::from(alone == 0);
        let is_enough = alone > 0 || !is_recent || self.in_a_row >= many;
        Said {
            others_work,
            is_only_one,
            is_again: is_enough && before.is_some_and(|it| it.taken == taken),
            is_outage: is_enough && alone == 0 && others + 1 >= many,
            is_chance,
            is_known: before.is_some_and(|it| it.alone > 0),
            was_given_up,
            was_refused,
        }
    }

    /// Notes that a report of a failing service was given up.
    pub fn note_given_up(&mut self, service: u64) {
        if let Some(failing) = self.services.get_mut(&service) {
            failing.given_up = true;
        }
    }

    /// Notes that a report was refused, and others' success shows that it is at fault. It holds up nothing.
    pub fn note_refused(&mut self, service: u64) {
        if let Some(failing) = self.services.get_mut(&service) {
            failing.refused = true;
            failing.is_free = true;
        }
    }

    /// A service, and those that fail together with it, are not tried before.
    pub fn hold(&mut self, service: u64, until: Uptime) {
        match self.services.get_mut(&service) {
            Some(failing) if failing.alone > 0 => failing.retry_at = until,
            _ => {
                self.together_at = until;
                self.in_a_row = 0;
            }
        }
    }

    /// A service is tried again at once.
    pub fn retry(&mut self, service: u64, now: Uptime) {
        if let Some(failing) = self.services.get_mut(&service) {
            failing.retry_at = now;
        }
    }

    /// All wait.
    pub fn note_hold(&mut self) {
        self.in_a_row = 0;
    }

    /// Notes that the server took a report of a service. Returns whether that ends an outage.
    pub fn took(&mut self, service: u64, now: Uptime) -> bool {
        self.taken += 1;
        if std::mem::take(&mut self.failed_since) {
            self.recovered_at = Some(now);
        }
        self.in_a_row = 0;
        let before = self.services.remove(&service);
        let others = self.services.values();
        let is_over = before.iter().chain(others).any(Failing::is_together);
        if is_over {
            self.together_at = Uptime::from_millis(0);
            for failing in self.services.values_mut() {
                failing.is_free = true;
            }
        }
        is_over
    }

    /// Notes that the server refused a report of a service, which is an answer too.
    pub fn refused(&mut self, service: u64) {
        self.services.remove(&service);
    }

    /// Whether a service failed when it was tried last.
    pub fn knows(&self, service: u64) -> bool {
        self.services.contains_key(&service)
    }

    /// How many services are known to fail.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Forgets what is known of the server.
    pub fn clear(&mut self) {
        self.services.clear();
        self.together_at = Uptime::from_millis(0);
        self.alone_at = Uptime::from_millis(0);
    }
}
