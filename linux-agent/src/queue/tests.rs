//! The queue, in memory and with a disk.

use super::*;

fn of(key: u64) -> Whose<'static> {
    Whose { key, name: "" }
}

fn at(ms: u64) -> Uptime {
    Uptime::from_millis(ms)
}

/// The first report, whatever it is.
fn first(queue: &mut Queue) -> Record {
    queue.take(at(0), |_| true).unwrap()
}

#[test]
fn the_oldest_goes_first_when_there_is_no_room() {
    let mut queue = Queue::new(3 * (10 + OVERHEAD_BYTES), 1000);
    for n in 0..5u8 {
        let given_up = queue.push(&[n; 10], of(0), at(u64::from(n)));
        assert_eq!(given_up.overflow, u64::from(n >= 3));
    }
    assert_eq!(queue.len(), 3);
    assert_eq!(first(&mut queue).report, [2; 10]);
}

#[test]
fn old_reports_expire() {
    let mut queue = Queue::new(1 << 20, 1000);
    queue.push(b"a", of(0), at(0));
    queue.push(b"b", of(0), at(900));
    assert_eq!(queue.push(b"c", of(0), at(1001)).expired, 1);
    assert_eq!(first(&mut queue).report, b"b");
}

#[test]
fn a_report_that_is_put_back_is_the_oldest_again() {
    let mut queue = Queue::new(2 * (1 + OVERHEAD_BYTES), 1000);
    queue.push(b"a", of(0), at(0));
    queue.push(b"b", of(0), at(1));
    let a = first(&mut queue);
    queue.put_back(a, at(1));
    assert_eq!(queue.push(b"c", of(0), at(2)).overflow, 1);
    let left: Vec<_> = std::iter::from_fn(|| queue.take(at(0), |_| true))
        .map(|it| it.report)
        .collect();
    assert_eq!(left, [b"b", b"c"]);
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn the_newest_of_each_service_is_fresh_wherever_it_was() {
    let mut queue = Queue::new(1 << 20, 1000);
    let fresh = |queue: &Queue| -> Vec<u8> {
        let records = queue.records(at(9)).map(|(it, _)| it);
        records
            .filter(|it| it.is_fresh)
            .map(|it| it.report[0])
            .collect()
    };
    for (report, service) in [(b"a", 0), (b"b", 1), (b"c", 0)] {
        queue.push(report, of(service), at(0));
    }
    assert_eq!(fresh(&queue), b"bc");
    let b = queue.take(at(0), |it| it.service == 1).unwrap();
    queue.put_back(b, at(0));
    assert_eq!(fresh(&queue), b"bc");
    let b = queue.take(at(0), |it| it.service == 1).unwrap();
    queue.push(b"d", of(1), at(1));
    queue.put_back(b, at(1));
    assert_eq!(fresh(&queue), b"cd");
}

#[test]
#[cfg_attr(miri, ignore = "Miri does not know the flags of open")]
fn a_report_that_was_sent_while_there_was_no_disk_counts_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue");
    let mut disk = Disk::new(Folder::new(&path));
    let mut queue = Queue::on_disk(1 << 20, 1000, None, "kernel");
    let mut chore = |queue: &mut Queue, works| {
        let mut chore = Chore::default();
        queue.begin(&mut chore, Totals::default(), at(0), 0);
        let worked = works && disk.perform(&mut chore).is_ok();
        queue.finish(&mut chore, worked, at(0));
    };
    chore(&mut queue, true);
    queue.push(b"a", of(0), at(0));
    chore(&mut queue, false);
    let mut a = first(&mut queue);
    chore(&mut queue, true);
    assert!(!queue.is_stored(at(0)));
    queue.landed(&mut a);
    queue.put_back(a, at(0));
    assert!(!queue.is_stored(at(0)));
    chore(&mut queue, true);
    assert!(queue.is_stored(at(0)));
}

#[test]
fn the_first_that_is_wanted_is_taken() {
    let mut queue = Queue::new(1 << 20, 1000);
    for (report, service) in [(b"a", 0), (b"b", 1), (b"c", 0), (b"d", 1)] {
        queue.push(report, of(service), at(0));
    }
    let mut take = |service| {
        let record = queue.take(at(0), |record| record.service == service);
        record.map(|record| record.report)
    };
    assert_eq!(take(1), Some(b"b".to_vec()));
    assert_eq!(take(1), Some(b"d".to_vec()));
    assert_eq!(take(1), None);
    let left: Vec<_> = queue.records(at(0)).map(|(it, _)| &*it.report).collect();
    assert_eq!(left, [b"a", b"c"]);
}

#[test]
fn a_service_is_taken_with_its_bytes() {
    let mut queue = Queue::new(1 << 20, 1000);
    for (report, service) in [(b"aa", 0), (b"bb", 1), (b"cc", 0)] {
        queue.push(report, of(service), at(0));
    }
    assert_eq!(
        (queue.take_all(|it| it.service == 0).len(), queue.len()),
        (2, 1)
    );
    assert_eq!(first(&mut queue).report, b"bb");
    assert_eq!(queue.bytes(), 0);
}
