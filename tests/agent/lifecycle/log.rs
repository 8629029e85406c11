//! The log of a detached agent, whose disk hangs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use mote_test_support::site::{Site, said, service};
use mote_test_support::{DEADLINE, Running, need, run, wait_for};

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
    // Each sample of the missing plugin is a line: 100 a second.
    let chatty: String = (0..10)
        .map(|it| format!("S{it} = [\"missing\", 0.1], "))
        .collect();
    let site = Site::new(&format!(
        "plugins = [\"missing\"]\nservices = {{ {chatty} Cpu = [\"get_linux_cpu\", 0.1] }}"
    ));
    let start = said(&mut site.command(&["-v", "start"]));
    let pid = start.pid("mote runs, pid ");
    let thread = wait_for("the log's thread", DEADLINE, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let log = tasks.into_iter().find(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "log\n")
        });
        log?.file_name().into_string().ok()
    });
    // It holds nothing open but the log, least of all the agent's lock.
    wait_for("a file table of its own", DEADLINE, || {
        let open = fs::read_dir(format!("/proc/{pid}/task/{thread}/fd")).ok()?;
        (open.count() == 1).then_some(())
    });
    // Every write takes 20 s.
    let mut strace = Command::new("strace");
    strace.args([
        "-p",
        &thread,
        "-e",
        "trace=write",
        "-e",
        "inject=write:delay_enter=20s",
    ]);
    let held = Running::start("strace", strace.stdout(Stdio::null()), site.folder());
    held.wait_for_output("attached");
    let bytes = || fs::metadata(site.path("state/agent.log")).unwrap().len();
    let before = site.status();
    let sampled = |status: &serde_json::Value| status["reports"]["sampled"].as_u64().unwrap();
    // Longer than its lines find room.
    let after = site.wait_for_status("1000 samples", |status| {
        (sampled(status) > sampled(&before) + 1000).then(|| status.clone())
    });
    let missed = |status: &serde_json::Value| service(status, "Cpu")["missed"].as_u64().unwrap();
    assert!(missed(&after) - missed(&before) < 10, "{after}");
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

    // And at the end, only the process does not go.
    let mut strace = Command::new("strace");
    strace.args([
        "-p",
        &thread,
        "-e",
        "trace=write",
        "-e",
        "inject=write:delay_enter=600s",
    ]);
    let held = Running::start("strace-2", strace.stdout(Stdio::null()), site.folder());
    held.wait_for_output("attached");
    let stopped = site.call(&["stop", "--timeout", "5"]);
    let sentence = format!("mote did not stop within 5 s and was killed, pid {pid}\n");
    assert_eq!(
        (stopped.code, &*stopped.out),
        (0, &*sentence),
        "{stopped:?}"
    );
    // The thread is there as long as its disk holds it, which keeps nobody from being the next agent.
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_ne!(site.start(), pid);
    assert_eq!(site.call(&["stop"]).code, 0);
    drop(held);
}
