//! What the queue keeps in memory while its disk works and while it does not.

use mote_agent::queue::{
    Chore, Disk, Folder, MEMORY_BYTES, OVERHEAD_BYTES, Queue, Totals, WINDOW_BYTES, Whose,
};
use mote_core::Uptime;

/// Four MiB of reports into a queue on `folder`: gives the most bytes in memory at the end of a chore, the reports that
/// wait and those that were given up.
fn fill(folder: &std::path::Path, max_bytes: usize) -> (usize, u64, u64) {
    let mut queue = Queue::on_disk(max_bytes, u64::MAX, None, "kernel");
    let mut disk = Disk::new(Folder::new(folder));
    let mut chore = Chore::default();
    let (mut most, mut lost) = (0, 0);
    for n in 0..4096 {
        let now = Uptime::from_millis(n * 6000);
        let report = format!("{{\"seq\":{n},\"text\":\"{}\"}}", "x".repeat(1000));
        let whose = Whose {
            key: n % 7,
            name: "",
        };
        lost += queue.push(report.as_bytes(), whose, now).overflow;
        while queue.chore_at(now, false) <= now {
            queue.begin(&mut chore, Totals::default(), now, n * 6000);
            let worked = disk.perform(&mut chore).is_ok();
            lost += queue.finish(&mut chore, worked, now).given_up.overflow;
            queue.trim(|_| false);
        }
        let waiting = queue.records(now);
        let bytes = waiting
            .map(|(it, _)| it.report.len() + OVERHEAD_BYTES)
            .sum();
        most = most.max(bytes);
    }
    (most, queue.len(), lost)
}

#[test]
fn a_long_backlog_has_a_window_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (most, waiting, lost) = fill(folder.path(), 64 << 20);
    assert_eq!((waiting, lost), (4096, 0));
    assert!((WINDOW_BYTES / 2..=WINDOW_BYTES).contains(&most), "{most}");
}

#[test]
fn a_disk_that_is_out_of_order_has_a_bounded_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be.
    let path = folder.path().join("queue");
    std::fs::write(&path, "").unwrap();
    let (most, waiting, lost) = fill(&path, 64 << 20);
    assert_eq!(waiting + lost, 4096);
    assert!(most <= MEMORY_BYTES && most > MEMORY_BYTES - 2048, "{most}");
    assert!(lost > 3000, "{lost}");
}

#[test]
fn files_have_the_bytes_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 1 << 20;
    let (_, waiting, lost) = fill(folder.path(), max_bytes);
    assert_eq!(waiting + lost, 4096);
    assert!(lost > 3000, "{lost}");
    let files = std::fs::read_dir(folder.path()).unwrap();
    let bytes: u64 = files.map(|it| it.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= max_bytes as u64, "{bytes}");
}
