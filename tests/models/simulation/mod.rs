//! The whole agent in simulated time: the real timetable, queue, uplink and dispatcher, with a clock, a disk, a server
//! and deaths that are drawn from a seed. Nothing that was sampled and stored may be missing without being
//! accounted for, nothing may come changed, and once all is well again everything arrives.
//!
//! A seed that fails tells its story. `MOTE_SIM_SEED=17 cargo test --test models simulation` tells that of seed 17,
//! `MOTE_SIM_SEEDS=1000000` runs that many.

mod server;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use mote_agent::account::Account;
use mote_agent::delivery::dispatch::{Dispatcher, Job};
use mote_agent::delivery::uplink::Uplink;
use mote_agent::delivery::uplink::together::{Fate, MAX_TOGETHER, MAX_TOGETHER_BYTES};
use mote_agent::http::outcome::Outcome;
use mote_agent::orders::{self, HostMonitor};
use mote_agent::queue::{Chore, Disk, Queue, Whose};
use mote_core::{Action, ClientId, Envelope, Failure, Interval, SlotId, Stamp, Uptime};
use mote_test_disk::{Fault, MemoryFolder};
use mote_test_support::dice::Dice;
use server::Server;

/// Seeds of a usual run.
const SEEDS: u64 = 10_000;

/// Threads of the agent that do jobs.
const WORKERS: usize = 2;

const HOUR: u64 = 3_600_000;

#[test]
fn nothing_is_lost_whatever_happens() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|it| it.parse().expect("a number"))
    };
    if let Some(seed) = number("MOTE_SIM_SEED") {
        return World::new(seed, true).run();
    }
    let seeds = number("MOTE_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = 2;
    let totals: Vec<Totals> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || (first..seeds).step_by(threads as usize).map(run).sum())
            })
            .collect();
        running
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    let totals: Totals = totals.into_iter().sum();
    // What never happens proves nothing.
    println!("{totals:?}");
    if seeds >= SEEDS {
        for (what, count) in totals.each() {
            assert!(count > 100, "only {count} {what}");
        }
    }
}

/// Kills on a disk that is full now and then, before a server that comes and goes: nothing is given up in such a world, so
/// all that is missing in the end was in memory only when its agent was killed.
#[test]
fn kills_on_a_full_disk_take_what_only_memory_has() {
    let mut missing = 0;
    for seed in 0..400 {
        let mut world = World::new(seed, false);
        if !world.is_roomy {
            continue;
        }
        world.has_disk_trouble = true;
        world.stalls = 0;
        for _ in 0..40 {
            let until = world.uptime + world.dice.below(3000);
            world.pass(until);
            match world.dice.below(5) {
                0 => world.folder.set_room(world.folder.bytes()),
                1 => world.folder.set_room(usize::MAX),
                2 => world.kill(),
                3 => world.server.change(),
                _ => {}
            }
        }
        world.heal();
        let ids = world.sampled.keys();
        let gone = ids.filter(|id| !world.server.has_id(id)).count() as u64;
        let dropped = world.account().dropped.total();
        assert!(
            gone <= world.memory_only + dropped,
            "seed {seed}: {gone} are gone, {} were in memory only, {dropped} dropped",
            world.memory_only
        );
        missing += gone;
    }
    assert!(missing > 100, "{missing}");
}

/// Runs a seed; if it fails, once more with its story.
fn run(seed: u64) -> Totals {
    let mut totals = Totals::default();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, false);
        world.run();
        totals = world.totals;
    }));
    if let Err(panic) = result {
        eprintln!("seed {seed}:");
        World::new(seed, true).run();
        resume_unwind(panic);
    }
    totals
}

/// What happened, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    sampled: u64,
    delivered: u64,
    duplicates: u64,
    restarts: u64,
    kills: u64,
    cuts: u64,
    power_losses: u64,
    disk_failures: u64,
    stalls: u64,
    clock_jumps: u64,
    suspends: u64,
    unanswered: u64,
    together: u64,
    overflow: u64,
    expired: u64,
    refused: u64,
    gave_up: u64,
    forgotten: u64,
    agreed: u64,
}

impl Totals {
    fn each(&self) -> [(&'static str, u64); 19] {
        [
            ("sampled", self.sampled),
            ("delivered", self.delivered),
            ("duplicates", self.duplicates),
            ("restarts", self.restarts),
            ("kills", self.kills),
            ("cuts", self.cuts),
            ("power losses", self.power_losses),
            ("disk failures", self.disk_failures),
            ("stalls", self.stalls),
            ("clock jumps", self.clock_jumps),
            ("suspends", self.suspends),
            ("unanswered", self.unanswered),
            ("several in one request", self.together),
            ("overflow", self.overflow),
            ("expired", self.expired),
            ("refused", self.refused),
            ("gave up", self.gave_up),
            ("forgotten", self.forgotten),
            ("accounts that agreed", self.agreed),
        ]
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Totals::default(), |mut sum, it| {
            sum.sampled += it.sampled;
            sum.delivered += it.delivered;
            sum.duplicates += it.duplicates;
            sum.restarts += it.restarts;
            sum.kills += it.kills;
            sum.cuts += it.cuts;
            sum.power_losses += it.power_losses;
            sum.disk_failures += it.disk_failures;
            sum.stalls += it.stalls;
            sum.clock_jumps += it.clock_jumps;
            sum.suspends += it.suspends;
            sum.unanswered += it.unanswered;
            sum.together += it.together;
            sum.overflow += it.overflow;
            sum.expired += it.expired;
            sum.refused += it.refused;
            sum.gave_up += it.gave_up;
            sum.forgotten += it.forgotten;
            sum.agreed += it.agreed;
            sum
        })
    }
}

/// What one agent process is made of.
struct Agent {
    monitor: HostMonitor,
    dispatcher: Dispatcher<()>,
    disk: Option<Box<Disk<MemoryFolder>>>,
    spare: Option<Box<Chore>>,
    boot: String,
    document: Vec<u8>,
    workers: [Option<Busy>; WORKERS],
    buffer: Vec<u8>,
}

/// A worker at its job.
struct Busy {
    until: u64,
    work: Work,
}

enum Work {
    Chore(Box<Chore>, bool, Box<Disk<MemoryFolder>>),
    Fetch(Result<Vec<u8>, ()>),
    Deliver(mote_agent::queue::Record, Outcome),
    DeliverAll(Vec<mote_agent::queue::Record>, Vec<Fate>),
}

fn bury(agent: &mut Agent) {
    while let Some(record) = agent.dispatcher.uplink.take_dead() {
        agent.dispatcher.uplink.buried(record);
    }
}

/// What is known of a sampled report from outside.
struct Sampled {
    report: Vec<u8>,
    /// The queue has said that nothing waits for the disk any more.
    stored: bool,
    /// When that was, in milliseconds of uptime.
    stored_ms: u64,
    /// Its agent died before that, or power was lost and nothing promised for that.
    died: bool,
    /// It survived a loss of power, so it survives all.
    is_settled: bool,
}

struct World {
    dice: Dice,
    tells: bool,
    /// Milliseconds since this kernel started, suspended time included.
    uptime: u64,
    /// What the wall clock says then.
    unix_ms: u64,
    kernel: u32,
    runs: u32,
    folder: MemoryFolder,
    disk_trouble: Rc<RefCell<Trouble>>,
    server: Server,
    agent: Agent,
    sampled: BTreeMap<(String, u32), Sampled>,
    max_bytes: usize,
    max_age_ms: u64,
    /// None: reports survive the process only.
    sync_ms: Option<u64>,
    /// Whether anything may be given up in this world.
    is_roomy: bool,
    /// Whether the disk ever fails or stalls.
    has_disk_trouble: bool,
    /// Reports that were given up and whose count may have gone with the agent or with power.
    untold: u64,
    /// Reports that only memory had when their agent was killed.
    memory_only: u64,
    /// What an agent that was stopped said last, if its disk was told all of it.
    last_word: Option<Account>,
    /// One chore in so many takes long; 0: none.
    stalls: u64,
    totals: Totals,
}

/// What goes wrong on the disk at the moment.
struct Trouble {
    dice: Dice,
    /// One call in so many fails; 0: none.
    rarity: u64,
    failures: u64,
    /// Of them those of reading since the agent's start.
    unread: u64,
}

impl World {
    fn new(seed: u64, tells: bool) -> World {
        let mut dice = Dice(seed);
        let folder = MemoryFolder::default();
        let is_roomy = dice.one_in(2);
        let has_disk_trouble = dice.one_in(2);
        let max_bytes = if is_roomy {
            64 << 20
        } else {
            dice.pick(&[20_000, 100_000])
        };
        let max_age_ms = if is_roomy {
            u64::MAX / 4
        } else {
            dice.pick(&[60_000, HOUR, 24 * HOUR])
        };
        let sync_ms = dice.pick(&[None, None, Some(1000)]);
        let trouble = Rc::new(RefCell::new(Trouble {
            dice: Dice(dice.draw()),
            rarity: 0,
            failures: 0,
            unread: 0,
        }));
        let server = Server::new(Dice(dice.draw()), is_roomy);
        let uptime = 60_000 + dice.below(HOUR);
        let agent = agent(max_bytes, max_age_ms, sync_ms, 0, 0, &folder, uptime);
        World {
            dice,
            tells,
            uptime,
            unix_ms: 1_800_000_000_000,
            kernel: 0,
            runs: 0,
            folder,
            disk_trouble: trouble,
            server,
            agent,
            sampled: BTreeMap::new(),
            max_bytes,
            max_age_ms,
            sync_ms,
            is_roomy,
            has_disk_trouble,
            untold: 0,
            memory_only: 0,
            last_word: None,
            stalls: if has_disk_trouble { 200 } else { 0 },
            totals: Totals::default(),
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            let (seconds, millis) = (self.uptime / 1000, self.uptime % 1000);
            eprintln!(
                "{}/{} {seconds}.{millis:03} {}",
                self.kernel,
                self.runs,
                what()
            );
        }
    }

    fn now(&self) -> Uptime {
        Uptime::from_millis(self.uptime)
    }

    fn run(&mut self) {
        let trouble = Rc::clone(&self.disk_trouble);
        self.folder.fail_by(move || trouble.borrow_mut().next());
        let trouble = Rc::clone(&self.disk_trouble);
        self.folder
            .fail_reads_by(move || trouble.borrow_mut().next_read());
        let steps = 20 + self.dice.below(40);
        for _ in 0..steps {
            let time = self.dice.pick(&[100, 1000, 10_000, 60_000]);
            let until = self.uptime + self.dice.below(time);
            self.pass(until);
            self.happen();
        }
        self.heal();
    }

    /// Something that nobody asked for.
    fn happen(&mut self) {
        match self.dice.below(12) {
            0..=3 => {
                self.server.change();
                self.tell(|| format!("the server: {}", self.server.state()));
            }
            4 => self.kill(),
            5 => self.stop(),
            6 if self.has_disk_trouble => {
                let rarity = self.dice.pick(&[0, 0, 2, 10]);
                self.disk_trouble.borrow_mut().rarity = rarity;
                self.tell(|| format!("of the disk's calls one in {rarity} fails"));
            }
            7 if self.has_disk_trouble => {
                let room = self.dice.below(50_000) as usize;
                let is_full = self.dice.one_in(3);
                match is_full {
                    true => self.folder.set_room(self.folder.bytes() + room / 20),
                    false => self.folder.set_room(usize::MAX),
                }
                self.tell(|| format!("the disk is full: {is_full}"));
            }
            8 => {
                let jump = self.dice.pick(&[5000, HOUR, 3 * 365 * 24 * HOUR]);
                let is_back = self.dice.one_in(2);
                self.unix_ms = match is_back {
                    true => self.unix_ms.saturating_sub(jump),
                    false => self.unix_ms + jump,
                };
                self.totals.clock_jumps += 1;
                self.tell(|| format!("the clock jumps to {}", self.unix_ms));
            }
            9 => {
                let slept = self.dice.below(3 * HOUR);
                self.uptime += slept;
                self.unix_ms += slept;
                self.totals.suspends += 1;
                self.tell(|| format!("was suspended for {slept} ms"));
            }
            10 => self.lose_power(),
            _ => self.agent.dispatcher.fetch(),
        }
    }

    /// Lets time pass.
    fn pass(&mut self, until: u64) {
        let mut turns = 0;
        while self.uptime < until {
            let at = self.turn().clamp(self.uptime + 1, until);
            self.unix_ms += at - self.uptime;
            self.uptime = at;
            turns += 1;
            assert!(turns < 100_000, "it spins");
        }
        self.turn();
    }

    /// Does what is due. Gives when the next thing is.
    fn turn(&mut self) -> u64 {
        let mut at = u64::MAX;
        // A chore that is done may have another behind it.
        for _ in 0..1000 {
            let sampled = self.sample();
            let (progress, next) = self.work();
            at = next.min(self.agent.monitor.poll_at().as_millis());
            self.check();
            if !progress && !sampled {
                return at;
            }
        }
        panic!("there is always something to do at once, next at {at}");
    }

    fn sample(&mut self) -> bool {
        let now = self.now();
        let mut sampled = false;
        while let Some(action) = self.agent.monitor.poll(now) {
            match action {
                Action::FetchConfig => self.agent.dispatcher.fetch(),
                Action::Start(_) => {}
                Action::Sample { slot, .. } => {
                    self.report(slot);
                    sampled = true;
                }
            }
        }
        if let Some(answer) = self.agent.dispatcher.take_orders() {
            let monitor = &mut self.agent.monitor;
            match answer.map(|document| (orders::parse(&document, &[]), document)) {
                Ok((Ok(orders), document)) => {
                    if self.agent.document != document {
                        monitor.apply(&orders);
                        let each = monitor.entries().map(|(_, it)| it.service.interval);
                        let rate = each.map(|it| 1000.0 / f64::from(it.as_millis())).sum();
                        self.agent.dispatcher.uplink.set_rate(rate);
                        self.agent.document = document;
                    }
                    monitor.fetched(now);
                }
                _ => monitor.fetch_failed(now),
            }
        }
        sampled
    }

    fn report(&mut self, slot: SlotId) {
        let agent = &mut self.agent;
        let Some(entry) = agent.monitor.entry(slot) else {
            return;
        };
        let envelope = Envelope {
            client_id: ClientId::Number(1),
            service_name: &entry.service.name,
            stamp: Stamp::Clock {
                unix_ms: self.unix_ms,
                boot: &agent.boot,
            },
            seq: agent.monitor.seq(),
        };
        let whose = Whose::of(&envelope.client_id, envelope.service_name);
        let text = "x".repeat(self.dice.below(100) as usize);
        let length = envelope
            .encode(&Failure::new(&text), &mut agent.buffer)
            .unwrap();
        let report = agent.buffer[..length].to_vec();
        agent
            .dispatcher
            .uplink
            .push(&report, whose, Uptime::from_millis(self.uptime));
        let seq = agent.monitor.next_seq();
        let id = (agent.boot.clone(), seq);
        self.totals.sampled += 1;
        self.tell(|| format!("samples {id:?}"));
        let sampled = Sampled {
            report,
            stored: false,
            stored_ms: 0,
            died: false,
            is_settled: false,
        };
        assert!(self.sampled.insert(id, sampled).is_none(), "a number twice");
    }

    /// The workers. Gives whether something happened and when the next one is done or due.
    fn work(&mut self) -> (bool, u64) {
        let now = self.now();
        let (mut progress, mut at) = (false, u64::MAX);
        for index in 0..WORKERS {
            if self.agent.workers[index]
                .as_ref()
                .is_some_and(|it| it.until <= self.uptime)
            {
                let busy = self.agent.workers[index].take().unwrap();
                self.end(busy.work);
                progress = true;
            }
            if let Some(busy) = &self.agent.workers[index] {
                at = at.min(busy.until);
                continue;
            }
            let agent = &mut self.agent;
            agent.dispatcher.takes_many = self.server.takes_many;
            match agent.dispatcher.next(now, self.unix_ms, &mut agent.spare) {
                Job::Wait(until) => at = at.min(until.as_millis()),
                Job::End => {}
                job => {
                    let busy = self.begin(job);
                    at = at.min(busy.until);
                    self.agent.workers[index] = Some(busy);
                    progress = true;
                }
            }
        }
        (progress, at)
    }

    fn begin(&mut self, job: Job) -> Busy {
        match job {
            Job::Chore(mut chore) => {
                let mut disk = self.agent.disk.take().expect("one chore at a time");
                let worked = disk.perform(&mut chore).is_ok();
                self.totals.disk_failures += u64::from(!worked);
                let stalls = self.stalls > 0 && self.dice.one_in(self.stalls);
                let takes = if stalls { self.dice.below(20_000) } else { 0 };
                self.totals.stalls += u64::from(stalls);
                self.tell(|| {
                    format!(
                        "a chore of {takes} ms: {}",
                        if worked { "done" } else { "failed" }
                    )
                });
                Busy {
                    until: self.uptime + takes,
                    work: Work::Chore(chore, worked, disk),
                }
            }
            Job::Fetch => {
                let (takes, answer) = self.server.fetch();
                self.tell(|| format!("asks for orders: {}", answer.is_ok()));
                Busy {
                    until: self.uptime + takes,
                    work: Work::Fetch(answer),
                }
            }
            Job::Deliver(record) => {
                let (takes, outcome) = self.server.post(&record.report);
                self.totals.unanswered += u64::from(outcome == Outcome::Unanswered);
                self.tell(|| {
                    format!(
                        "posts {:?}: {outcome:?} after {takes} ms",
                        id(&record.report)
                    )
                });
                Busy {
                    until: self.uptime + takes,
                    work: Work::Deliver(record, outcome),
                }
            }
            Job::DeliverAll(batch) => {
                assert!((2..=MAX_TOGETHER).contains(&batch.len()));
                let reports: Vec<&[u8]> = batch.iter().map(|it| it.report.as_slice()).collect();
                let bytes: usize = reports.iter().map(|it| it.len() + 1).sum();
                assert!(bytes <= MAX_TOGETHER_BYTES);
                let (takes, fates) = self.server.post_all(&reports);
                self.totals.together += 1;
                self.tell(|| {
                    let ids: Vec<_> = reports.iter().map(|it| id(it)).collect();
                    format!("posts {ids:?}: {fates:?} after {takes} ms")
                });
                Busy {
                    until: self.uptime + takes,
                    work: Work::DeliverAll(batch, fates),
                }
            }
            Job::FetchFor(_) | Job::Wait(_) | Job::End => unreachable!("no boards here"),
        }
    }

    fn end(&mut self, work: Work) {
        let now = self.now();
        let agent = &mut self.agent;
        match work {
            Work::Chore(mut chore, worked, disk) => {
                agent.disk = Some(disk);
                agent.dispatcher.chore_done(&mut chore, worked, now);
                agent.spare = Some(chore);
                let queue = agent.dispatcher.uplink.queue();
                let range = boot_of(agent);
                if queue.disk_works()
                    && let Some(last_word) = self.last_word.take()
                    && self.sampled.range(range.clone()).next().is_none()
                    && self.disk_trouble.borrow().unread == 0
                {
                    let account = agent.dispatcher.uplink.account();
                    let (now, then) = (account.dropped.forgotten, last_word.dropped.forgotten);
                    assert_eq!(now, then, "{account:?} after {last_word:?}");
                    // What was given up just before a kill or a call that failed may be counted twice, and what was
                    // given up for want of room while it was on its way, and then taken, is on disk as given up.
                    let is_exact = self.totals.kills + self.totals.power_losses == 0
                        && !self.has_disk_trouble
                        && account.dropped.overflow == 0;
                    assert!(account == last_word || !is_exact, "{account:?}");
                    self.totals.agreed += 1;
                }
                let forgot = agent.dispatcher.uplink.forgotten() > 0;
                if queue.is_stored(now) && queue.disk_works() && !forgot {
                    for (_, sampled) in self
                        .sampled
                        .range_mut(range)
                        .rev()
                        .take_while(|(_, it)| !it.stored)
                    {
                        sampled.stored = true;
                        sampled.stored_ms = self.uptime;
                    }
                }
            }
            Work::Fetch(answer) => agent.dispatcher.fetched(answer),
            Work::Deliver(record, outcome) => {
                agent.dispatcher.delivered(record, outcome, now);
                bury(agent);
            }
            Work::DeliverAll(mut batch, fates) => {
                for (record, fate) in batch.drain(..).zip(fates) {
                    agent.dispatcher.delivered_one(record, fate, now);
                    bury(agent);
                }
                agent.dispatcher.all_delivered(batch);
            }
        }
    }

    /// The agent is killed, perhaps in the midst of a write.
    fn kill(&mut self) {
        self.totals.kills += 1;
        if self.dice.one_in(2) {
            let kept = self.dice.below(400) as usize;
            let call = self.folder.calls() + self.dice.below(3) as usize;
            self.folder.fail_at(call, Fault::Cut(kept));
            for _ in 0..100 {
                let until = self.uptime + 50;
                self.pass(until);
                if self.folder.is_dead() {
                    self.totals.cuts += 1;
                    break;
                }
            }
        }
        self.tell(|| "is killed".to_owned());
        self.start();
    }

    /// The agent is stopped in order.
    fn stop(&mut self) {
        self.tell(|| "is stopped".to_owned());
        self.totals.restarts += 1;
        let end = self.uptime + 3000;
        self.agent.dispatcher.close(Uptime::from_millis(end));
        while self.uptime < end + 1000 {
            self.work();
            if self.uptime >= end && self.agent.dispatcher.is_flushed(self.now()) {
                break;
            }
            self.uptime += 50;
            self.unix_ms += 50;
        }
        self.agent.dispatcher.uplink.forget();
        self.check();
        self.check_end();
        for (_, sampled) in self.sampled.range_mut(boot_of(&self.agent)) {
            // It is where the account says.
            if !sampled.stored {
                sampled.stored = true;
                sampled.stored_ms = self.uptime;
            }
        }
        let queue = self.agent.dispatcher.uplink.queue();
        let is_told = queue.disk_works() && queue.chore_at(self.now(), true) > self.now();
        // Without all that was there it may say too little.
        let is_right = is_told && !queue.has_chore() && self.disk_trouble.borrow().unread == 0;
        let last_word = is_right.then(|| self.account());
        self.start();
        self.last_word = last_word;
    }

    /// What only memory had is said to be lost, and nothing else.
    fn check_end(&mut self) {
        let uplink = &self.agent.dispatcher.uplink;
        let (account, forgotten) = (uplink.account(), uplink.forgotten());
        self.tell(|| format!("ends with {account:?}"));
        let unstored = self.sampled.range(boot_of(&self.agent));
        let unstored: Vec<_> = unstored.filter(|(_, it)| !it.stored).collect();
        assert!(forgotten <= unstored.len() as u64, "{forgotten} forgotten");
        let is_gone = |id, report| !self.server.has_id(id) && !self.folder.holds(report);
        let gone = unstored.iter().filter(|(id, it)| is_gone(id, &it.report));
        let (gone, dropped) = (gone.count() as u64, account.dropped);
        let others = dropped.total() - dropped.forgotten;
        assert!(gone <= forgotten + others, "{gone} are gone: {account:?}");
        self.totals.forgotten += forgotten;
    }

    /// Power is lost: what was not synced may be gone, and another kernel starts.
    fn lose_power(&mut self) {
        self.totals.power_losses += 1;
        self.untold += self.account().dropped.total();
        let off = self.dice.below(HOUR);
        self.tell(|| format!("power is lost for {off} ms"));
        let mut dice = self.dice.clone();
        self.folder
            .lose_power(|unsynced| dice.below(unsynced as u64 + 1) as usize);
        self.dice = dice;
        // A sync may come a turn late.
        let sync_ms = self
            .sync_ms
            .filter(|_| !self.has_disk_trouble)
            .map(|it| it + 1000);
        for sampled in self.sampled.values_mut() {
            let is_safe = sync_ms.is_some_and(|it| sampled.stored_ms + it <= self.uptime);
            sampled.died |= !is_safe && !sampled.is_settled;
            sampled.is_settled |= is_safe;
        }
        self.kernel += 1;
        self.unix_ms += off;
        self.uptime = 20_000 + self.dice.below(60_000);
        self.start();
    }

    fn start(&mut self) {
        if self.has_disk_trouble {
            // What a disk that fails could not be told dies with the agent.
            self.untold += self.account().dropped.total();
        }
        for sampled in self.sampled.values_mut() {
            sampled.died |= !sampled.stored;
        }
        self.memory_only += self.agent.dispatcher.uplink.queue().unstored();
        self.last_word = None;
        self.disk_trouble.borrow_mut().unread = 0;
        self.tell(|| format!("starts with{}", self.folder.listing()));
        self.folder.spare();
        self.folder.restart();
        self.runs += 1;
        self.agent = agent(
            self.max_bytes,
            self.max_age_ms,
            self.sync_ms,
            self.kernel,
            self.runs,
            &self.folder,
            self.uptime,
        );
    }

    fn account(&self) -> Account {
        self.agent.dispatcher.uplink.account()
    }

    fn check(&self) {
        let account = self.account();
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
        assert!(
            // Each attempt on a disk that fails may leave a piece.
            self.folder.bytes() <= self.max_bytes + 30_000,
            "{} bytes",
            self.folder.bytes()
        );
    }

    /// All is well again, and everything that is there arrives.
    fn heal(&mut self) {
        self.tell(|| "all is well again".to_owned());
        self.folder.heal();
        self.stalls = 0;
        self.server.heal();
        self.start();
        self.server.has_services = false;
        self.agent.dispatcher.fetch();
        let waiting = self.sampled.len() as u64;
        // A tick, the longest backoff, and a backlog at its pace.
        let until = self.uptime + 20 * 60_000 + waiting * 20_000;
        while self.uptime < until {
            let next = self.uptime + 10_000;
            self.pass(next);
            let is_open = self.agent.dispatcher.uplink.queue().disk_works();
            if is_open && self.account().queued == 0 && !self.agent.document.is_empty() {
                break;
            }
        }
        let account = self.account();
        assert_eq!(account.queued, 0, "it does not all arrive: {account:?}");
        self.settle(&account);
    }

    /// Everything is somewhere.
    fn settle(&mut self, account: &Account) {
        for (id, report) in self.server.reports() {
            let sampled = self
                .sampled
                .get(id)
                .unwrap_or_else(|| panic!("{id:?} was never sampled"));
            assert_eq!(sampled.report, report, "{id:?} came changed");
        }
        let missing = self
            .sampled
            .iter()
            .filter(|(id, _)| !self.server.has_id(id));
        let dropped = account.dropped;
        if self.totals.power_losses == 0 {
            // A kill takes what only memory has, and nothing else.
            let missing = missing.clone().count() as u64;
            assert!(
                missing <= self.memory_only + dropped.total() + self.untold,
                "{missing} are missing, {} were in memory only, {dropped:?}",
                self.memory_only
            );
        }
        let ids: Vec<_> = missing
            .filter(|(_, it)| !it.died)
            .map(|(id, _)| id)
            .collect();
        assert!(
            ids.len() as u64 <= dropped.total() + self.untold,
            "{} are missing and {dropped:?} accounted for: {ids:?}",
            ids.len(),
        );
        if self.is_roomy {
            assert_eq!(
                (dropped.overflow, dropped.expired),
                (0, 0),
                "nothing had to be given up"
            );
        }
        if !self.has_disk_trouble && self.totals.power_losses == 0 {
            // A write that a kill cut is one report at most. It may be counted again if a kill comes between its count
            // and its number.
            let (cuts, kills) = (self.totals.cuts, self.totals.kills);
            assert!(
                dropped.damaged <= 2 * cuts,
                "{dropped:?} after {cuts} cuts of {kills} kills"
            );
        }
        let totals = &mut self.totals;
        totals.delivered = self.server.reports().count() as u64;
        totals.duplicates = self.server.duplicates();
        totals.overflow = dropped.overflow;
        totals.expired = dropped.expired;
        totals.refused = dropped.refused;
        totals.gave_up = dropped.gave_up;
    }
}

impl Trouble {
    fn next_read(&mut self) -> bool {
        let fails = self.next().is_some();
        self.unread += u64::from(fails);
        fails
    }

    fn next(&mut self) -> Option<Fault> {
        if self.rarity == 0 || !self.dice.one_in(self.rarity) {
            return None;
        }
        self.failures += 1;
        Some(Fault::Fail(self.dice.below(300) as usize))
    }
}

fn agent(
    max_bytes: usize,
    max_age_ms: u64,
    sync_ms: Option<u64>,
    kernel: u32,
    run: u32,
    folder: &MemoryFolder,
    uptime: u64,
) -> Agent {
    let now = Uptime::from_millis(uptime);
    let queue = Queue::on_disk(max_bytes, max_age_ms, sync_ms, &format!("kernel-{kernel}"));
    let uplink = Uplink::new(queue, run);
    let settings = mote_core::MonitorSettings {
        client: 1,
        first_sample_spread_ms: 0,
        refresh: Interval::from_millis(60_000),
    };
    Agent {
        monitor: HostMonitor::new(settings, now),
        dispatcher: Dispatcher::new(uplink, true),
        disk: Some(Box::new(Disk::new(folder.clone()))),
        spare: None,
        boot: format!("run-{run:04}"),
        document: Vec::new(),
        workers: [const { None }; WORKERS],
        buffer: vec![0; 4096],
    }
}

/// What an agent sampled.
fn boot_of(agent: &Agent) -> RangeInclusive<(String, u32)> {
    (agent.boot.clone(), 0)..=(agent.boot.clone(), u32::MAX)
}

/// The boot and number of a report.
pub fn id(report: &[u8]) -> (String, u32) {
    let text = std::str::from_utf8(report).unwrap();
    let (_, boot) = text.rsplit_once("\"boot\":\"").unwrap();
    let (boot, rest) = boot.split_once('"').unwrap();
    let (_, seq) = rest.rsplit_once(':').unwrap();
    (boot.to_owned(), seq.trim_end_matches('}').parse().unwrap())
}
