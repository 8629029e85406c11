//! What an agent finds in the queue's folder. The input are the contents of its files, each after the byte 0.
#![no_main]

#[path = "../../../support/disk.rs"]
mod disk;

use disk::MemoryFolder;
use libfuzzer_sys::fuzz_target;
use mote_agent::queue::{Chore, Disk, Name, Queue, Storage};
use mote_agent::uplink::{Next, Outcome, Uplink};
use mote_core::Uptime;

/// Of the files, in the order of the input.
const NAMES: [Name; 4] = [
    Name::Segment(0),
    Name::Done(0),
    Name::Segment(3),
    Name::Done(3),
];

fuzz_target!(|input: &[u8]| {
    let mut folder = MemoryFolder::default();
    for (name, content) in NAMES.into_iter().zip(input.split(|byte| *byte == 0)) {
        if !content.is_empty() {
            folder.append(name, content).unwrap();
        }
    }
    let queue = Queue::on_disk(1 << 20, u64::MAX, None, "kernel");
    let mut uplink = Uplink::new(queue, 7);
    let mut disk = Disk::new(folder.clone());
    let mut chore = Chore::default();
    let mut now = 1_000_000;
    uplink.push(b"{}", 0, Uptime::from_millis(now));
    let mut delivered = 0;
    for _ in 0..10_000 {
        let at = Uptime::from_millis(now);
        if uplink.queue().chore_at(at, true) <= at {
            uplink.begin_chore(&mut chore, at, 1_800_000_000_000);
            disk.perform(&mut chore).unwrap();
            uplink.finish_chore(&mut chore, true, at);
        }
        match uplink.next(at) {
            Next::Send(record) => {
                delivered += 1;
                uplink.delivered(record, Outcome::Acknowledged, at);
            }
            Next::Wait(Uptime::NEVER) if uplink.queue().is_empty() => break,
            Next::Wait(until) if until != Uptime::NEVER => now = until.as_millis(),
            Next::Wait(_) => {}
        }
        let account = uplink.account();
        let found = account.acknowledged + account.queued + account.dropped.total();
        assert_eq!(account.sampled, found, "{account:?}");
    }
    // Whatever was there, it works, and what came after it gets through.
    let account = uplink.account();
    assert_eq!(account.queued, 0, "{account:?}");
    assert!(delivered > 0);
});
