use super::*;
use nix::sys::socket::{Shutdown, shutdown};

use crate::plugin::wire::encode_answer;

/// A runner played by the test: its end of the socket, and a process that does nothing.
fn remote() -> (Remote, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (socket, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let mut process = Command::new("/bin/true").spawn().unwrap();
    process.wait().unwrap();
    let remote = Remote {
        process,
        socket: Some(socket),
        asked: Vec::new(),
        next_id: usize::MAX,
        buffer: vec![0; MAX_ANSWER_BYTES],
    };
    (remote, theirs)
}

fn plugins() -> Plugins {
    Plugins {
        folder: "/plugins".into(),
        allowed: vec!["check".to_owned()],
        commands: vec![],
        time_limit: Duration::from_secs(1),
    }
}

fn request(runner: &OwnedFd) -> Option<Request> {
    let mut buffer = [0; 9000];
    match recv(runner.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(length) => Some(Request::decode(&buffer[..length]).unwrap()),
        Err(Errno::EAGAIN) => None,
        Err(errno) => panic!("{errno}"),
    }
}

fn answer(runner: &OwnedFd, id: usize) {
    let message = encode_answer(RunOutcome::failed(id, "no disk"));
    send(runner.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
}

fn sentences(outcomes: Vec<RunOutcome>) -> Vec<(usize, String)> {
    let sentence = |it: RunOutcome| (it.slot, it.data().error().unwrap().to_owned());
    outcomes.into_iter().map(sentence).collect()
}

#[test]
fn an_answer_comes_to_its_slot_unless_the_run_was_stopped() {
    let (mut remote, runner) = remote();
    let now = Instant::now();
    for slot in [4, 5] {
        remote.start_run(&plugins(), "check", slot, now).unwrap();
    }
    assert!(remote.start_run(&plugins(), "other", 6, now).is_err());
    let ids = [request(&runner), request(&runner)].map(|it| match it {
        Some(Request::Run { id, .. }) => id,
        other => panic!("{other:?}"),
    });
    assert_eq!(ids, [usize::MAX, 0]);
    assert!(request(&runner).is_none());

    answer(&runner, ids[1]);
    assert_eq!(sentences(remote.attend(now)), [(5, "no disk".to_owned())]);
    assert!(remote.is_running(4) && !remote.is_running(5));

    remote.stop(4);
    assert_eq!(request(&runner), Some(Request::Stop { id: ids[0] }));
    assert_eq!(remote.count(), 0);
    answer(&runner, ids[0]);
    assert!(remote.attend(now).is_empty());
}

#[test]
fn a_runner_that_hangs_fails_each_run_once_and_is_told_of_stops_later() {
    let (mut remote, runner) = remote();
    let now = Instant::now();
    let mut slots = 0;
    // Until the socket is full.
    while remote.start_run(&plugins(), "check", slots, now).is_ok() {
        slots += 1;
    }
    assert_eq!(
        remote.start_run(&plugins(), "check", slots, now),
        Err(FULL.to_owned())
    );
    remote.stop(0);
    assert!(!remote.is_running(0));
    assert_eq!(remote.count(), slots);
    let (_, flags) = remote.interest().unwrap();
    assert!(flags.contains(PollFlags::POLLOUT));

    let late = remote.deadline().unwrap();
    assert_eq!(late, now + Duration::from_secs(33));
    assert!(remote.attend(now).is_empty());
    let failed = sentences(remote.attend(late));
    assert!(failed.iter().all(|it| it.1 == SILENT));
    assert!(failed.iter().map(|it| it.0).eq(1..slots));
    assert!(remote.attend(late).is_empty());
    assert!(remote.is_running(1), "a place was given away");
    assert_eq!(remote.deadline(), None);

    // The runner goes on: stopped runs stay stopped, and late answers are ignored.
    while request(&runner).is_some() {}
    assert!(remote.attend(late).is_empty());
    assert_eq!(request(&runner), Some(Request::Stop { id: usize::MAX }));
    answer(&runner, 0);
    assert!(remote.attend(late).is_empty());
    assert!(!remote.is_running(1) && remote.is_running(2));
}

#[test]
fn a_runner_that_is_gone_fails_what_it_ran_and_whatever_comes() {
    let (mut remote, runner) = remote();
    let now = Instant::now();
    for slot in [1, 2] {
        remote.start_run(&plugins(), "check", slot, now).unwrap();
    }
    while request(&runner).is_some() {}
    answer(&runner, usize::MAX);
    // Not only closed: a process that another test is starting may have a copy for a moment.
    shutdown(runner.as_raw_fd(), Shutdown::Both).unwrap();
    let expected = [(1, "no disk".to_owned()), (2, ENDED.to_owned())];
    assert_eq!(sentences(remote.attend(now)), expected);
    let started = remote.start_run(&plugins(), "check", 3, now);
    assert_eq!(started, Err(ENDED.to_owned()));
    assert!(remote.attend(now).is_empty());
    assert_eq!((remote.count(), remote.deadline()), (0, None));
    assert!(remote.interest().is_none());
}
