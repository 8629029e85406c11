//! What an agent finds in the queue's folder. The input are the contents of its files, each after the byte 0.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_agent::delivery::uplink::{Next, Uplink};
use mote_agent::http::outcome::Outcome;
use mote_agent::queue::{Chore, Disk, FileName, Queue, Storage, Whose};
use mote_core::Uptime;
use mote_test_disk::MemoryFolder;

/// Of the files, in the order of the input.
const NAMES: [FileName; 4] = [
    FileName::Segment(0),
    FileName::Done(0),
    FileName::Segment(3),
    FileName::Done(3),
];

fuzz_target!(|input: &[u8]| {
    let mut folder = MemoryFolder::default();
    for (name, content) in NAMES.into_iter().zip(input.split(|byte| *byte == 0)) {
        if !content.is_empty() {
            folder.append(name, content).unwrap();
        }
    }
    let mut recovered = Agent::start(&folder);
    recovered.push();
    assert!(recovered.deliver_all() > 0);
    // Whatever was there, it works on: one more report is written, found again, delivered, and then gone.
    let account = recovered.uplink.account();
    recovered.push();
    recovered.chores();
    let mut again = Agent::start(&folder);
    again.chores();
    assert_eq!(again.uplink.account().queued, 1, "{account:?}");
    assert_eq!(again.deliver_all(), 1);
    let mut last = Agent::start(&folder);
    last.chores();
    assert_eq!(last.uplink.account().queued, 0, "{account:?}");
});

/// An agent's queue and the server that takes all.
struct Agent {
    uplink: Uplink,
    disk: Disk<MemoryFolder>,
    chore: Chore,
    now: u64,
}

impl Agent {
    fn start(folder: &MemoryFolder) -> Agent {
        let queue = Queue::on_disk(1 << 20, u64::MAX, None, "kernel");
        Agent {
            uplink: Uplink::new(queue, 7),
            disk: Disk::new(folder.clone()),
            chore: Chore::default(),
            now: 1_000_000,
        }
    }

    fn at(&self) -> Uptime {
        Uptime::from_millis(self.now)
    }

    fn push(&mut self) {
        self.uplink
            .push(b"{}", Whose { key: 0, name: "" }, self.at());
    }

    /// Until the disk has nothing to do.
    fn chores(&mut self) {
        let at = self.at();
        while self.uplink.queue().chore_at(at, true) <= at {
            self.uplink
                .begin_chore(&mut self.chore, at, 1_800_000_000_000);
            self.disk.perform(&mut self.chore).unwrap();
            self.uplink.finish_chore(&mut self.chore, true, at);
            let account = self.uplink.account();
            let found = account.acknowledged + account.queued + account.dropped.total();
            assert_eq!(account.sampled, found, "{account:?}");
        }
    }

    /// Until nothing waits; gives how many reports that were.
    fn deliver_all(&mut self) -> usize {
        let mut delivered = 0;
        for _ in 0..10_000 {
            self.chores();
            let at = self.at();
            match self.uplink.next(at) {
                Next::Send(record) => {
                    delivered += 1;
                    self.uplink.delivered(record, Outcome::Acknowledged, at);
                }
                Next::Wait(_) if self.uplink.queue().is_empty() => break,
                Next::Wait(until) => {
                    assert_ne!(until, Uptime::NEVER, "{:?}", self.uplink.account());
                    self.now = until.as_millis();
                }
            }
        }
        self.chores();
        let account = self.uplink.account();
        assert_eq!(account.queued, 0, "{account:?}");
        delivered
    }
}
