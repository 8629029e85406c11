//! A file system whose server never answers must not stop the agent.
//!
//! The server is a FUSE server of this test: it answers the kernel's first request, so that the mount
//! is complete, and then leaves every question for the size unanswered until it is told otherwise.
//! All this happens in a mount namespace of its own: nobody else on this machine sees the mount.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::bench::Bench;
use mote_test_support::hung::mount_fuse;
use mote_test_support::namespace::run_in_user_namespace;
use mote_test_support::{need, wait_for};
use nix::mount::{MntFlags, umount2};
use serde_json::{Value, json};

/// Only what hangs takes longer than this.
const FOREVER: Duration = Duration::from_secs(120);

#[test]
fn a_mount_that_hangs_does_not_stop_the_caller() {
    run_in_namespace(
        "hung_mount::a_mount_that_hangs_does_not_stop_the_caller",
        || {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::open("get_filesystem");
            let point = folder.path().to_str().unwrap();
            root_answers(&mut bench);

            let server = Server::mount(folder.path());
            server.is_asked(&mut bench, point);
            // The others are not affected.
            root_answers(&mut bench);

            for _ in 0..20 {
                assert_eq!(filesystems(&mut bench)[point], hung());
            }
            let again = server.asked.recv_timeout(Duration::from_millis(10));
            assert_eq!(again, Err(RecvTimeoutError::Timeout), "it was asked again");

            drop(server.until_answered);
            let sizes = wait_for("the end of the quarantine", FOREVER, || {
                let found = filesystems(&mut bench)[point].clone();
                (found != hung()).then_some(found)
            });
            let expected = json!({
                "type": "fuse", "read_only": 0, "size": 4_096_000, "used": 2_867_200, "available": 1_024_000,
                "used_p": 73.68, "inodes": 64, "inodes_used": 4
            });
            assert_eq!(sizes, expected);

            umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
            assert_eq!(filesystems(&mut bench)[point], Value::Null);
        },
    );
}

/// The stuck thread cannot be killed while the server has its question. The kernel gives up on the
/// server when its device is closed, which happens only if that thread does not hold it open as well.
#[test]
fn a_thread_that_is_stuck_holds_no_files_of_the_agent() {
    run_in_namespace(
        "hung_mount::a_thread_that_is_stuck_holds_no_files_of_the_agent",
        || {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::mount(folder.path());
            let mut bench = Bench::open("get_filesystem");
            server.is_asked(&mut bench, folder.path().to_str().unwrap());
            std::process::exit(0);
        },
    );
}

/// What is told of the mount while its server does not answer.
fn hung() -> Value {
    json!({"type": "fuse", "read_only": 0, "hung": 1})
}

/// Runs a test where what it mounts is seen by nobody else.
fn run_in_namespace(name: &str, test: impl FnOnce()) {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device =
        device.map_err(|it| format!("/dev/fuse: {it}; run as root, after `modprobe fuse`"));
    if need(name, device).is_some() {
        run_in_user_namespace(name, test);
    }
}

/// Samples until there is the size of `/`: on a busy machine it may come too late for one sample.
fn root_answers(bench: &mut Bench) {
    wait_for("the size of /", FOREVER, || {
        filesystems(bench)["/"]["size"].is_u64().then_some(())
    });
}

/// The file systems of one report.
fn filesystems(bench: &mut Bench) -> Value {
    bench.sample()["data"].take()
}

/// A FUSE server, as linux/fuse.h describes the protocol. Its thread ends when it is unmounted.
struct Server {
    /// A message for each question for the size.
    asked: Receiver<()>,
    /// It answers once this is dropped.
    until_answered: Sender<()>,
}

impl Server {
    fn mount(point: &Path) -> Self {
        let device = mount_fuse(point);
        let (send_asked, asked) = channel();
        let (until_answered, answer) = channel();
        thread::spawn(move || serve(&device, &send_asked, &answer));
        Server {
            asked,
            until_answered,
        }
    }

    /// Samples until it was asked for its size: on a busy machine the question may not come within the time of one
    /// sample. Whether it did or not, the mount hangs.
    fn is_asked(&self, bench: &mut Bench, point: &str) {
        wait_for("the question for the size", FOREVER, || {
            assert_eq!(filesystems(bench)[point], hung());
            self.asked.try_recv().ok()
        });
    }
}

fn serve(mut device: &File, asked: &Sender<()>, answer: &Receiver<()>) {
    const INIT: u32 = 26;
    const STATFS: u32 = 17;
    const NO_SUCH_CALL: i32 = -38;
    let mut request = vec![0; 1 << 20];
    // Unmounted: the read fails.
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        assert!(length >= 40, "a request has a head of 40 bytes");
        let (opcode, unique) = (word(4), &request[8..16]);
        let mut body = Vec::new();
        let mut error = 0;
        match opcode {
            // Version 7.31, 4 KiB a write, nothing optional.
            INIT => {
                body = [7, 31, 0, 0, 0, 4096].map(u32::to_ne_bytes).concat();
                body.resize(64, 0);
            }
            STATFS => {
                let _ = asked.send(());
                // Fails as soon as the sender is dropped.
                let _ = answer.recv();
                let counts = [1000u64, 300, 250, 64, 60].map(u64::to_ne_bytes).concat();
                let sizes = [4096u32, 255, 4096].map(u32::to_ne_bytes).concat();
                body = [counts, sizes].concat();
                body.resize(80, 0);
            }
            _ => error = NO_SUCH_CALL,
        }
        let head = u32::try_from(16 + body.len()).unwrap().to_ne_bytes();
        let reply = [&head, &error.to_ne_bytes(), unique, &body].concat();
        let _ = device.write(&reply);
    }
}
