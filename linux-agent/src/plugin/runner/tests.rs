use super::*;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use crate::plugin::Ended;
use crate::plugin::wire::decode_answer;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// A folder with a plugin `check`, and both ends of a socket.
struct Scene {
    folder: tempfile::TempDir,
    agent: OwnedFd,
    socket: OwnedFd,
}

impl Scene {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("check");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let (agent, socket) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .unwrap();
        Scene {
            folder,
            agent,
            socket,
        }
    }

    fn runner(&self) -> Runner<'_> {
        Runner::new(self.socket.as_fd(), Own::new(None))
    }

    fn say(&self, message: &[u8]) {
        send(self.agent.as_raw_fd(), message, MsgFlags::empty()).unwrap();
    }

    fn run(&self, id: usize) -> Request {
        Request::Run {
            id,
            folder: self.folder.path().to_owned(),
            name: "check".to_owned(),
            command: None,
            time_limit: Duration::from_secs(60),
        }
    }

    fn ask(&self, request: &Request) {
        self.say(&request.encode().unwrap());
    }

    fn answer(&self) -> Option<RunOutcome> {
        let mut buffer = vec![0; MAX_ANSWER_BYTES];
        match recv(self.agent.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => Some(decode_answer(&buffer[..length]).unwrap()),
            Err(Errno::EAGAIN) => None,
            Err(errno) => panic!("{errno}"),
        }
    }

    /// SIGCHLD belongs to the whole test process, so this looks every few milliseconds instead.
    fn wait_for_answer(&self, runner: &mut Runner<'_>) -> RunOutcome {
        loop {
            assert!(runner.work());
            if let Some(answer) = self.answer() {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_run_is_answered_under_its_id() {
    let scene = Scene::new("echo '{\"n\": 1}'; echo no >&2; exit 3");
    let mut runner = scene.runner();
    scene.ask(&scene.run(42));
    let outcome = scene.wait_for_answer(&mut runner);
    assert_eq!(outcome.slot, 42);
    assert!(matches!(outcome.ended, Ended::Exited(3)), "{outcome:?}");
    assert_eq!(
        (&*outcome.output, &*outcome.complaint),
        (&b"{\"n\": 1}\n"[..], "no")
    );
    // The slot is free again.
    scene.ask(&scene.run(42));
    assert_eq!(scene.wait_for_answer(&mut runner).slot, 42);

    let mut other = scene.run(7);
    if let Request::Run { name, .. } = &mut other {
        *name = "../check".to_owned();
    }
    scene.ask(&other);
    let outcome = scene.wait_for_answer(&mut runner);
    let data = serde_json::to_value(outcome.data()).unwrap();
    assert_eq!(outcome.slot, 7);
    assert!(
        data["error"]
            .as_str()
            .unwrap()
            .starts_with("\"../check\" cannot name a plugin"),
        "{data}"
    );
}

#[test]
fn what_no_agent_asks_for_is_not_done() {
    let scene = Scene::new("exec sleep 1000");
    let mut runner = scene.runner();
    let long = format!("{{\"Stop\":{{\"id\":1}}}}{}", " ".repeat(MAX_REQUEST_BYTES));
    scene.say(long.as_bytes());
    scene.say(b"\xff\0");
    let mut slow = scene.run(99);
    if let Request::Run { time_limit, .. } = &mut slow {
        *time_limit = MAX_TIME_LIMIT + Duration::from_nanos(1);
    }
    scene.ask(&slow);
    assert!(runner.work());
    assert_eq!(runner.runs.count(), 0);

    // No second run with the same id, and no more runs than allowed.
    for id in [0, 0].into_iter().chain(1..MAX_RUNNING + 3) {
        scene.ask(&scene.run(id));
    }
    assert!(runner.work());
    assert_eq!(runner.runs.count(), MAX_RUNNING);
    assert!(runner.runs.is_running(MAX_RUNNING - 1), "one ran twice");
    assert!(scene.answer().is_none());

    scene.ask(&Request::Stop { id: 3 });
    scene.ask(&Request::Stop { id: 1000 });
    scene.ask(&scene.run(1000));
    assert!(runner.work());
    assert_eq!(runner.runs.count(), MAX_RUNNING);
    assert!(!runner.runs.is_running(3) && runner.runs.is_running(1000));
    assert!(scene.answer().is_none());

    let Scene { agent, .. } = &scene;
    nix::sys::socket::shutdown(agent.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    assert!(!runner.work());
}

#[test]
fn what_an_agent_does_not_read_waits_and_takes_a_place() {
    let scene = Scene::new("head -c 65000 /dev/zero");
    let mut runner = scene.runner();
    let mut asked = 0;
    // As much as the socket holds, then as many as may wait.
    for _ in 0..100_000 {
        if runner.unsent.len() == MAX_RUNNING {
            break;
        }
        if runner.runs.count() + runner.unsent.len() < MAX_RUNNING {
            scene.ask(&scene.run(asked));
            asked += 1;
        }
        assert!(runner.work());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(runner.unsent.len(), MAX_RUNNING);
    scene.ask(&scene.run(asked));
    assert!(runner.work());
    assert_eq!(runner.runs.count(), 0);

    // Every one of them arrives.
    let mut answered: Vec<usize> = (0..asked)
        .map(|_| scene.wait_for_answer(&mut runner).slot)
        .collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..asked));
    assert!(runner.unsent.is_empty());
}
