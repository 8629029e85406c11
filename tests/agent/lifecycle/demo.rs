//! `mote demo`.

use std::fs;
use std::io::{PipeReader, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::LOCAL;
use mote_test_support::site::{Site, said};
use mote_test_support::{DEADLINE, Running, mote, wait_for};

#[test]
fn a_second_demo_leaves_the_first_alone() {
    let site = Site::new(LOCAL);
    let state = site.path("demo");
    let demo = || {
        let mut command = mote();
        command.args(["demo", "--state"]).arg(&state);
        command
    };
    let first = Running::start("demo", &mut demo(), site.folder());
    let settings = state.join("agent.toml");
    wait_for("the first demo", DEADLINE, || {
        first.output().contains("LinuxCPU").then_some(())
    });
    let before = fs::read_to_string(&settings).unwrap();
    let second = said(&mut demo());
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("already"), "{second:?}");
    assert_eq!(fs::read_to_string(&settings).unwrap(), before);
}

/// Starts a command whose standard output is a pipe that is full, and which nobody reads.
fn unread(command: &mut Command) -> (Ended, PipeReader) {
    let (unread, mut out) = pipe().unwrap();
    rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::NONBLOCK).unwrap();
    while out.write(&[b'x'; 4096]).is_ok() {}
    while out.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::empty()).unwrap();
    (Ended(command.stdout(out).spawn().unwrap()), unread)
}

struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_demo_that_nobody_reads_runs() {
    let site = Site::new(LOCAL);
    let state = site.path("demo");
    let _running = unread(mote().args(["demo", "--state"]).arg(&state));
    wait_for("the agent of the demo", DEADLINE, || {
        let settings = state.join("agent.toml");
        let status = said(mote().arg("--config").arg(settings).arg("status"));
        (status.code == 0).then_some(())
    });
}

#[test]
fn a_collector_that_nobody_reads_serves() {
    let site = Site::new(LOCAL);
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = site.path("server.toml");
    let text = format!("listen = \"{address}\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n");
    fs::write(&settings, text).unwrap();
    let _running = unread(mote().arg("--config").arg(&settings).arg("serve"));
    wait_for("an answer", DEADLINE, || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream
            .write_all(b"GET /api/client/config/1/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .ok()?;
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).ok()?;
        (answer == *b"HTTP/1.1 ").then_some(())
    });
}
