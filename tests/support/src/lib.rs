//! What the tests of whole programs share: start one and never leave it behind, wait with a deadline, ask servers and
//! be one, run emulated machines.

pub mod allocations;
pub mod collector;
pub mod dice;
pub mod django;
pub mod elf;
pub mod exim;
pub mod forwarder;
pub mod http;
pub mod hung;
pub mod namespace;
mod process;
pub mod processes;
pub mod pty;
mod python;
pub mod qemu;
pub mod receiver;
pub mod scripted_server;
pub mod site;
pub mod strace;
pub mod users;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use http::http_get;
pub use process::{Running, mote, run};

/// For everything that should happen soon: long enough for a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Asks `attempt` again, twice a second in the end, until it gives something; fails the test after
/// `deadline`.
pub fn wait_for<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {} s in vain for {what}",
            deadline.as_secs()
        );
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on.
///
/// It lies below the range from which Linux takes the local ports of connections. A port of that
/// range could be lost to any client while its server is down, even to one that tries to reach it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of 127.0.0.1 between {FIRST} and 32000 is free");
}

/// What the test needs, or `None` if it may be skipped (`MOTE_ALLOW_SKIP`); fails it otherwise.
pub fn need<T>(test: &str, found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(reason) if std::env::var_os("MOTE_ALLOW_SKIP").is_some() => {
            // Past the capture of the test harness, which shows nothing of a test that passed.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: {test}: {reason}");
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where Cargo builds to, such as `target/debug`: a test is in a folder `deps` of it.
fn target() -> PathBuf {
    let this_program = std::env::current_exe().expect("this program");
    let folder = this_program.ancestors().nth(2);
    folder.expect("a folder of Cargo's").to_owned()
}
