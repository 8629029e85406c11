//! What the tests of whole processes share: start one and never leave it behind, wait with a
//! deadline, find a port, ask a server.

#![allow(dead_code)] // Every test crate takes a part of this.

pub mod django;
pub mod namespace;
pub mod python;
pub mod scripted_server;
pub mod site;
pub mod strace;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For everything that should happen soon: long enough for a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A child process. It is killed when this is dropped, so also when an assertion fails; its output
/// is then printed.
pub struct Running {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts `command`; what it prints goes to `NAME.log` in `folder`, after what is there already.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Running {
        let output = folder.join(format!("{name}.log"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .unwrap_or_else(|cause| panic!("{}: {cause}", output.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|cause| panic!("{name} does not start: {cause}"));
        Running {
            name: name.to_owned(),
            child,
            output,
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far, to standard output and standard error.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Fails the test if it has ended; for loops that wait for something it should do.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the child's state") {
            panic!("{} has ended: {status}", self.name);
        }
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        kill(Pid::from_raw(id), signal)
            .unwrap_or_else(|cause| panic!("{signal} to {}: {cause}", self.name));
    }

    /// Sends TERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.assert_running();
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, DEADLINE, || {
            self.child.try_wait().expect("the child's state")
        });
        site::assert_final_accounts(&self.output());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- output of {}:\n{}---", self.name, self.output());
        }
    }
}

/// The agent's program, free of what this environment says to it.
pub fn mote() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOTE_") {
            command.env_remove(name);
        }
    }
    command.env("NO_PROXY", "127.0.0.1");
    command
}

/// Runs `command` to its end and gives its standard output; the error says what it printed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("{shown} does not start: {cause}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{shown} failed ({}).\n{stdout}{stderr}",
        output.status
    ))
}

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

/// What a server answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Where it redirects to.
    pub location: Option<String>,
    /// The body.
    pub body: String,
}

/// One GET on a connection of its own; redirects are given, not followed, and any status is an answer.
pub fn http_get(url: &str) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut response = agent.get(url).call()?;
    let location = response.headers().get("location");
    let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Ok(Answer {
        status: response.status().as_u16(),
        location,
        body: response.body_mut().read_to_string()?,
    })
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
