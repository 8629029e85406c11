use super::*;
use crate::queue::Queue;

fn dispatcher() -> Dispatcher<()> {
    let queue = Queue::on_disk(1 << 20, u64::MAX, None, "kernel");
    Dispatcher::new(Uplink::new(queue, 7), true)
}

fn at(ms: u64) -> Uptime {
    Uptime::from_millis(ms)
}

/// Begins a chore at `ms` if there is one, and gives what is kept with it.
fn kept(dispatcher: &mut Dispatcher<()>, ms: u64) -> Option<(Box<Chore>, Option<Vec<u8>>)> {
    match dispatcher.next(at(ms), 0, &mut None) {
        Job::Chore(chore) => Some((chore, dispatcher.take_document())),
        _ => None,
    }
}

fn opened() -> Dispatcher<()> {
    let mut dispatcher = dispatcher();
    let (mut chore, _) = kept(&mut dispatcher, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut disk = crate::queue::Disk::new(crate::queue::Folder::new(folder.path()));
    disk.perform(&mut chore).unwrap();
    dispatcher.chore_done(&mut chore, true, at(0));
    assert!(kept(&mut dispatcher, 0).is_none());
    dispatcher
}

#[test]
fn of_documents_that_wait_the_newest_is_kept_with_one_chore_at_a_time() {
    let mut dispatcher = opened();
    dispatcher.keep(b"1".to_vec(), at(1));
    let (mut chore, document) = kept(&mut dispatcher, 1).unwrap();
    assert_eq!(document.as_deref(), Some(&b"1"[..]));
    dispatcher.keep(b"2".to_vec(), at(2));
    dispatcher.keep(b"3".to_vec(), at(3));
    // The disk hangs; a second thread is not to hang with it.
    assert!(kept(&mut dispatcher, 4).is_none());
    dispatcher.keep_later(b"1".to_vec(), at(5));
    dispatcher.chore_done(&mut chore, true, at(5));
    let (mut chore, document) = kept(&mut dispatcher, 5).unwrap();
    assert_eq!(document.as_deref(), Some(&b"3"[..]));
    dispatcher.keep_later(b"3".to_vec(), at(6));
    dispatcher.chore_done(&mut chore, true, at(6));
    assert!(kept(&mut dispatcher, 6).is_none());
    assert!(dispatcher.has_timed_chore(at(6)));
    let (_, document) = kept(&mut dispatcher, 6 + KEEP_AGAIN_MS).unwrap();
    assert_eq!(document.as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_document_is_kept_before_the_end() {
    let mut dispatcher = opened();
    dispatcher.keep(b"1".to_vec(), at(1));
    dispatcher.close(at(0));
    assert!(!dispatcher.is_flushed(at(1)));
    let (mut chore, document) = kept(&mut dispatcher, 1).unwrap();
    assert!(document.is_some() && !dispatcher.is_flushed(at(1)));
    dispatcher.chore_done(&mut chore, true, at(2));
    assert!(dispatcher.is_flushed(at(2)));
    assert!(matches!(dispatcher.next(at(2), 0, &mut None), Job::End));
}
