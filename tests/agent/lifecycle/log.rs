//! The log: its disk hangs, or nobody reads it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use mote_test_support::site::{Site, said, service};
use mote_test_support::{DEADLINE, Running, need, run, wait_for};
#[cfg(feature = "serve")]
use mote_test_support::{http_get, mote};

/// Settings of an agent with much to say: each sample of a plugin that is missing is a line, 100 a second.
fn chatty() -> String {
    let missing: String = (0..10)
        .map(|it| format!("S{it} = [\"missing\", 0.1], "))
        .collect();
    format!("plugins = [\"missing\"]\nservices = {{ {missing} Cpu = [\"get_linux_cpu\", 0.1] }}")
}

#[test]
fn a_disk_that_hangs_holds_up_its_log_and_nothing_else() {
    let strace = match Uid::effective().is_root() {
        true => run(Command::new("strace").arg("-V")),
        false => Err("only root can hold up the agent's thread".to_owned()),
    };
    let Some(_) = need(
        "a_disk_that_hangs_holds_up_its_log_and_nothing_else",
        strace,
    ) else {
        return;
    };
    let site = Site::new(&chatty());
    let start = said(&mut site.command(&["-v", "start"]));
    let pid = start.pid("mote runs, pid ");
    let thread = wait_for("the log's thread", DEADLINE, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let log = tasks.into_iter().find(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "log\n")
        });
        log?.file_name().into_string().ok()
    });
    // The thread has nothing open but the log; above all not the agent's lock.
    wait_for("a file table of its own", DEADLINE, || {
        let open = fs::read_dir(format!("/proc/{pid}/task/{thread}/fd")).ok()?;
        (open.count() == 1).then_some(())
    });
    // Every write takes 20 s.
    let held = hold_writes(&site, &thread, "20s");
    let bytes = || fs::metadata(site.path("state/agent.log")).unwrap().len();
    let before = site.status();
    let sampled = |status: &serde_json::Value| status["reports"]["sampled"].as_u64().unwrap();
    // Until its lines find no more room.
    let after = site.wait_for_status("1000 samples", |status| {
        (sampled(status) > sampled(&before) + 1000).then(|| status.clone())
    });
    let missed = |status: &serde_json::Value| service(status, "Cpu")["missed"].as_u64().unwrap();
    // One write that is waited for would cost it 200, of eleven services each has taken as many samples.
    let taken = (sampled(&after) - sampled(&before)) / 11;
    assert!(missed(&after) - missed(&before) <= taken, "{after}");
    let held_at = bytes();

    // It goes on where it was, and says what is not there.
    drop(held);
    let line = wait_for("the line on what was lost", DEADLINE, || {
        let log = site.log();
        log.lines()
            .find(|line| line.contains(" lines were lost here: "))
            .map(str::to_owned)
    });
    let lost = line
        .split(" mote: ")
        .nth(1)
        .and_then(|it| it.split(' ').next());
    assert!(lost.unwrap().parse::<u64>().unwrap() > 100, "{line}");
    assert!(bytes() > held_at);

    // At the end only the process stays.
    let held = hold_writes(&site, &thread, "600s");
    let stopped = site.call(&["stop", "--timeout", "5"]);
    let sentence = format!("mote did not stop within 5 s and was killed, pid {pid}\n");
    assert_eq!(
        (stopped.code, &*stopped.out),
        (0, &*sentence),
        "{stopped:?}"
    );
    // The thread stays while its disk holds it. That does not keep the next agent from starting.
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_ne!(site.start(), pid);
    assert_eq!(site.call(&["stop"]).code, 0);
    drop(held);
}

/// A full pipe that nobody reads: its writing end, and its reading end.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    for piece in [&[b'.'; 4096][..], b"."] {
        while nix::unistd::write(&write, piece).is_ok() {}
    }
    // Programs expect a write to wait when there is no room.
    fcntl(&write, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (read, write)
}

#[test]
fn output_that_nobody_reads_holds_nothing_up() {
    let site = Site::new(&chatty());
    let (read, write) = full_pipe();
    let mut command = site.command(&["-v", "run"]);
    let mut agent = command
        .stdin(Stdio::null())
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .spawn()
        .unwrap();
    // This process has no copy of the writing end any more.
    drop(command);
    wait_for("the agent to answer", DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
    site.wait_for_status("more lines than find room", |status| {
        let count = status["reports"]["sampled"].as_u64().unwrap();
        (count > 2 * 256 + 100).then_some(())
    });

    // Whoever reads it in the end is told what is not there.
    let mut pipe = File::from(read);
    let mut said = Vec::new();
    wait_for("the line on what was lost", DEADLINE, || {
        let _ = pipe.read_to_end(&mut said);
        String::from_utf8_lossy(&said)
            .contains(" lines were lost here: ")
            .then_some(())
    });

    // Full again: TERM is heeded all the same.
    let count = |status: &serde_json::Value| status["reports"]["sampled"].as_u64().unwrap();
    let before = count(&site.status());
    site.wait_for_status("many lines more", |status| {
        (count(status) > before + 1000).then_some(())
    });
    kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = wait_for("its end", DEADLINE, || agent.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_restart_that_nobody_reads_leaves_an_agent() {
    let site = Site::new("services = {}");
    let pid = site.start();
    let (read, write) = full_pipe();
    let mut command = site.command(&["restart"]);
    let mut restart = command.stdout(write).spawn().unwrap();
    drop(command);
    wait_for("another agent", DEADLINE, || {
        let said = site.call(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        (said.code == 0 && status["pid"] != pid).then_some(())
    });
    drop(read);
    assert_eq!(restart.wait().unwrap().code(), Some(0));
}

#[cfg(feature = "serve")]
#[test]
fn a_collector_whose_standard_error_nobody_reads_serves_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let port = mote_test_support::free_port();
    let settings = folder.path().join("server.toml");
    fs::write(
        &settings,
        format!("listen = \"127.0.0.1:{port}\"\ndatabase = \"reports.db\"\n"),
    )
    .unwrap();
    let (_read, write) = full_pipe();
    let mut command = mote();
    command.arg("serve").arg("--config").arg(&settings);
    let mut collector = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(write)
        .spawn()
        .unwrap();
    drop(command);
    let url = format!("http://127.0.0.1:{port}/api/accounting?client_id=1");
    let answer = wait_for("an answer", DEADLINE, || http_get(&url).ok());
    assert_eq!(answer.status, 200);
    kill(Pid::from_raw(collector.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = wait_for("its end", DEADLINE, || collector.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

/// Has each write of a thread take so long, until this is dropped.
fn hold_writes(site: &Site, thread: &str, delay: &str) -> Running {
    let mut strace = Command::new("strace");
    let inject = format!("inject=write:delay_enter={delay}");
    strace.args(["-p", thread, "-e", "trace=write", "-e", &inject]);
    let held = Running::start(&format!("strace-{delay}"), &mut strace, site.folder());
    held.wait_for_output("attached");
    held
}
