//! The queue and its disk: no matter which call fails, and at which byte a write is cut, every report that was
//! appended and is not done is there after a restart, once and unchanged.

use std::collections::{BTreeMap, BTreeSet};

use mote_agent::account::Account;
use mote_agent::delivery::uplink::{Next, Uplink};
use mote_agent::http::outcome::Outcome;
use mote_agent::queue::{Chore, Disk, FileName, Queue, Storage, Whose};
use mote_core::Uptime;
use mote_test_disk::{Fault, MemoryFolder};
use proptest::prelude::*;

/// Small, so that a short workload fills some segments of 1/16 of it.
const MAX_BYTES: usize = 6000;

/// A key of no service in particular.
const WHOSE: Whose<'static> = Whose { key: 1, name: "" };

/// A queue that loses nothing.
const PLENTY: usize = 1 << 20;

/// The workload does each of its six kinds of work twice.
const ROUNDS: usize = 12;

/// Miri takes ten thousand times as long, and finds what is undefined as well in one short history as in many.
const RUNS: u32 = if cfg!(miri) { 1 } else { 2000 };
const MAX_STEPS: usize = if cfg!(miri) { 30 } else { 120 };

#[derive(Clone, Debug)]
enum Step {
    /// A report of so many bytes and some.
    Push(usize),
    /// The disk does what it has to do.
    Chore,
    /// The server takes the next reports.
    Deliver(usize),
    /// The server refuses the next report for good.
    Refuse,
    /// The server is busy for the next report, which steps behind the others.
    Busy,
    /// The next report finds no server and is put back.
    Fail,
    /// The agent ends, in order or not, and starts again.
    Restart,
    /// So many milliseconds.
    Pass(u64),
}

/// What is known of a report from outside.
#[derive(Clone, Debug, Default)]
struct Known {
    report: Vec<u8>,
    /// A chore has said that nothing waits for the disk any more.
    stored: bool,
    /// It was acknowledged or given up.
    done: bool,
    /// And that is noted on disk.
    flushed: bool,
    /// The agent ended before the disk had it, or before it was told that it is done: it may be there or not.
    uncertain: bool,
}

/// An agent's queue, its disk, and what a server saw.
struct World {
    folder: MemoryFolder,
    uplink: Uplink,
    disk: Disk<MemoryFolder>,
    chore: Chore,
    now: u64,
    max_bytes: usize,
    known: BTreeMap<u32, Known>,
    /// How often the server took each.
    taken: BTreeMap<u32, usize>,
    /// The highest number that the account ever said.
    damaged: u64,
}

impl World {
    fn new(folder: MemoryFolder, max_bytes: usize) -> World {
        let mut world = World {
            uplink: uplink(max_bytes),
            disk: Disk::new(folder.clone()),
            folder,
            chore: Chore::default(),
            now: 1_000_000,
            max_bytes,
            known: BTreeMap::new(),
            taken: BTreeMap::new(),
            damaged: 0,
        };
        world.chores();
        world
    }

    fn at(&self) -> Uptime {
        Uptime::from_millis(self.now)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(length) => {
                let id = u32::try_from(self.known.len()).unwrap();
                let report = format!(
                    r#"{{"client_id":1,"service_name":"S{}","data":"{}","seq":{id}}}"#,
                    id % 3,
                    "x".repeat(length)
                );
                let name = format!("S{}", id % 3);
                let whose = Whose::of(&mote_core::ClientId::Number(1), &name);
                self.uplink.push(report.as_bytes(), whose, self.at());
                let report = report.into_bytes();
                self.known.insert(
                    id,
                    Known {
                        report,
                        ..Known::default()
                    },
                );
            }
            Step::Chore => self.chores(),
            Step::Deliver(count) => {
                for _ in 0..count {
                    self.deliver(Outcome::Acknowledged);
                }
            }
            Step::Refuse => self.deliver(Outcome::Refused),
            Step::Busy => self.deliver(Outcome::Busy { retry_after: None }),
            Step::Fail => self.deliver(Outcome::Unreachable),
            Step::Restart => self.restart(),
            Step::Pass(ms) => self.now += ms,
        }
        self.check();
    }

    /// Until the disk has nothing to do, or fails.
    fn chores(&mut self) {
        for _ in 0..100 {
            let now = self.at();
            if self.uplink.queue().chore_at(now, true) > now {
                return;
            }
            self.uplink
                .begin_chore(&mut self.chore, now, 1_800_000_000_000 + self.now);
            let worked = self.disk.perform(&mut self.chore).is_ok();
            self.uplink.finish_chore(&mut self.chore, worked, now);
            if worked {
                for known in self.known.values_mut().filter(|it| !it.uncertain) {
                    known.flushed |= known.done;
                }
            }
            if self.uplink.queue().is_stored(now) && self.uplink.queue().disk_works() {
                for known in self.known.values_mut().filter(|it| !it.uncertain) {
                    known.stored = true;
                }
            }
        }
        panic!("the disk is never done");
    }

    fn deliver(&mut self, outcome: Outcome) {
        let now = self.at();
        self.uplink.retry_now(now);
        let Next::Send(record) = self.uplink.next(now) else {
            return;
        };
        let id = id(&record.report);
        let known = self.known.get_mut(&id).expect("a report that was pushed");
        assert_eq!(record.report, known.report);
        // Otherwise, after a kill, the server would have a report that is in no account. It takes Miri too long to
        // find out.
        if self.uplink.queue().disk_works() && !cfg!(miri) {
            let is_stored = self.folder.holds(&record.report);
            assert!(is_stored, "{id} is sent too early");
        }
        if outcome == Outcome::Acknowledged {
            *self.taken.entry(id).or_default() += 1;
        }
        let is_given_up = self.uplink.delivered(record, outcome, now);
        known.done |= is_given_up || outcome == Outcome::Acknowledged;
        while let Some(record) = self.uplink.take_dead() {
            self.uplink.buried(record);
        }
    }

    fn restart(&mut self) {
        self.folder.restart();
        self.uplink = uplink(self.max_bytes);
        self.disk = Disk::new(self.folder.clone());
        for known in self.known.values_mut() {
            known.uncertain |= !known.stored || (known.done && !known.flushed);
        }
        self.now += 1000;
        self.chores();
    }

    fn account(&self) -> Account {
        self.uplink.account()
    }

    fn check(&mut self) {
        let account = self.account();
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
        self.damaged = self.damaged.max(account.dropped.damaged);
    }

    /// Takes all that is there; gives the ids in their order.
    fn drain(&mut self) -> Vec<u32> {
        let mut ids = vec![];
        self.chores();
        loop {
            let now = self.at();
            self.uplink.retry_now(now);
            match self.uplink.next(now) {
                Next::Send(record) => {
                    let id = id(&record.report);
                    assert_eq!(
                        record.report, self.known[&id].report,
                        "{id} came back changed"
                    );
                    ids.push(id);
                    self.uplink.delivered(record, Outcome::Acknowledged, now);
                    self.chores();
                }
                Next::Wait(_) if self.uplink.queue().is_empty() => break,
                Next::Wait(until) => {
                    self.chores();
                    assert_ne!(until, Uptime::NEVER, "{:?} never come", self.uplink.queue());
                    self.now = until.as_millis();
                }
            }
            self.check();
        }
        assert_eq!(self.account().queued, 0);
        ids
    }
}

fn uplink(max_bytes: usize) -> Uplink {
    let queue = Queue::on_disk(max_bytes, u64::MAX, None, "kernel");
    let mut uplink = Uplink::new(queue, 7);
    uplink.set_rate(1000.0);
    uplink
}

fn id(report: &[u8]) -> u32 {
    let text = std::str::from_utf8(report).unwrap();
    let (_, id) = text.rsplit_once(':').unwrap();
    id.trim_end_matches('}').parse().unwrap()
}

/// Appends, acknowledgements out of order, rotations, removals and restarts.
fn workload() -> Vec<Step> {
    let mut steps = vec![];
    for round in 0..ROUNDS {
        for n in 0..4 {
            steps.push(Step::Push(10 * n + 5));
            if n % 2 == 1 {
                steps.push(Step::Chore);
            }
        }
        match round % 6 {
            0 => steps.push(Step::Deliver(1)),
            1 => steps.extend([Step::Busy, Step::Deliver(2), Step::Refuse]),
            2 => steps.extend([Step::Fail, Step::Restart, Step::Deliver(3)]),
            3 => steps.extend([Step::Deliver(6), Step::Chore, Step::Push(400), Step::Chore]),
            4 => steps.extend([Step::Busy, Step::Chore, Step::Restart]),
            // Nothing waits but what the disk does not have yet.
            _ => steps.extend([
                Step::Deliver(40),
                Step::Push(30),
                Step::Deliver(1),
                Step::Chore,
                Step::Deliver(1),
                Step::Push(40),
                Step::Deliver(1),
            ]),
        }
        steps.push(Step::Chore);
    }
    steps
}

/// Runs the workload until the call that is cut, starts again, and checks what is there. Gives false if no call was
/// cut.
fn cut_at(call: usize, kept: usize) -> bool {
    let folder = MemoryFolder::default();
    folder.fail_at(call, Fault::Cut(kept));
    // Small segments, with room for all.
    let mut world = World::new(folder, MAX_BYTES);
    for step in &workload() {
        world.step(step);
        if world.folder.is_dead() {
            break;
        }
    }
    if !world.folder.is_dead() {
        return false;
    }
    world.folder.heal();
    world.restart();
    let what = format!("call {call} cut after {kept} bytes");
    let recovered = world.account();
    assert!(recovered.dropped.overflow == 0, "{what}: {recovered:?}");
    let known = world.known.clone();
    let ids = world.drain();
    let mut found: BTreeSet<u32> = ids.iter().copied().collect();
    assert_eq!(found.len(), ids.len(), "{what}: twice in {ids:?}");
    assert!(ids.is_sorted(), "{what}: {ids:?}");
    for (id, known) in &known {
        if known.stored && !known.done && !known.uncertain {
            assert!(found.contains(id), "{what}: {id} is lost of {ids:?}");
        }
        if known.flushed {
            assert!(!found.contains(id), "{what}: {id} is there again");
        }
    }
    // Only the report that was being written can have been cut.
    let account = world.account();
    let damaged = account.dropped.damaged;
    assert!(damaged <= 1, "{what}: {damaged} damaged");
    // What the server has was sampled, says the account, whenever the agent ended.
    found.extend(world.taken.keys());
    assert!(
        account.sampled >= found.len() as u64,
        "{what}: {account:?}, {found:?}"
    );
    // And it goes on as if nothing had happened.
    for _ in 0..4 {
        let first = u32::try_from(world.known.len()).unwrap();
        for _ in 0..2 {
            world.step(&Step::Push(100));
            world.step(&Step::Chore);
        }
        let account = world.account();
        world.restart();
        assert_eq!(world.account(), account, "{what}");
        assert_eq!(world.drain(), [first, first + 1], "{what}");
    }
    true
}

#[test]
fn whatever_call_is_cut_at_whatever_byte_nothing_whole_is_lost() {
    let folder = MemoryFolder::default();
    let mut world = World::new(folder.clone(), MAX_BYTES);
    for step in &workload() {
        world.step(step);
    }
    let calls = folder.written();
    assert!(calls.len() > 5 * ROUNDS, "{} calls", calls.len());
    let all = calls.iter().enumerate();
    let all = all.flat_map(|(call, bytes)| (0..=*bytes).map(move |kept| (call, kept)));
    let mut cuts = 0;
    for (call, kept) in all {
        assert!(cut_at(call, kept), "call {call} is not made");
        cuts += 1;
    }
    assert!(cuts > 400 * ROUNDS, "{cuts} cuts");
}

/// Reports that take more room than memory has for them.
fn long_backlog() -> World {
    let mut world = World::new(MemoryFolder::default(), PLENTY);
    for _ in 0..500 {
        world.step(&Step::Push(1000));
        world.step(&Step::Chore);
    }
    assert!(world.uplink.queue().on_disk_only() > 200);
    world
}

#[test]
fn what_cannot_be_read_is_tried_again_and_comes_in_time() {
    let mut world = long_backlog();
    world.folder.fail_reads_by(|| true);
    for _ in 0..400 {
        world.step(&Step::Deliver(1));
        world.step(&Step::Chore);
    }
    assert!(world.uplink.queue().is_left(u64::MAX));
    // What is new is kept on the disk meanwhile.
    world.step(&Step::Push(100));
    world.step(&Step::Chore);
    assert!(world.uplink.queue().disk_works());
    assert_eq!(world.uplink.queue().unstored(), 0);
    let before = world.account();
    world.folder.heal();
    world.now += 5000;
    let taken = world.drain().len() as u64;
    assert!(taken > 200);
    let account = world.account();
    assert_eq!(account.acknowledged, before.acknowledged + taken);
    assert_eq!((account.sampled, account.dropped.total()), (501, 0));
    assert!(world.taken.values().all(|times| *times == 1));
}

#[test]
fn a_disk_that_cannot_be_read_at_the_start_is_tried_again() {
    for (fails, is_whole) in [(1, true), (7_000, false)] {
        let mut world = long_backlog();
        let mut left = fails;
        world.folder.fail_reads_by(move || {
            left -= i32::from(left > 0);
            left > 0
        });
        world.restart();
        for _ in 0..3 {
            world.now += 5000;
            world.chores();
        }
        world.folder.heal();
        world.now += 5000;
        assert_eq!(world.drain().len(), 500, "{fails}");
        let account = world.account();
        assert!(account.sampled >= 500, "{account:?}");
        assert!(account.dropped.total() == 0 || !is_whole, "{account:?}");
        works_on(&mut world);
    }
}

#[test]
fn a_file_that_may_not_grow_is_left_for_another_one() {
    let mut world = World::new(MemoryFolder::default(), PLENTY);
    world.folder.set_max_file(2000);
    for _ in 0..30 {
        world.step(&Step::Push(300));
        world.step(&Step::Chore);
        assert!(world.uplink.queue().disk_works());
    }
    // Not even one has room for this.
    world.step(&Step::Push(3000));
    world.step(&Step::Chore);
    assert!(!world.uplink.queue().disk_works());
    world.folder.heal();
    world.now += 5000;
    world.chores();
    world.restart();
    assert_eq!(world.drain(), (0..=30).collect::<Vec<_>>());
    assert_eq!(world.account().dropped.total(), 0);
}

/// A line as the queue seals it.
fn sealed(text: &str) -> String {
    format!("{text}*{:08X}\n", crc32fast::hash(text.as_bytes()))
}

/// The report with this id, as [`World::step`] makes it and a segment holds it.
fn line(number: u64, at_ms: u64, id: u32, length: usize) -> String {
    let data = "x".repeat(length);
    let report = format!(r#"{{"client_id":1,"service_name":"S","data":"{data}","seq":{id}}}"#);
    sealed(&format!("{number} {at_ms} {report}"))
}

/// The queue's time of [`World::new`], after a start of the kernel.
const NOW_MS: u64 = 1_800_000_000_000 + 1_000_000;

fn head() -> String {
    sealed("= another 1800000000000 {}")
}

/// A world that finds these lines in a segment whose name says 0; `max_age_ms` bounds the age of its reports.
fn found(lines: &[String], max_bytes: usize, max_age_ms: u64) -> World {
    let mut folder = MemoryFolder::default();
    folder
        .append(FileName::Segment(0), lines.concat().as_bytes())
        .unwrap();
    found_in(folder, max_bytes, max_age_ms)
}

fn found_in(folder: MemoryFolder, max_bytes: usize, max_age_ms: u64) -> World {
    let mut world = World::new(folder, max_bytes);
    world.uplink = Uplink::new(Queue::on_disk(max_bytes, max_age_ms, None, "kernel"), 7);
    world.uplink.set_rate(1000.0);
    world.disk = Disk::new(world.folder.clone());
    world.chores();
    world
}

/// Takes all that is there, whatever it is, a few reports between restarts, and acknowledges it; gives the ids.
fn take_all(world: &mut World) -> Vec<u32> {
    let mut ids = vec![];
    for _ in 0..10_000 {
        world.chores();
        let now = world.at();
        match world.uplink.next(now) {
            Next::Send(record) => {
                ids.push(id(&record.report));
                world.uplink.delivered(record, Outcome::Acknowledged, now);
            }
            Next::Wait(_) if world.uplink.queue().is_empty() => return ids,
            Next::Wait(until) => {
                assert_ne!(until, Uptime::NEVER, "{:?}", world.account());
                world.now = until.as_millis();
            }
        }
        world.check();
        if ids.len() % 7 == 3 {
            world.chores();
            world.restart();
        }
    }
    panic!("{:?}", world.account());
}

/// Whatever was found, one more report gets a number, gets through, and is not there again.
fn works_on(world: &mut World) {
    for _ in 0..2 {
        let before = world.account();
        world.uplink.push(br#"{"seq":77}"#, WHOSE, world.at());
        world.chores();
        world.restart();
        assert_eq!(
            world.account().queued,
            1,
            "{before:?}, {:?}",
            world.account()
        );
        assert_eq!(take_all(world), [77]);
        world.chores();
        assert_eq!(world.account().sampled, before.sampled + 1);
    }
}

#[test]
fn whole_lines_in_any_order_are_delivered_once_each() {
    let orders = (0..120usize).map(|mut code| {
        let mut left: Vec<u32> = (0..5).collect();
        let mut order = vec![];
        for base in (1..=5).rev() {
            order.push(left.remove(code % base));
            code /= base;
        }
        order
    });
    for order in orders {
        for twice in [false, true] {
            let mut lines = vec![head()];
            lines.extend(order.iter().map(|id| line((*id).into(), NOW_MS, *id, 5)));
            if twice {
                lines.extend(order.iter().map(|id| line((*id).into(), NOW_MS, *id, 5)));
            }
            let mut world = found(&lines, PLENTY, u64::MAX);
            let mut ids = take_all(&mut world);
            ids.sort_unstable();
            assert_eq!(ids, [0, 1, 2, 3, 4], "{order:?}");
            assert_eq!(world.account().dropped.total(), 0, "{order:?}");
            works_on(&mut world);
        }
    }
}

#[test]
fn lines_in_another_order_are_delivered_though_memory_holds_a_part_of_them() {
    let count = 700u32;
    // Backwards; in steps; the first one last. One is damaged, which is one.
    let backwards: Vec<u32> = (0..count).rev().collect();
    let steps: Vec<u32> = (0..count).map(|it| it * 303 % count).collect();
    let moved: Vec<u32> = (1..count).chain([0]).collect();
    for order in [backwards, steps, moved] {
        let mut lines = vec![head()];
        lines.extend(order.iter().map(|id| line((*id).into(), NOW_MS, *id, 1200)));
        lines[9].replace_range(40..41, "?");
        let damaged = order[8];
        let mut world = found(&lines, PLENTY, u64::MAX);
        let mut ids = take_all(&mut world);
        ids.sort_unstable();
        let expected: Vec<u32> = (0..count).filter(|id| *id != damaged).collect();
        assert_eq!(ids, expected);
        assert_eq!(world.account().dropped.damaged, 1);
        assert_eq!(world.account().dropped.total(), 1);
        works_on(&mut world);
    }
}

#[test]
fn a_number_that_no_agent_can_have_come_to_is_damage() {
    for number in [
        1 << 32,
        1 << 53,
        (1 << 60) - 1,
        1 << 60,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let good = line(0, NOW_MS, 0, 5);
        let bad = line(number, NOW_MS, 1, 5);
        let cut = bad[..bad.len() - 3].to_owned();
        // From the number of the next report on.
        let done = sealed(&format!("- {number}-{number} 1-{number} {{}}"));
        for last in [bad, cut] {
            for done in ["", &done] {
                let lines = [head(), good.clone(), last.clone()];
                let mut world = found(&[], PLENTY, u64::MAX);
                world.folder = MemoryFolder::default();
                let text = lines.concat();
                world
                    .folder
                    .append(FileName::Segment(0), text.as_bytes())
                    .unwrap();
                if !done.is_empty() {
                    world
                        .folder
                        .append(FileName::Done(0), done.as_bytes())
                        .unwrap();
                }
                world.restart();
                assert_eq!(take_all(&mut world), [0], "{number}");
                assert_eq!(
                    world.account().sampled,
                    1,
                    "{number}: {:?}",
                    world.account()
                );
                works_on(&mut world);
            }
        }
    }
}

#[test]
fn nothing_is_written_into_a_file_that_is_no_segment() {
    let other = [head(), line(1, NOW_MS, 77, 5)].concat();
    // Where the first one would be, and where others begin later.
    for names in [vec![2], vec![5, 6, 9, 14]] {
        let mut folder = MemoryFolder::default();
        for first in &names {
            let name = FileName::Segment(*first);
            folder.append(name, other.as_bytes()).unwrap();
        }
        if names.len() == 1 {
            folder.append(FileName::Done(2), b"\n").unwrap();
        }
        // Each report but those begins a segment.
        let mut world = World::new(folder.clone(), 20_000);
        for _ in 0..12 {
            world.step(&Step::Push(1260));
            world.step(&Step::Chore);
        }
        let mut again = found_in(folder, 20_000, u64::MAX);
        let ids = take_all(&mut again);
        assert_eq!(ids, (0..12).collect::<Vec<_>>(), "{names:?}");
        works_on(&mut again);
    }
}

#[test]
fn the_last_number_within_reach_is_not_the_last_one() {
    let lines = [
        head(),
        line(0, NOW_MS, 0, 5),
        line((1 << 32) - 1, NOW_MS, 1, 5),
    ];
    let mut world = found(&lines, PLENTY, u64::MAX);
    assert_eq!(take_all(&mut world), [0, 1]);
    works_on(&mut world);
}

#[test]
fn a_time_far_ahead_neither_stays_nor_takes_others_along() {
    const HOUR_MS: u64 = 3_600_000;
    const DAY_MS: u64 = 24 * HOUR_MS;
    for kernel in ["kernel", "another"] {
        for ahead in [
            2 * DAY_MS,
            400 * DAY_MS,
            200 * 366 * DAY_MS,
            (1 << 53) - NOW_MS,
            u64::MAX - NOW_MS,
        ] {
            for place in 0..3 {
                // The last one of another run of the kernel may be that of a clock which was right, if it is
                // not very late.
                if kernel == "another" && place == 2 && ahead < 366 * DAY_MS {
                    continue;
                }
                let times =
                    (0..3).map(|it| NOW_MS - HOUR_MS / 2 + if it == place { ahead } else { it });
                let mut lines = vec![sealed(&format!("= {kernel} 1800000000000 {{}}"))];
                let numbers = times.zip(0u32..);
                lines.extend(numbers.map(|(at_ms, id)| line(id.into(), at_ms, id, 5)));
                let what = format!("{kernel}, {ahead} ms, {place}");
                let mut world = found(&lines, PLENTY, HOUR_MS);
                world.uplink.push(br#"{"seq":3}"#, WHOSE, world.at());
                world.chores();
                let account = world.account();
                // A number of that size is no time. Nobody misses the last line, whose number nobody knows.
                let unread = u64::from(NOW_MS + ahead > 1 << 53);
                let damaged = if place < 2 { unread } else { 0 };
                assert_eq!(account.dropped.expired, 0, "{what}: {account:?}");
                assert_eq!(account.dropped.damaged, damaged, "{what}: {account:?}");
                assert_eq!(account.queued, 4 - unread, "{what}: {account:?}");
                // All of them are an hour old in time.
                world.now += HOUR_MS + 1;
                world.uplink.push(br#"{"seq":4}"#, WHOSE, world.at());
                world.chores();
                let account = world.account();
                assert_eq!(account.dropped.expired, 4 - unread, "{what}: {account:?}");
                assert_eq!(account.queued, 1, "{what}: {account:?}");
            }
        }
    }
}

/// Power went when a segment began, and took so many of its bytes: its name is used again for its number.
#[test]
fn a_head_is_written_anew_behind_what_is_left_of_one() {
    let folder = MemoryFolder::default();
    let mut world = World::new(folder.clone(), MAX_BYTES);
    world.step(&Step::Push(7));
    world.step(&Step::Chore);
    world.step(&Step::Refuse);
    world.step(&Step::Chore);
    let mut storage = folder.clone();
    let left = &b"= kernel 1800000000000 {\"unstored\":0,\"drop"[..];
    for first in 2..9 {
        storage.append(FileName::Segment(first), left).unwrap();
    }
    world.restart();
    // A segment is full after two or three of them.
    for _ in 0..10 {
        world.step(&Step::Push(200));
        world.step(&Step::Chore);
    }
    let before = world.account();
    assert_eq!((before.dropped.refused, before.queued), (1, 10));
    for _ in 0..9 {
        world.step(&Step::Deliver(1));
        world.step(&Step::Chore);
    }
    world.restart();
    let account = world.account();
    assert_eq!((account.dropped, account.sampled), (before.dropped, 11));
}

/// Of an undelivered backlog the oldest files are gone, and perhaps what was noted beside them stays.
#[test]
fn what_is_gone_with_the_oldest_files_is_not_taken_for_delivered() {
    for (files, keeps_notes) in [(1, false), (1, true), (3, false), (3, true)] {
        let folder = MemoryFolder::default();
        let mut world = World::new(folder.clone(), MAX_BYTES);
        for _ in 0..14 {
            world.step(&Step::Push(100));
            world.step(&Step::Chore);
        }
        world.step(&Step::Deliver(1));
        world.step(&Step::Chore);
        let before = world.account();
        let mut storage = folder.clone();
        let mut names: Vec<_> = storage.list().unwrap().into_iter().collect();
        names.sort_unstable();
        let firsts: Vec<u64> = names
            .iter()
            .filter_map(|(name, _)| match name {
                FileName::Segment(first) => Some(*first),
                FileName::Done(_) => None,
            })
            .collect();
        assert!(firsts.len() > files + 1, "{firsts:?}");
        for first in &firsts[..files] {
            storage.remove(FileName::Segment(*first)).unwrap();
            if !keeps_notes {
                storage.remove(FileName::Done(*first)).unwrap();
            }
        }
        // That it was delivered stood in what is gone.
        let done = u64::from(keeps_notes);
        for _ in 0..3 {
            world.restart();
            let account = world.account();
            assert_eq!(account.sampled, before.sampled);
            assert_eq!(account.acknowledged, done, "{account:?}");
            assert_eq!(account.dropped.damaged, firsts[files] - done, "{account:?}");
        }
        let ids = world.drain();
        assert_eq!(ids.len() as u64, 14 - firsts[files]);
        world.restart();
        let account = world.account();
        assert_eq!(account.dropped.damaged, firsts[files] - done, "{account:?}");
        assert_eq!(account.sampled, 14);
    }
}

/// The queue itself has filled its file system; when all is delivered there is room again.
#[test]
fn a_file_system_that_is_full_of_what_is_done_has_room_again() {
    for notes_fit in [true, false] {
        let folder = MemoryFolder::default();
        let mut world = World::new(folder.clone(), PLENTY);
        for _ in 0..20 {
            world.step(&Step::Push(100));
            world.step(&Step::Chore);
        }
        folder.set_room(folder.bytes() + if notes_fit { 4000 } else { 0 });
        let mut is_full = false;
        for _ in 0..40 {
            world.step(&Step::Push(100));
            world.step(&Step::Chore);
            is_full |= !world.uplink.queue().disk_works();
        }
        assert!(is_full);
        world.step(&Step::Deliver(100));
        for _ in 0..4 {
            world.step(&Step::Pass(6000));
            world.step(&Step::Chore);
            world.step(&Step::Push(100));
            world.step(&Step::Chore);
        }
        assert!(world.uplink.queue().disk_works());
        let account = world.account();
        assert_eq!((account.sampled, account.queued), (64, 4), "{account:?}");
        world.restart();
        assert_eq!(world.account().queued, 4);
        world.step(&Step::Deliver(10));
        assert_eq!(world.account().dropped.total(), 0);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0..200usize).prop_map(Step::Push),
        1 => (2000..9000usize).prop_map(Step::Push),
        8 => Just(Step::Chore),
        6 => (1..5usize).prop_map(Step::Deliver),
        1 => Just(Step::Refuse),
        2 => Just(Step::Busy),
        1 => Just(Step::Fail),
        1 => Just(Step::Restart),
        4 => (0..20_000u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..MAX_STEPS)
}

/// What the calls come to, by a cheap generator: one in `rarity` fails or is cut.
fn faults(seed: u64, rarity: u64) -> impl FnMut() -> Option<Fault> {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let kept = (state >> 32) as usize % 300;
        match state % rarity {
            0 if state & 1 << 20 == 0 => Some(Fault::Fail(kept)),
            0 => Some(Fault::Cut(kept)),
            _ => None,
        }
    }
}

/// Runs steps on a disk whose calls fail, and looks at what is there once it works.
fn nothing_is_lost(steps: &[Step], seed: u64, rarity: u64) {
    let folder = MemoryFolder::default();
    let mut world = World::new(folder.clone(), PLENTY);
    // It was asked for at each call from here on, not only by the steps.
    folder.fail_by(faults(seed, rarity));
    for step in steps {
        world.step(step);
        if folder.is_dead() {
            world.restart();
        }
    }
    folder.heal();
    world.now += 10_000;
    world.restart();
    let known = world.known.clone();
    let ids = world.drain();
    let found: BTreeSet<u32> = ids.iter().copied().collect();
    assert_eq!(found.len(), ids.len(), "twice in {:?}", ids);
    for (id, known) in &known {
        let is_due = known.stored && !known.done && !known.uncertain;
        assert!(!is_due || found.contains(id), "{} is lost", id);
        assert!(
            !known.flushed || !found.contains(id),
            "{} is there again",
            id
        );
    }
    let account = world.account();
    world.restart();
    assert_eq!(world.account(), account);
}

/// The note that says it is done was cut, while its count stood elsewhere already.
#[test]
fn what_is_refused_is_counted_once() {
    let steps = [
        Step::Push(0),
        Step::Chore,
        Step::Push(0),
        Step::Push(0),
        Step::Push(0),
        Step::Chore,
        Step::Push(0),
        Step::Pass(5000),
        Step::Refuse,
        Step::Chore,
    ];
    nothing_is_lost(&steps, 10_340_488_389_694_492_044, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(RUNS) })]

    #[test]
    fn no_fault_loses_what_was_appended(
        steps in steps(),
        seed in any::<u64>(),
        rarity in prop::sample::select(vec![3u64, 10, 50]),
    ) {
        nothing_is_lost(&steps, seed, rarity);
    }

    #[test]
    fn bytes_are_bounded_and_what_is_lost_for_it_is_counted(
        steps in steps(),
        max_bytes in 3000..20_000usize,
    ) {
        let folder = MemoryFolder::default();
        let mut world = World::new(folder.clone(), max_bytes);
        for step in &steps {
            if matches!(step, Step::Restart) {
                // What only memory has would be gone.
                world.chores();
            }
            world.step(step);
            // What is done is noted beside; it goes with its segment.
            prop_assert!(folder.bytes() <= max_bytes + 10_000, "{} bytes", folder.bytes());
        }
        let ids = world.drain();
        let account = world.account();
        prop_assert_eq!(account.dropped.damaged, 0);
        // Each is delivered, refused, or given up for want of room.
        let lost = world.known.keys().filter(|id| !world.taken.contains_key(id) && !ids.contains(id));
        let dropped = account.dropped;
        prop_assert_eq!(lost.count() as u64, dropped.overflow + dropped.refused);
    }
}
