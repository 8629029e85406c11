//! A whole fleet in simulated time: many clients, each with the real monitor, uplink and queue, lose their
//! server together and get it back together. Nothing may be lost, and the server may not be run down.
//!
//! A request takes no time here, which is the hardest case: nothing but the rules spreads the load.

mod loads;

use std::ops::Range;

use mote_agent::delivery::uplink::together::Fate;
use mote_agent::delivery::uplink::{Next, Uplink};
use mote_agent::http::outcome::Outcome;
use mote_agent::queue::{Queue, Record, Whose};
use mote_core::{
    Action, ClientId, Config, Interval, Monitor, MonitorSettings, Name, Service, Uptime,
    client_hash,
};
use mote_test_support::dice::Dice;

use loads::{Load, Loads};

const SERVICES: usize = 4;
const REFRESH_S: u32 = 300;
const SPREAD_MS: u32 = 10_000;

/// The phases of a run, in seconds after all clients were switched on at once.
const STEADY_S: Range<usize> = 600..1200;
const OUTAGE_S: Range<usize> = STEADY_S.end..STEADY_S.end + 600;
/// The backlog of the ten minutes, and of the one it may take to learn that the server is back, goes out at 1.6
/// times the rate of new reports: 660 s / 0.6 = 1100 s after that minute. One more is for uneven sampling.
const DRAINED_S: usize = 60 + 1100 + 60;
/// Clients that report rarely come back within 10 min, each with a few reports up to 5 min apart.
const SLOWLY_DRAINED_S: usize = 2400;

/// What is sampled goes out at once, and the backlog, at 0.6 times the rate of that, comes on top. In a second that many
/// clients have in common it may be more, measured by the mean.
const MAX_ADDED: f64 = 1.4;

struct Scenario {
    name: &'static str,
    clients: u32,
    /// None: the server is always there.
    outage: Option<Outcome>,
    /// So many seconds after the outage no client has a backlog.
    drained_s: usize,
    /// The server takes several reports in one request.
    batches: bool,
    /// The interval of a client's nth service.
    interval_ms: fn(&mut Dice, usize) -> u32,
}

#[test]
fn an_unreachable_server_is_not_run_down() {
    let load = Scenario {
        name: "services of 30 to 60 s, server unreachable",
        clients: 100_000,
        outage: Some(Outcome::Unreachable),
        drained_s: DRAINED_S,
        batches: false,
        interval_ms: half_to_one_minute,
    }
    .run();
    load.assert_peaks();
}

/// Nearly the same loads in reports, and fewer requests: services have phases of their own, so mostly a backlog goes
/// together.
#[test]
fn a_server_that_takes_batches_is_not_run_down() {
    let scenario = Scenario {
        name: "services of 15, 30, 60 and 60 s for all, with batches or without, server unreachable",
        clients: 20_000,
        outage: Some(Outcome::Unreachable),
        drained_s: DRAINED_S,
        batches: true,
        interval_ms: |_, service| [15_000, 30_000, 60_000, 60_000][service],
    };
    let batched = scenario.run();
    let single = Scenario {
        batches: false,
        ..scenario
    }
    .run();
    for bin in [1, 10] {
        let (many, one) = (
            batched.peak(batched.after(), bin),
            single.peak(single.after(), bin),
        );
        let limit = one + MAX_ADDED * single.mean(STEADY_S);
        assert!(many <= limit, "{bin} s: {many:.0}/s, one by one {one:.0}/s");
    }
    let requests = |loads: &Loads| -> u64 {
        let after = &loads.0[loads.after()];
        after.iter().map(|it| u64::from(it.requests)).sum()
    };
    let (many, one) = (requests(&batched), requests(&single));
    assert!(many < one, "{many} requests with batches, {one} without");
}

#[test]
fn a_busy_server_is_not_run_down() {
    let load = Scenario {
        name: "services of 30 to 60 s, server busy",
        clients: 100_000,
        outage: Some(Outcome::Busy { retry_after: None }),
        drained_s: DRAINED_S,
        batches: false,
        interval_ms: half_to_one_minute,
    }
    .run();
    load.assert_peaks();
}

#[test]
fn a_mixed_fleet_does_not_run_its_server_down() {
    let load = Scenario {
        name: "services of 1 s to 1 h, server unreachable",
        clients: 10_000,
        outage: Some(Outcome::Unreachable),
        drained_s: SLOWLY_DRAINED_S,
        batches: false,
        // As many services in each factor of the range.
        interval_ms: |dice, _| {
            let exponent = dice.below(1 << 20) as f64 / f64::from(1 << 20);
            (1000.0 * 3600f64.powf(exponent)) as u32
        },
    }
    .run();
    load.assert_peaks();
}

/// One document for all and one start for all leave bunches as wide as the spread of the first samples.
/// Those are there without any outage; of what an outage left only the usual comes on top of them.
#[test]
fn a_fleet_in_step_is_little_worse_after_an_outage() {
    let scenario = Scenario {
        name: "services of 15, 30, 60 and 60 s for all, server unreachable",
        clients: 20_000,
        outage: Some(Outcome::Unreachable),
        drained_s: DRAINED_S,
        batches: false,
        interval_ms: |_, service| [15_000, 30_000, 60_000, 60_000][service],
    };
    let load = scenario.run();
    let undisturbed = Scenario {
        name: "services of 15, 30, 60 and 60 s for all, no outage",
        outage: None,
        ..scenario
    }
    .run();
    for bin in [1, 10] {
        let (peak, usual) = (
            load.peak(load.after(), bin),
            undisturbed.peak(load.after(), bin),
        );
        assert!(
            peak <= usual + MAX_ADDED * undisturbed.mean(STEADY_S),
            "{bin} s: {peak:.0}/s, else {usual:.0}/s"
        );
    }
}

#[test]
fn a_slow_fleet_does_not_run_its_server_down() {
    let load = Scenario {
        name: "services of 10 to 20 min, server unreachable",
        clients: 50_000,
        outage: Some(Outcome::Unreachable),
        drained_s: SLOWLY_DRAINED_S,
        batches: false,
        interval_ms: |dice, _| (600 + dice.below(601) as u32) * 1000,
    }
    .run();
    load.assert_peaks();
}

fn half_to_one_minute(dice: &mut Dice, _: usize) -> u32 {
    (30 + dice.below(31) as u32) * 1000
}

impl Scenario {
    /// What the server answers depends on the time only, so the clients may live one after the other.
    fn run(&self) -> Loads {
        let mut dice = Dice(1);
        let mut server = Server {
            outage: self.outage,
            load: vec![Load::default(); OUTAGE_S.end + self.drained_s + 120],
        };
        let mut late = 0;
        for number in 1..=self.clients {
            let intervals_ms = std::array::from_fn(|nth| (self.interval_ms)(&mut dice, nth));
            late += u32::from(
                !Client::new(number, intervals_ms, self.batches)
                    .live(&mut server, OUTAGE_S.end + self.drained_s),
            );
        }
        let loads = Loads(server.load);
        println!("{} clients, {}:\n{loads}", self.clients, self.name);
        assert_eq!(late, 0, "clients that still have a backlog");
        loads
    }
}

struct Client {
    monitor: Monitor<(), SERVICES, 1>,
    uplink: Uplink,
    intervals_ms: [u32; SERVICES],
    batches: bool,
    /// What the server has from this client.
    received: Received,
}

#[derive(Default)]
struct Received {
    reports: u64,
    sum_of_seqs: u64,
}

impl Received {
    fn take(&mut self, report: &[u8]) {
        let Ok(seq) = report.try_into().map(u32::from_le_bytes) else {
            panic!("{report:?} is no report of this test");
        };
        self.reports += 1;
        self.sum_of_seqs += u64::from(seq);
    }
}

impl Client {
    fn new(number: u32, intervals_ms: [u32; SERVICES], batches: bool) -> Self {
        let client = client_hash(ClientId::Number(number));
        let settings = MonitorSettings {
            client,
            first_sample_spread_ms: SPREAD_MS,
            refresh: Interval::from_secs(REFRESH_S),
        };
        Client {
            monitor: Monitor::new(settings, Uptime::from_millis(0)),
            uplink: Uplink::new(Queue::new(1 << 20, 86_400_000), client),
            intervals_ms,
            batches,
            received: Received::default(),
        }
    }

    /// From the start to the end; whether the backlog was gone in time.
    fn live(mut self, server: &mut Server, drained_s: usize) -> bool {
        let end_ms = server.load.len() as u64 * 1000;
        let mut now = 0;
        let mut backlog = 0;
        while now < end_ms {
            let next = self.wake(Uptime::from_millis(now), server);
            assert!(next > now, "{:?} does not get on", self.intervals_ms);
            now = next;
            if now < drained_s as u64 * 1000 {
                backlog = self.uplink.account().queued;
            }
        }
        self.check(end_ms);
        backlog == 0
    }

    /// Does all there is to do at `now` and says when to come again.
    fn wake(&mut self, now: Uptime, server: &mut Server) -> u64 {
        while let Some(action) = self.monitor.poll(now) {
            match action {
                Action::FetchConfig => {
                    server.load_at(now).fetches += 1;
                    if server.answer(now) == Outcome::Acknowledged {
                        self.monitor.apply(&self.document());
                        let rates = self.intervals_ms.map(|ms| 1000.0 / f64::from(ms));
                        self.uplink.set_rate(rates.iter().sum());
                        self.monitor.fetched(now);
                    } else {
                        self.monitor.fetch_failed(now);
                    }
                }
                Action::Start(_) => {}
                Action::Sample { slot, missed, .. } => {
                    assert_eq!(missed, 0);
                    let seq = self.monitor.next_seq();
                    let key = slot.index() as u64;
                    let whose = Whose { key, name: "" };
                    self.uplink.push(&seq.to_le_bytes(), whose, now);
                }
            }
        }
        loop {
            match self.uplink.next(now) {
                Next::Send(record) => {
                    let together = match self.batches {
                        true => self.uplink.together(record, now),
                        false => Err(record),
                    };
                    server.load_at(now).requests += 1;
                    match together {
                        Ok(batch) => self.send_all(batch, now, server),
                        Err(record) => {
                            let outcome = self.send(&record, now, server);
                            self.uplink.delivered(record, outcome, now);
                        }
                    }
                }
                Next::Wait(until) => return until.min(self.monitor.poll_at()).as_millis(),
            }
        }
    }

    fn send(&mut self, record: &Record, now: Uptime, server: &mut Server) -> Outcome {
        server.load_at(now).reports += 1;
        let outcome = server.answer(now);
        if outcome == Outcome::Acknowledged {
            self.received.take(&record.report);
        }
        outcome
    }

    fn send_all(&mut self, mut batch: Vec<Record>, now: Uptime, server: &mut Server) {
        for (nth, record) in batch.drain(..).enumerate() {
            let outcome = self.send(&record, now, server);
            let fate = match outcome {
                Outcome::Acknowledged => Fate::Ended(outcome),
                Outcome::Unreachable if nth == 0 => Fate::Ended(outcome),
                Outcome::Unreachable => Fate::Stayed,
                _ => Fate::GoesAlone,
            };
            self.uplink.delivered_one(record, fate, now);
        }
        self.uplink.all_delivered(batch);
    }

    fn document(&self) -> Config<(), SERVICES, 1> {
        let mut config = Config::new();
        for (letter, interval_ms) in ('A'..).zip(self.intervals_ms) {
            let mut name = Name::new();
            let service = name
                .push(letter)
                .ok()
                .and(Interval::from_millis(interval_ms));
            let Some(interval) = service else {
                panic!("no service {letter} of {interval_ms} ms");
            };
            let service = Service {
                name,
                plugin: (),
                interval,
            };
            assert_eq!(config.push(service), Ok(()));
        }
        config
    }

    /// Each report is on the server once, or still here.
    fn check(&self, end_ms: u64) {
        let account = self.uplink.account();
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
        assert_eq!(account.dropped.total(), 0, "{account:?}");
        assert_eq!(self.received.reports, account.acknowledged);
        // The last sample may have been taken at the very end, all before are on the server.
        if account.queued == 0 {
            let sum: u64 = (0..account.sampled).sum();
            assert_eq!(self.received.sum_of_seqs, sum);
        }
        // Sampled is what the timetable holds, give or take the window and spread of the first one.
        let in_full = |ms: u32| end_ms / u64::from(ms);
        let without_start =
            |ms: u32| end_ms.saturating_sub(1000 + u64::from(SPREAD_MS)) / u64::from(ms);
        let most: u64 = self.intervals_ms.map(|ms| in_full(ms) + 1).iter().sum();
        let least: u64 = self.intervals_ms.map(without_start).iter().sum();
        assert!((least..=most).contains(&account.sampled), "{account:?}");
    }
}

struct Server {
    outage: Option<Outcome>,
    load: Vec<Load>,
}

impl Server {
    /// What it answers to any request at `now`.
    fn answer(&self, now: Uptime) -> Outcome {
        let outage = self.outage.filter(|_| OUTAGE_S.contains(&second(now)));
        outage.unwrap_or(Outcome::Acknowledged)
    }

    fn load_at(&mut self, now: Uptime) -> &mut Load {
        &mut self.load[second(now)]
    }
}

fn second(now: Uptime) -> usize {
    (now.as_millis() / 1000) as usize
}
