//! The uplink under random reports, answers and times: what it may do is told from outside, by what was
//! pushed, sent and answered.

use std::collections::BTreeMap;
use std::time::Duration;

use mote_agent::account::Account;
use mote_agent::delivery::uplink::{CATCH_UP, MAX_TRIES, Next, Uplink};
use mote_agent::http::outcome::Outcome;
use mote_agent::queue::{Queue, Record, Whose};
use mote_core::Uptime;
use proptest::prelude::*;
use proptest::sample::select;

const SERVICES: usize = 4;

/// A backlog is never held back longer than this between two reports.
const MAX_DISTANCE_MS: u64 = 300_000;

/// What a queue counts for a report beyond its bytes.
const OVERHEAD_BYTES: usize = 64;

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
        6 => Just(BUSY),
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
    let failures = vec![BUSY, BUSY, BUSY, Outcome::Unanswered, Outcome::Unreachable];
    let serve = (1..90usize, select(fails_on), select(failures));
    let step = prop_oneof![
        12 => push.prop_map(|(length, service)| Step::Push { length, service }),
        3 => (0..3000u64).prop_map(Step::Pass),
        1 => (0..200_000u64).prop_map(Step::Pass),
        10 => Just(Step::PassToWait),
        20 => send.prop_map(|(outcome, after_ms, pushes)| Step::Send { outcome, after_ms, pushes }),
        1 => serve.prop_map(move |(seconds, fails_on, failure)| Step::Serve {
            seconds, services, fails_on, failure
        }),
        1 => Just(Step::RetryNow),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_uplink_keeps_its_rules(
        seed in any::<u32>(),
        max_bytes in select(vec![50, 300, 2000, 1 << 20]),
        max_age_ms in select(vec![5000, 100_000, u64::MAX]),
        rate in select(vec![0.0001, 0.01, 0.09, 1.0, 7.0]),
        steps in (1..=SERVICES).prop_flat_map(steps),
    ) {
        let mut outside = Outside::new(seed, max_bytes, max_age_ms, rate);
        for step in &steps {
            outside.step(step);
        }
        outside.drain();
    }
}

/// All that can be known without looking into the uplink.
struct Outside {
    uplink: Uplink,
    now: u64,
    max_bytes: usize,
    max_age_ms: u64,
    distance_ms: u64,
    /// By number, which is by age, too.
    waiting: BTreeMap<u32, Report>,
    in_flight: Option<Report>,
    services: [Service; SERVICES],
    account: Account,
    /// The uplink's last word on when to come again.
    wait: Uptime,
    /// After a server that is not there, does not answer, or asked for time; and between the reports of a
    /// backlog.
    hold: Hold,
    /// The same for failing services alone, of a server that is busy for them and has taken nothing since.
    failing_hold: Hold,
    /// The server was lost, and the backlog of that is not gone yet.
    catching_up: bool,
    /// Since the last answer.
    delays: u32,
}

#[derive(Debug)]
struct Report {
    service: usize,
    bytes: usize,
    queued: u64,
    /// Not sent again before; known, since jitter is for servers only.
    not_before: u64,
    /// Times that the server failed on it, with an acknowledgement before each but the first.
    tries: u8,
    /// It was put behind the others.
    was_busy: bool,
    /// The server took another one since it failed on this.
    others_taken: bool,
}

#[derive(Clone, Copy, Default)]
struct Service {
    /// The server failed on its last report.
    failing: bool,
    /// The server took another service's report since.
    others_taken: bool,
    /// One of its reports was given up and none was answered since.
    gave_up: bool,
    /// The report that never got there is the next of this service.
    again: Option<u32>,
}

/// Nothing may be sent before `earliest`. At `latest`, whatever may be sent must be. Jitter is between.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    earliest: u64,
    latest: u64,
}

impl Outside {
    fn new(seed: u32, max_bytes: usize, max_age_ms: u64, rate: f64) -> Self {
        let mut uplink = Uplink::new(Queue::new(max_bytes, max_age_ms), seed);
        uplink.set_rate(rate);
        Outside {
            uplink,
            now: 1_000_000,
            max_bytes,
            max_age_ms,
            // Both the gap and the distance are whole milliseconds, so it may be one more.
            distance_ms: ((1000.0 / rate / CATCH_UP) as u64 - 1).min(MAX_DISTANCE_MS),
            waiting: BTreeMap::new(),
            in_flight: None,
            services: Default::default(),
            account: Account::default(),
            wait: Uptime::from_millis(0),
            hold: Hold::default(),
            failing_hold: Hold::default(),
            catching_up: false,
            delays: 0,
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
                for service in &mut self.services {
                    let again = service.again;
                    *service = Service {
                        again,
                        ..Service::default()
                    };
                }
                self.hold = Hold::default();
                self.failing_hold = Hold::default();
                self.delays = 0;
            }
        }
        self.compare();
    }

    fn serve(&mut self, fails_on: FailsOn, failure: Outcome) {
        while let Some(record) = self.next() {
            let fails = match fails_on {
                FailsOn::OneService => record.service == 0,
                FailsOn::EachFifthReport => id(&record).is_multiple_of(5),
                FailsOn::All => true,
            };
            self.delivered(
                record,
                if fails {
                    failure
                } else {
                    Outcome::Acknowledged
                },
            );
        }
    }

    fn push(&mut self, length: usize, service: usize) {
        // No two of the same age, so that it is known which one is the oldest.
        self.now += 1;
        let id = u32::try_from(self.account.sampled).unwrap();
        let mut report = vec![b' '; length];
        report.splice(0..4, id.to_le_bytes());
        let key = service as u64;
        let whose = Whose { key, name: "" };
        self.uplink.push(&report, whose, self.at());
        self.account.sampled += 1;
        let report = Report {
            service,
            bytes: length + OVERHEAD_BYTES,
            queued: self.now,
            not_before: self.now,
            tries: 0,
            was_busy: false,
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
        let next = self.uplink.next(self.at());
        let record = match next {
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
        self.check_time(&report);
        self.check_order(id, &report);
        if self.catching_up {
            self.hold = Hold {
                earliest: self.now + self.distance_ms,
                latest: self.now + self.distance_ms + 1,
            };
        }
        self.services[report.service].again = None;
        self.in_flight = Some(report);
        self.compare();
        Some(record)
    }

    /// What may be sent is sent.
    fn check_wait(&self, until: Uptime) {
        assert!(until > self.at());
        let sendable = self.waiting.values().map(|it| self.sendable_by(it));
        match sendable.min() {
            Some(sendable) if self.in_flight.is_none() => {
                let latest = sendable.max(self.hold.latest);
                assert!(
                    until.as_millis() <= latest,
                    "held back until {until:?}, at most {latest} ms"
                );
            }
            _ => assert_eq!(until, Uptime::NEVER),
        }
    }

    /// From when on only [`Outside::hold`] keeps it back.
    fn sendable_by(&self, report: &Report) -> u64 {
        match self.services[report.service].failing {
            true => report.not_before.max(self.failing_hold.latest),
            false => report.not_before,
        }
    }

    fn check_time(&self, report: &Report) {
        assert!(report.not_before <= self.now, "tried again too early");
        assert!(self.hold.earliest <= self.now, "{:?}", self.hold);
        if self.services[report.service].failing {
            let hold = self.failing_hold;
            assert!(hold.earliest <= self.now, "{hold:?}");
        }
    }

    fn check_order(&self, id: u32, report: &Report) {
        let service = &self.services[report.service];
        if service.failing {
            let mut others = self.waiting.values();
            let held = others.find(|it| it.not_before <= self.now && !self.is_failing(it));
            assert!(held.is_none(), "{held:?} waits for a failing service");
        }
        let again = service.again.filter(|it| self.waiting.contains_key(it));
        assert_eq!(again, None, "it never got there, but {id} is sent first");
        if !report.was_busy {
            let mut older = self.waiting.range(..id);
            let overtaken = older.find(|(_, it)| it.service == report.service && !it.was_busy);
            assert!(overtaken.is_none(), "{overtaken:?} was overtaken by {id}");
        }
    }

    fn is_failing(&self, report: &Report) -> bool {
        self.services[report.service].failing
    }

    fn delivered(&mut self, record: Record, outcome: Outcome) {
        let id = id(&record);
        let report = self.in_flight.take().expect("one in flight");
        let is_given_up = self.uplink.delivered(record, outcome, self.at());
        let expected = match outcome {
            Outcome::Acknowledged => {
                self.account.acknowledged += 1;
                for it in self.waiting.values_mut() {
                    it.others_taken = true;
                }
                for it in &mut self.services {
                    it.others_taken = true;
                }
                self.answered(report.service);
                false
            }
            Outcome::Refused => {
                self.account.dropped.refused += 1;
                self.answered(report.service);
                true
            }
            Outcome::Unreachable => {
                self.hold = self.delay(Duration::ZERO);
                self.services[report.service].again = Some(id);
                self.queue(id, report);
                false
            }
            Outcome::Unanswered => {
                self.hold = self.delay(Duration::ZERO);
                let (report, is_given_up) = self.failed(report);
                if !is_given_up {
                    self.services[report.service].again = Some(id);
                    self.queue(id, report);
                }
                is_given_up
            }
            Outcome::Busy { retry_after } => self.busy(id, report, retry_after),
        };
        assert_eq!(is_given_up, expected);
        self.compare();
    }

    fn answered(&mut self, service: usize) {
        self.services[service] = Service::default();
        self.failing_hold = Hold::default();
        self.delays = 0;
        self.catching_up &= self.waiting.values().any(|it| it.not_before <= self.now);
        if !self.catching_up {
            self.hold = Hold::default();
        }
    }

    /// Whether the report is given up for it.
    fn busy(&mut self, id: u32, report: Report, retry_after: Option<Duration>) -> bool {
        let before = self.services[report.service];
        if let Some(asked) = retry_after {
            self.hold = self.delay(asked);
        } else if before.failing && !before.others_taken {
            self.failing_hold = self.delay(Duration::ZERO);
        }
        let (mut report, is_given_up) = self.failed(report);
        if !is_given_up {
            report.was_busy = true;
            report.not_before = self.now + (1000 << report.tries);
            self.queue(id, report);
        }
        is_given_up
    }

    /// The server failed on a report. Gives whether it is given up for it.
    fn failed(&mut self, mut report: Report) -> (Report, bool) {
        if report.tries == 0 || report.others_taken {
            report.tries += 1;
        }
        report.others_taken = false;
        let before = self.services[report.service];
        let all_are_given_up = before.gave_up && before.failing && before.others_taken;
        let is_given_up = all_are_given_up || report.tries == MAX_TRIES;
        self.services[report.service] = Service {
            failing: true,
            others_taken: false,
            gave_up: before.gave_up || is_given_up,
            again: before.again,
        };
        if all_are_given_up {
            let before = self.waiting.len();
            self.waiting.retain(|_, it| it.service != report.service);
            self.account.dropped.gave_up += (before - self.waiting.len()) as u64;
        }
        self.account.dropped.gave_up += u64::from(is_given_up);
        (report, is_given_up)
    }

    /// One more delay in a row.
    fn delay(&mut self, asked: Duration) -> Hold {
        self.catching_up = true;
        let from = self.now + u64::try_from(asked.as_millis()).unwrap();
        let floor = self.distance_ms.min(30_000);
        let cap = (2 * self.distance_ms + 2).max(60_000);
        let doubled = 1000 << self.delays.min(20);
        self.delays += 1;
        Hold {
            earliest: from + floor,
            latest: from + cap.min(doubled).max(floor + 1),
        }
    }

    /// The account balances, and each of its numbers is what was seen from here.
    fn compare(&mut self) {
        let in_flight = usize::from(self.in_flight.is_some());
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
        let held = self.hold.latest.max(self.failing_hold.latest);
        let last = self.waiting.values().map(|it| it.not_before).max();
        let until = held.max(last.unwrap_or_default()).max(self.now)
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

fn id(record: &Record) -> u32 {
    let bytes = record.report.first_chunk().expect("a report of this test");
    u32::from_le_bytes(*bytes)
}
