//! The uplink under random reports, answers and times: what it may do is told from outside, by what was
//! pushed, sent and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mote_agent::account::Account;
use mote_agent::delivery::uplink::together::{Fate, MAX_TOGETHER, MAX_TOGETHER_BYTES};
use mote_agent::delivery::uplink::{
    ATTEMPTS, CATCH_UP, DOUBTFUL_TRIES, MAX_DELAY_MS, MAX_DISTANCE_MS, Next, Uplink, WAY_TRIES,
};
use mote_agent::http::outcome::Outcome;
use mote_agent::queue::{OVERHEAD_BYTES, Queue, Record, Whose};
use mote_core::Uptime;
use proptest::prelude::*;
use proptest::sample::select;

const SERVICES: usize = 4;

/// A report that failed is not sent again before, unless the server took something since.
const AGAIN_MS: u64 = 1000;

/// The time between two looks at a client's clock.
const STEP_MS: u64 = 20;

#[derive(Clone, Debug)]
enum Step {
    Push {
        length: usize,
        service: usize,
    },
    Pass(u64),
    /// Time passes up to the instant that the uplink named last.
    PassToWait,
    /// If there is something to send, it gets this answer after so many milliseconds; what is pushed in
    /// between finds it in flight.
    Send {
        outcome: Outcome,
        after_ms: u64,
        pushes: usize,
    },
    /// The same with as many as go along, each of which has one of these fates.
    SendTogether {
        fates: Vec<Fate>,
        after_ms: u64,
        pushes: usize,
    },
    /// So many seconds, with a report of each service in each, of a server that fails on some.
    Serve {
        seconds: usize,
        services: usize,
        fails_on: FailsOn,
        failure: Outcome,
    },
    RetryNow,
}

#[derive(Clone, Copy, Debug)]
enum FailsOn {
    OneService,
    EachFifthReport,
    All,
}

const BUSY: Outcome = Outcome::Busy { retry_after: None };

fn outcomes() -> impl Strategy<Value = Outcome> {
    let busy = |seconds| Outcome::Busy {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    prop_oneof![
        8 => Just(Outcome::Acknowledged),
        1 => Just(Outcome::Refused),
        2 => Just(Outcome::Doubtful),
        6 => Just(Outcome::Failed),
        2 => Just(BUSY),
        1 => (0..200u64).prop_map(busy),
        3 => Just(Outcome::Unreachable),
        2 => Just(Outcome::Unanswered),
    ]
}

fn steps(services: usize) -> impl Strategy<Value = Vec<Step>> {
    let push = (4..60usize, 0..services);
    let send = (
        outcomes(),
        select(vec![0, 0, 3, 5000]),
        select(vec![0, 0, 1, 3]),
    );
    let fails_on = vec![FailsOn::OneService, FailsOn::EachFifthReport, FailsOn::All];
    let failures = vec![
        Outcome::Failed,
        Outcome::Failed,
        Outcome::Doubtful,
        BUSY,
        Outcome::Unanswered,
        Outcome::Unreachable,
    ];
    let serve = (1..90usize, select(fails_on), select(failures));
    let ends = select(vec![
        Fate::Ended(Outcome::Acknowledged),
        Fate::Ended(Outcome::Acknowledged),
        Fate::Ended(Outcome::Acknowledged),
        Fate::Ended(Outcome::Refused),
        Fate::GoesAlone,
    ]);
    let fates = prop_oneof![
        4 => prop::collection::vec(ends, MAX_TOGETHER),
        1 => Just(vec![Fate::GoesAlone; MAX_TOGETHER]),
        1 => Just(unreachable()),
    ];
    let together = (fates, select(vec![0, 0, 3, 5000]), select(vec![0, 0, 1, 3]));
    let step = prop_oneof![
        12 => push.prop_map(|(length, service)| Step::Push { length, service }),
        3 => (0..3000u64).prop_map(Step::Pass),
        1 => (0..200_000u64).prop_map(Step::Pass),
        10 => Just(Step::PassToWait),
        20 => send.prop_map(|(outcome, after_ms, pushes)| Step::Send { outcome, after_ms, pushes }),
        15 => together.prop_map(|(fates, after_ms, pushes)| Step::SendTogether { fates, after_ms, pushes }),
        1 => serve.prop_map(move |(seconds, fails_on, failure)| Step::Serve {
            seconds, services, fails_on, failure
        }),
        1 => Just(Step::RetryNow),
    ];
    prop::collection::vec(step, 1..200)
}

/// What the agent knows of reports whose request did not get there.
fn unreachable() -> Vec<Fate> {
    let mut fates = vec![Fate::Stayed; MAX_TOGETHER];
    fates[0] = Fate::Ended(Outcome::Unreachable);
    fates
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_uplink_keeps_its_rules(
        seed in any::<u32>(),
        max_bytes in select(vec![50, 300, 2000, 1 << 20]),
        max_age_ms in select(vec![5000, 100_000, u64::MAX]),
        rate in select(vec![0.0001, 0.01, 0.09, 1.0, 7.0]),
        attempts in select(vec![1, 2, ATTEMPTS, 100]),
        steps in (1..=SERVICES).prop_flat_map(steps),
    ) {
        let mut outside = Outside::new(seed, max_bytes, max_age_ms, rate, attempts);
        for step in &steps {
            outside.step(step);
        }
        outside.drain();
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn what_is_fresh_goes_first_after_any_outage(
        seed in any::<u32>(),
        intervals_ms in prop::collection::vec(select(vec![100, 500, 1000, 7500, 15_000, 60_000]), 1..12),
        outage_s in 1..150u64,
        kinds in prop::collection::vec(outage(), 1..4),
        call_ms in select(vec![0, 20]),
    ) {
        // A server that is too slow for all is another matter.
        let per_s: u64 = intervals_ms.iter().map(|ms| 1000 / ms).sum();
        prop_assume!(per_s * (call_ms + STEP_MS) < 400);
        let mut client = Client::new(seed, intervals_ms, call_ms);
        client.live(30_000, |_| Outcome::Acknowledged);
        let mut calls = 0;
        client.live(outage_s * 1000, |_| {
            calls += 1;
            kinds[calls % kinds.len()]
        });
        client.recover();
    }
}

/// All that can be known without looking into the uplink.
struct Outside {
    uplink: Uplink,
    now: u64,
    max_bytes: usize,
    max_age_ms: u64,
    distance_ms: u64,
    attempts: u8,
    /// By number, which is by age, too.
    waiting: BTreeMap<u32, Report>,
    in_flight: Option<Report>,
    /// Those in the same request with it.
    along: BTreeMap<u32, Report>,
    /// Those that have to go alone.
    alone: BTreeSet<u32>,
    services: [Service; SERVICES],
    account: Account,
    /// The uplink's last word on when to come again.
    wait: Uptime,
    /// Nothing is sent before.
    hold_until: u64,
    /// A server asked for so much time.
    asked_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    service: usize,
    bytes: usize,
    queued: u64,
    /// Times that the server failed on it, with an acknowledgement before each but the first: perhaps because of it, and
    /// because of the way.
    tries: u8,
    way_tries: u8,
    failed_at: Option<u64>,
    /// The last time because of the way.
    was_way: bool,
    /// The server took another one since it failed on this.
    others_taken: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Service {
    /// It failed since its last report was answered.
    failed: bool,
    /// One of its reports was given up, or refused for doubt, and none was answered since.
    gave_up: bool,
    was_refused: bool,
}

impl Outside {
    fn new(seed: u32, max_bytes: usize, max_age_ms: u64, rate: f64, attempts: u8) -> Self {
        let mut uplink = Uplink::new(Queue::new(max_bytes, max_age_ms), seed);
        uplink.set_rate(rate);
        uplink.set_attempts(attempts);
        let distance_ms = (1000.0 / rate / CATCH_UP) as u64;
        Outside {
            uplink,
            now: 1_000_000,
            max_bytes,
            max_age_ms,
            // Both the gap and the distance are whole milliseconds, so it may be one more.
            distance_ms: (distance_ms - 1).min(MAX_DISTANCE_MS.into()),
            attempts,
            waiting: BTreeMap::new(),
            in_flight: None,
            along: BTreeMap::new(),
            alone: BTreeSet::new(),
            services: Default::default(),
            account: Account::default(),
            wait: Uptime::from_millis(0),
            hold_until: 0,
            asked_until: 0,
        }
    }

    fn at(&self) -> Uptime {
        Uptime::from_millis(self.now)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push { length, service } => self.push(length, service),
            Step::Pass(millis) => self.now += millis,
            Step::PassToWait => {
                if self.wait != Uptime::NEVER {
                    self.now = self.now.max(self.wait.as_millis());
                }
            }
            Step::Send {
                outcome,
                after_ms,
                pushes,
            } => {
                if let Some(record) = self.next() {
                    for _ in 0..pushes {
                        self.push(10, record.service as usize);
                    }
                    self.now += after_ms;
                    assert!(self.next().is_none(), "two reports in flight");
                    self.delivered(record, outcome);
                }
            }
            Step::SendTogether {
                ref fates,
                after_ms,
                pushes,
            } => {
                if let Some(record) = self.next() {
                    self.send_together(record, fates, after_ms, pushes);
                }
            }
            Step::Serve {
                seconds,
                services,
                fails_on,
                failure,
            } => {
                for _ in 0..seconds {
                    for service in 0..services {
                        self.push(10, service);
                    }
                    self.serve(fails_on, failure);
                    self.now += 1000;
                }
            }
            Step::RetryNow => {
                self.uplink.retry_now(self.at());
                self.services = Default::default();
                self.hold_until = 0;
            }
        }
        self.compare();
    }

    fn send_together(&mut self, first: Record, fates: &[Fate], after_ms: u64, pushes: usize) {
        let mut batch = match self.uplink.together(first, self.at()) {
            Ok(batch) => batch,
            Err(first) => return self.delivered(first, Outcome::Acknowledged),
        };
        assert!((2..=MAX_TOGETHER).contains(&batch.len()));
        let bytes: usize = batch.iter().map(|it| it.report.len() + 1).sum();
        assert!(bytes <= MAX_TOGETHER_BYTES);
        for (nth, record) in batch.iter().enumerate() {
            let id = id(record);
            if nth > 0 {
                let report = self.waiting.remove(&id).expect("only what waits is sent");
                self.along.insert(id, report);
            }
            let report = self
                .along
                .get(&id)
                .or(self.in_flight.as_ref())
                .expect("one of them");
            assert!(!self.alone.contains(&id), "{id} does not go alone");
            assert!(
                report.failed_at.is_none() && !self.services[report.service].failed,
                "{report:?}"
            );
        }
        self.compare();
        for _ in 0..pushes {
            self.push(10, batch[0].service as usize);
        }
        self.now += after_ms;
        assert!(self.uplink_waits(), "two requests in flight");
        for (record, fate) in batch.drain(..).zip(fates) {
            let id = id(&record);
            if let Some(report) = self.along.remove(&id) {
                assert!(self.in_flight.replace(report).is_none());
            }
            match fate {
                Fate::Ended(outcome) => {
                    let one =
                        |uplink: &mut Uplink, record, at| uplink.delivered_one(record, *fate, at);
                    self.ended(record, *outcome, one);
                }
                Fate::GoesAlone | Fate::Stayed => {
                    assert!(!self.uplink.delivered_one(record, *fate, self.at()));
                    if *fate == Fate::GoesAlone {
                        self.alone.insert(id);
                    }
                    let report = self.in_flight.take().expect("one in flight");
                    self.queue(id, report);
                    self.compare();
                }
            }
        }
        self.uplink.all_delivered(batch);
        self.compare();
    }

    fn uplink_waits(&mut self) -> bool {
        matches!(self.uplink.next(self.at()), Next::Wait(Uptime::NEVER))
    }

    fn serve(&mut self, fails_on: FailsOn, failure: Outcome) {
        while let Some(record) = self.next() {
            let fails = match fails_on {
                FailsOn::OneService => record.service == 0,
                FailsOn::EachFifthReport => id(&record).is_multiple_of(5),
                FailsOn::All => true,
            };
            let outcome = if fails {
                failure
            } else {
                Outcome::Acknowledged
            };
            self.delivered(record, outcome);
        }
    }

    fn push(&mut self, length: usize, service: usize) {
        // No two of the same age, so that it is known which one is the oldest.
        self.now += 1;
        let id = u32::try_from(self.account.sampled).unwrap();
        let mut report = vec![b' '; length];
        report.splice(0..4, id.to_le_bytes());
        self.uplink.push(&report, whose(service), self.at());
        self.account.sampled += 1;
        let report = Report {
            service,
            bytes: length + OVERHEAD_BYTES,
            queued: self.now,
            tries: 0,
            way_tries: 0,
            failed_at: None,
            was_way: false,
            others_taken: false,
        };
        self.queue(id, report);
        self.compare();
    }

    /// A report joins those that wait; the oldest go if they are too old or too many.
    fn queue(&mut self, id: u32, report: Report) {
        self.waiting.insert(id, report);
        while let Some((_, oldest)) = self.waiting.first_key_value() {
            if self.now - oldest.queued > self.max_age_ms {
                self.account.dropped.expired += 1;
            } else if self.waiting_bytes() > self.max_bytes {
                self.account.dropped.overflow += 1;
            } else {
                break;
            }
            self.waiting.pop_first();
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.values().map(|it| it.bytes).sum()
    }

    fn next(&mut self) -> Option<Record> {
        let record = match self.uplink.next(self.at()) {
            Next::Send(record) => record,
            Next::Wait(until) => {
                self.check_wait(until);
                self.wait = until;
                return None;
            }
        };
        assert!(self.in_flight.is_none(), "two reports in flight");
        let id = id(&record);
        let report = self.waiting.remove(&id);
        let report = report.expect("only a report that waits is sent");
        assert_eq!(record.service, report.service as u64);
        assert_eq!(record.report.len() + OVERHEAD_BYTES, report.bytes);
        assert!(self.hold_until <= self.now, "sent too early");
        // A failure of the way may be worth one more try at once.
        let again_at = match report.failed_at {
            Some(failed_at) if !report.was_way => failed_at + AGAIN_MS,
            _ => 0,
        };
        assert!(again_at <= self.now || report.others_taken, "{report:?}");
        self.check_order(id, &report);
        self.in_flight = Some(report);
        self.compare();
        Some(record)
    }

    /// What waits is not held back for ever.
    fn check_wait(&self, until: Uptime) {
        assert!(until > self.at());
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return assert_eq!(until, Uptime::NEVER);
        }
        let longest = (2 * self.distance_ms + 2).max(MAX_DELAY_MS.into());
        let latest = self.now.max(self.asked_until) + longest;
        assert!(until.as_millis() <= latest, "held back until {until:?}");
    }

    /// Of a service that does not fail, the oldest or the newest goes next.
    fn check_order(&self, id: u32, report: &Report) {
        let mut others = self.waiting.iter();
        let is_before = |(key, it): (&u32, &Report)| {
            let is_untried = it.failed_at.is_none() && report.failed_at.is_none();
            it.service == report.service && is_untried && *key < id
        };
        let mut newer = self.waiting.range(id..).map(|(_, it)| it);
        if newer.any(|it| it.service == report.service) {
            let before = others.any(is_before);
            assert!(!before, "{id} is neither the oldest nor the newest");
        }
    }

    fn delivered(&mut self, record: Record, outcome: Outcome) {
        self.ended(record, outcome, |uplink, record, at| {
            uplink.delivered(record, outcome, at)
        });
    }

    fn ended(
        &mut self,
        record: Record,
        outcome: Outcome,
        delivered: impl Fn(&mut Uplink, Record, Uptime) -> bool,
    ) {
        let id = id(&record);
        self.alone.remove(&id);
        let mut report = self.in_flight.take().expect("one in flight");
        let at = self.at();
        let is_given_up = delivered(&mut self.uplink, record, at);
        let mut dead = BTreeMap::new();
        while let Some(record) = self.uplink.take_dead() {
            dead.insert(self::id(&record), ());
            self.uplink.buried(record);
        }
        assert_eq!(is_given_up, !dead.is_empty());
        let is_dead = dead.remove(&id).is_some();
        let service = self.services[report.service];
        match outcome {
            Outcome::Acknowledged => {
                self.account.acknowledged += 1;
                for it in self.waiting.values_mut() {
                    it.others_taken = true;
                }
                for id in dead.keys() {
                    let spent = self.waiting.remove(id).expect("a report that waits");
                    assert!(self.attempts == 1 && spent.tries > 0, "{spent:?}");
                    self.services[spent.service].gave_up = true;
                    self.account.dropped.gave_up += 1;
                }
                self.services[report.service] = Service::default();
                self.hold_until = 0;
                return self.compare();
            }
            Outcome::Refused => {
                assert!(is_dead);
                self.account.dropped.refused += 1;
                self.services[report.service] = Service::default();
                self.hold_until = 0;
                return self.compare();
            }
            Outcome::Unreachable => {
                assert!(!is_dead && dead.is_empty());
                self.hold_until = self.now + self.distance_ms.min(30_000);
                self.queue(id, report);
                return self.compare();
            }
            Outcome::Busy {
                retry_after: Some(asked),
            } => {
                let asked = u64::try_from(asked.as_millis()).unwrap();
                self.asked_until = self.asked_until.max(self.now + asked);
                if !service.failed {
                    self.hold_until = self.now + asked;
                }
            }
            _ => {}
        }
        let is_way = matches!(outcome, Outcome::Busy { .. } | Outcome::Unanswered);
        if report.failed_at.is_none() || report.others_taken {
            report.tries += u8::from(!is_way);
            report.way_tries += u8::from(is_way);
        }
        self.services[report.service].failed = true;
        if is_dead {
            let (is_enough, was_same) = match outcome {
                Outcome::Doubtful => (report.tries >= DOUBTFUL_TRIES, service.was_refused),
                Outcome::Failed => (report.tries >= self.attempts.max(2), service.gave_up),
                _ => (report.way_tries >= WAY_TRIES, false),
            };
            assert!(is_enough || was_same, "{report:?} after {outcome:?}");
            match outcome {
                Outcome::Doubtful => {
                    self.account.dropped.refused += 1;
                    self.services[report.service].was_refused = true;
                }
                Outcome::Failed => {
                    self.account.dropped.gave_up += 1;
                    self.services[report.service].gave_up = true;
                }
                _ => self.account.dropped.gave_up += 1,
            }
        } else {
            report.failed_at = Some(self.now);
            report.was_way = is_way;
            report.others_taken = false;
            self.queue(id, report);
        }
        for id in dead.keys() {
            let other = self.waiting.remove(id).expect("a report that waits");
            assert!(is_dead);
            assert_eq!(other.service, report.service);
            if outcome == Outcome::Doubtful {
                assert!(service.was_refused && other.tries > 0, "{other:?}");
                self.account.dropped.refused += 1;
            } else {
                assert!(outcome == Outcome::Failed && service.gave_up);
                self.account.dropped.gave_up += 1;
            }
        }
        self.compare();
    }

    /// The account balances, and each of its numbers is what was seen from here.
    fn compare(&mut self) {
        let in_flight = usize::from(self.in_flight.is_some()) + self.along.len();
        self.account.queued = (self.waiting.len() + in_flight) as u64;
        let account = self.uplink.account();
        assert_eq!(account, self.account);
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
        assert_eq!(self.uplink.queue_bytes(), self.waiting_bytes() as u64);
        assert!(self.uplink.queue_bytes() <= self.max_bytes as u64);
    }

    /// The server is there again and takes everything: all reports that are not gone get there, in a time that
    /// the pace allows for.
    fn drain(&mut self) {
        let queued = self.waiting.len();
        let longest = (2 * self.distance_ms + 2).max(MAX_DELAY_MS.into());
        let until = self.now.max(self.asked_until)
            + 2 * longest
            + (queued as u64 + 1) * (self.distance_ms + 1);
        while !self.waiting.is_empty() {
            if let Some(record) = self.next() {
                self.delivered(record, Outcome::Acknowledged);
            } else {
                self.now = self.wait.as_millis();
                assert!(
                    self.now <= until,
                    "{queued} reports are not gone at {until} ms"
                );
            }
        }
        assert_eq!(self.uplink.account().queued, 0);
        assert_eq!(self.uplink.queue_bytes(), 0);
        assert!(self.next().is_none());
        assert_eq!(self.wait, Uptime::NEVER);
    }
}

/// What a server answers while it is out of order, or what is between.
fn outage() -> impl Strategy<Value = Outcome> {
    select(vec![
        Outcome::Unreachable,
        Outcome::Unanswered,
        Outcome::Failed,
        Outcome::Doubtful,
        BUSY,
    ])
}

/// An agent with services of its own intervals, and what its server got.
struct Client {
    uplink: Uplink,
    now: u64,
    call_ms: u64,
    intervals_ms: Vec<u64>,
    /// Of each service the newest report that was sampled and the newest that was taken, by their times.
    newest: Vec<Newest>,
    taken: BTreeMap<(u64, u64), u32>,
    /// Times of those that were taken behind a newer one of their service, by service.
    backlog: Vec<Vec<u64>>,
    /// Those that the server failed on or refused for doubt. Each waits on its own account, while others go on.
    failed_on: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Newest {
    sampled: Option<u64>,
    taken: Option<u64>,
}

/// When a report was sampled.
fn sampled(record: &Record) -> u64 {
    u64::from_le_bytes(*record.report.first_chunk().unwrap())
}

impl Client {
    fn new(seed: u32, intervals_ms: Vec<u64>, call_ms: u64) -> Self {
        let mut uplink = Uplink::new(Queue::new(64 << 20, u64::MAX), seed);
        uplink.set_rate(intervals_ms.iter().map(|ms| 1000.0 / *ms as f64).sum());
        Client {
            uplink,
            now: 1_000_000,
            call_ms,
            newest: vec![Newest::default(); intervals_ms.len()],
            backlog: vec![Vec::new(); intervals_ms.len()],
            intervals_ms,
            taken: BTreeMap::new(),
            failed_on: BTreeSet::new(),
        }
    }

    fn sample(&mut self) {
        for (service, interval_ms) in self.intervals_ms.iter().enumerate() {
            // Not all at once.
            if (self.now + STEP_MS * service as u64).is_multiple_of(*interval_ms) {
                let report = [self.now.to_le_bytes(), (service as u64).to_le_bytes()].concat();
                let at = Uptime::from_millis(self.now);
                self.uplink.push(&report, whose(service), at);
                self.newest[service].sampled = Some(self.now);
            }
        }
    }

    fn live(&mut self, time_ms: u64, mut answer: impl FnMut(u64) -> Outcome) {
        let end = self.now + time_ms;
        let mut free_at = self.now;
        while self.now < end {
            self.sample();
            while self.now >= free_at
                && let Next::Send(record) = self.uplink.next(Uptime::from_millis(self.now))
            {
                let outcome = answer(self.now);
                match outcome {
                    Outcome::Acknowledged => self.take(&record),
                    Outcome::Failed | Outcome::Doubtful => {
                        self.failed_on.insert((record.service, sampled(&record)));
                    }
                    _ => {}
                }
                free_at = self.now + self.call_ms;
                let at = Uptime::from_millis(free_at);
                self.uplink.delivered(record, outcome, at);
            }
            self.now += STEP_MS;
        }
    }

    fn take(&mut self, record: &Record) {
        let sampled = sampled(record);
        *self.taken.entry((record.service, sampled)).or_default() += 1;
        let service = record.service as usize;
        let newest = &mut self.newest[service].taken;
        let was_failed_on = self.failed_on.contains(&(record.service, sampled));
        if newest.is_some_and(|it| it > sampled) && !was_failed_on {
            self.backlog[service].push(sampled);
        }
        *newest = Some(sampled.max(newest.unwrap_or_default()));
    }

    /// The server takes everything again.
    fn recover(&mut self) {
        let mut first_success = None;
        for _ in 0..5000 {
            let acknowledged = self.uplink.account().acknowledged;
            self.live(STEP_MS, |_| Outcome::Acknowledged);
            if self.uplink.account().acknowledged > acknowledged {
                first_success.get_or_insert(self.now);
            }
            let Some(first_success) = first_success else {
                continue;
            };
            for (newest, interval_ms) in self.newest.iter().zip(&self.intervals_ms) {
                let Some(taken) = newest.taken else {
                    assert!(self.now <= first_success + interval_ms + 1000);
                    continue;
                };
                if self.now > first_success + interval_ms + 1000 {
                    let is_fresh = taken + interval_ms + 1000 >= self.now;
                    assert!(is_fresh, "{taken} at {}, {:?}", self.now, self.intervals_ms);
                }
            }
        }
        // The backlog comes oldest first but for what waits on its own account, nothing is lost, and nothing comes twice.
        for backlog in &self.backlog {
            assert!(backlog.is_sorted(), "{backlog:?}");
        }
        assert!(self.taken.values().all(|times| *times == 1));
        let account = self.uplink.account();
        assert_eq!(account.dropped.total(), 0);
        assert_eq!(self.taken.len() as u64, account.acknowledged);
        assert_eq!(account.sampled, account.acknowledged + account.queued);
    }
}

/// That of no name.
fn whose(service: usize) -> Whose<'static> {
    let key = service as u64;
    Whose { key, name: "" }
}

fn id(record: &Record) -> u32 {
    let bytes = record.report.first_chunk().expect("a report of this test");
    u32::from_le_bytes(*bytes)
}
