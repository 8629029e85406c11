//! Processes of a test: none is left behind.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::assert_final_accounts;
use crate::{DEADLINE, target, wait_for};

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

    /// What it has printed once `words` are in it: a line comes a moment after what it tells of.
    pub fn wait_for_output(&self, words: &str) -> String {
        wait_for(&format!("{words:?} from {}", self.name), DEADLINE, || {
            Some(self.output()).filter(|output| output.contains(words))
        })
    }

    /// Waits until it has said so, and fails the test if it has said so more often.
    pub fn assert_said(&self, words: &str, times: usize) {
        let what = format!("{words:?} from {}, {times} times", self.name);
        wait_for(&what, DEADLINE, || {
            let output = self.output();
            let said = output.matches(words).count();
            assert!(said <= times, "{words:?}: {output}");
            (said == times).then_some(())
        });
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
        assert_final_accounts(&self.output());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Look at it while it lives: it may be what hangs.
        let threads = std::thread::panicking().then(|| threads(self.id()));
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(threads) = threads {
            eprintln!("--- threads of {}:\n{threads}", self.name);
            eprintln!("--- output of {}:\n{}---", self.name, self.output());
        }
    }
}

/// What each thread of a process does: its name, where the kernel keeps it, its system call and the signals that it
/// blocks. Empty if the process is gone; of a file that cannot be read it says so.
pub fn threads(pid: u32) -> String {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return String::new();
    };
    let mut lines = String::new();
    for task in tasks.flatten().map(|it| it.path()) {
        let read = |file: &str| match fs::read_to_string(task.join(file)) {
            Ok(text) => text.trim().to_owned(),
            Err(cause) => format!("({cause})"),
        };
        let status = read("status");
        let of_status = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key));
            value.unwrap_or("?").trim().to_owned()
        };
        let _ = writeln!(
            lines,
            "{} {}: {}, at {}, call {}, blocks {}",
            task.file_name().unwrap_or_default().display(),
            read("comm"),
            of_status("State:"),
            read("wchan"),
            read("syscall"),
            of_status("SigBlk:")
        );
    }
    lines
}

/// The agent's program, free of what this environment says to it.
pub fn mote() -> Command {
    let mut command = Command::new(program());
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

/// Cargo leaves the program beside the folder of the test that runs, and knows of no other than this one.
fn program() -> PathBuf {
    let program = target().join("mote");
    assert!(
        program.exists(),
        "{} is missing: run the test by `cargo test`",
        program.display()
    );
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_does_is_told_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start("sleeper", Command::new("sleep").arg("1000"), folder.path());
        let pid = running.id();
        let asleep = wait_for("a sleeping process", DEADLINE, || {
            Some(threads(pid)).filter(|it| it.contains("S (sleeping)"))
        });
        assert!(asleep.starts_with(&format!("{pid} sleep: ")), "{asleep}");
        assert!(asleep.contains(", blocks 0000000000000000"), "{asleep}");
        drop(running);
        assert_eq!(threads(pid), "");
    }
}
