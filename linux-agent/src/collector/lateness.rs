//! Which services are late: the one place that decides it, for the page and for alarms.
//!
//! It counts on the clock that nobody can set, from when this collector saw that a report had been stored. So a clock
//! that jumps, here or on a host, makes nobody late, and while this collector does not run nobody is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::settings::host::Host;
use crate::client_name::ClientName;

/// How long nothing may come of a service that reports so often, in milliseconds.
pub fn allowed_ms(interval_ms: u32) -> i64 {
    i64::from(interval_ms) * 5 / 2 + TOLERANCE_MS
}

/// A report may come this much later than 2.5 of its intervals, in milliseconds: it travels, and gateways wait.
pub const TOLERANCE_MS: i64 = 10_000;

/// Of a new order an agent may hear so late, in milliseconds: it asks every five minutes, if its settings do not say
/// otherwise.
const ORDERS_MS: i64 = 300_000;

/// Whether reports come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportState {
    /// All that are ordered.
    Reporting,
    /// Some are late.
    Late,
    /// All are late.
    Silent,
    /// None ever came.
    Never,
}

/// How a host and its services stand.
#[derive(Debug, PartialEq, Eq)]
pub struct HostLateness {
    /// In all.
    pub state: ReportState,
    /// By how much the service is late that is most, in milliseconds.
    pub late_ms: Option<i64>,
    /// How long ago the newest report of those services came that are late, in milliseconds.
    pub quiet_ms: Option<i64>,
    /// Whether any report came since this collector listens.
    pub is_heard: bool,
    /// In the order of the host's services.
    pub services: Vec<ServiceLateness>,
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLateness {
    /// Never [`ReportState::Silent`].
    pub state: ReportState,
    /// By how much it is late, in milliseconds.
    pub late_ms: Option<i64>,
}

/// When reports of each service came, by the steady clock.
pub struct Lateness(Mutex<Seen>);

struct Seen {
    /// Nothing is late that could not come before this.
    since_ms: i64,
    clients: BTreeMap<ClientName, BTreeMap<String, Service>>,
}

struct Service {
    interval_ms: u32,
    /// From when its report came last, or its agent should know of it.
    since_ms: i64,
    /// The number of its last report.
    last: Option<i64>,
    heard_ms: Option<i64>,
}

impl Lateness {
    /// Nothing is late yet.
    pub fn new(now_ms: i64) -> Lateness {
        Lateness(Mutex::new(Seen {
            since_ms: now_ms,
            clients: BTreeMap::new(),
        }))
    }

    /// From now on it counts anew: this collector did not run, or could not listen.
    pub fn begin_again(&self, now_ms: i64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .since_ms = now_ms;
    }

    /// How a host stands. `last` gives the number of the last report of a service, which grows with each.
    pub fn of(
        &self,
        client: &ClientName,
        host: &Host,
        last: impl Fn(&str) -> Option<i64>,
        now_ms: i64,
    ) -> HostLateness {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun_ms = seen.since_ms;
        let known = seen.clients.entry(client.clone()).or_default();
        let is_first = known.is_empty();
        known.retain(|name, _| host.services.contains_key(name));
        let services = host.services.iter().map(|(name, ordered)| {
            let last = last(name);
            let interval_ms = ordered.interval_ms;
            let before = known.get(name);
            if before.is_none_or(|it| it.interval_ms != interval_ms) {
                let is_new = !is_first || last.is_none();
                let since_ms = now_ms + if is_new { ORDERS_MS } else { 0 };
                let service = Service {
                    interval_ms,
                    since_ms,
                    last,
                    heard_ms: before.and_then(|it| it.heard_ms),
                };
                known.insert(name.clone(), service);
            }
            let late_ms = known.get_mut(name).and_then(|service| {
                if service.last != last {
                    // Its first report shows that its agent knows the order; a later one may be of the order before.
                    if service.last.is_none() {
                        service.since_ms = now_ms;
                    }
                    service.last = last;
                    service.heard_ms = Some(now_ms);
                    service.since_ms = service.since_ms.max(now_ms);
                }
                service.late_ms(begun_ms, now_ms)
            });
            ServiceLateness {
                state: match (last, late_ms) {
                    (None, _) => ReportState::Never,
                    (Some(_), None) => ReportState::Reporting,
                    (Some(_), Some(_)) => ReportState::Late,
                },
                late_ms,
            }
        });
        let services: Vec<_> = services.collect();
        let late = host.services.keys().zip(&services);
        let late = late.filter(|(_, it)| it.late_ms.is_some());
        let since = late.filter_map(|(name, _)| known.get(name).map(|it| it.since_ms));
        let quiet_ms = since.max().map(|it| now_ms - it.max(begun_ms));
        let mut heard = known.values().filter_map(|it| it.heard_ms);
        HostLateness {
            is_heard: heard.any(|it| it >= begun_ms),
            state: in_all(&services),
            late_ms: services.iter().filter_map(|it| it.late_ms).max(),
            quiet_ms,
            services,
        }
    }

    /// Forgets whoever `keeps` does not want.
    pub fn retain(&self, keeps: impl Fn(&ClientName) -> bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clients.retain(|client, _| keeps(client));
    }
}

impl Service {
    fn late_ms(&self, begun_ms: i64, now_ms: i64) -> Option<i64> {
        let late_ms = now_ms - self.since_ms.max(begun_ms) - allowed_ms(self.interval_ms);
        // In words, less than a second is none.
        (late_ms > 0).then(|| late_ms.max(1000))
    }
}

/// What the states of the services mean for their host.
pub fn in_all(services: &[ServiceLateness]) -> ReportState {
    let are_all = |state| services.iter().all(|it| it.state == state);
    let reports = services.iter().any(|it| it.state == ReportState::Reporting);
    let is_late = services.iter().any(|it| it.late_ms.is_some());
    match (are_all(ReportState::Never), is_late, reports) {
        (true, _, _) => ReportState::Never,
        (_, false, _) => ReportState::Reporting,
        (_, true, true) => ReportState::Late,
        (_, true, false) => ReportState::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::settings::host::OrderedService;

    fn host(services: &[(&str, u32)]) -> Host {
        let ordered = |interval_ms| OrderedService {
            plugin: "p".to_owned(),
            interval_ms,
        };
        let services = services.iter();
        Host {
            services: services
                .map(|(name, interval_ms)| ((*name).to_owned(), ordered(*interval_ms)))
                .collect(),
            ..Host::default()
        }
    }

    const CLIENT: ClientName = ClientName::Number(1);

    #[test]
    fn a_report_is_late_after_two_and_a_half_intervals_and_ten_seconds() {
        let lateness = Lateness::new(0);
        let host = host(&[("a", 4000)]);
        let late =
            |last: Option<i64>, now_ms| lateness.of(&CLIENT, &host, |_| last, now_ms).late_ms;
        assert_eq!(late(Some(1), 0), None);
        assert_eq!(late(Some(1), 20_000), None);
        assert_eq!(late(Some(1), 20_001), Some(1000));
        // The next one has come, whenever that was.
        assert_eq!(late(Some(2), 30_000), None);
        assert_eq!(late(Some(2), 50_001), Some(1000));
        // This collector stood still.
        lateness.begin_again(1_000_000);
        assert_eq!(late(Some(2), 1_020_000), None);
        assert_eq!(late(Some(2), 1_020_001), Some(1000));
        // One that never came before: its first report is where it counts from.
        let other = ClientName::Number(2);
        let late = |last: Option<i64>, now_ms| lateness.of(&other, &host, |_| last, now_ms).late_ms;
        assert_eq!(late(None, 1_000_000), None);
        assert_eq!(late(Some(1), 1_001_000), None);
        assert_eq!(late(Some(1), 1_021_000), None);
        assert_eq!(late(Some(1), 1_021_001), Some(1000));
    }

    #[test]
    fn what_never_came_waits_for_its_agent_to_hear_of_it() {
        let lateness = Lateness::new(0);
        let two = host(&[("a", 4000), ("b", 4000)]);
        let late = |host: &Host, now_ms| {
            let last = |name: &str| (name == "a").then_some(now_ms);
            lateness.of(&CLIENT, host, last, now_ms)
        };
        late(&two, 0);
        assert_eq!(late(&two, 320_000).state, ReportState::Reporting);
        assert_eq!(late(&two, 320_001).late_ms, Some(1000));
        // Another interval: its agent has to hear of that too.
        let faster = host(&[("a", 4000), ("b", 2000)]);
        assert_eq!(late(&faster, 320_002).state, ReportState::Reporting);
        assert_eq!(late(&faster, 320_002 + 315_001).late_ms, Some(1000));
    }

    #[test]
    fn a_host_is_silent_if_nothing_comes_and_late_if_something_is_missing() {
        use ReportState::{Late, Never, Reporting, Silent};
        let service = |(state, is_late): &(ReportState, bool)| ServiceLateness {
            state: *state,
            late_ms: is_late.then_some(1),
        };
        for (services, expected) in [
            (vec![], Never),
            (vec![(Never, true), (Never, true)], Never),
            (vec![(Reporting, false), (Never, false)], Reporting),
            (vec![(Reporting, false), (Never, true)], Late),
            (vec![(Reporting, false), (Late, true)], Late),
            (vec![(Late, true), (Late, true)], Silent),
            (vec![(Late, true), (Never, false)], Silent),
        ] {
            let all: Vec<_> = services.iter().map(service).collect();
            assert_eq!(in_all(&all), expected, "{services:?}");
        }
    }
}
