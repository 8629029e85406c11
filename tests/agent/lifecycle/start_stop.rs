//! `start`, `stop` and `restart`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::LOCAL;
use mote_test_support::processes::{is_alive, stat, wait_for_end};
use mote_test_support::site::{Said, Site, said};
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn start_detaches_and_returns_once_the_agent_runs() {
    let site = Site::new(LOCAL);
    // On a terminal of its own, which is gone when `start` has returned.
    let program = site.command(&["start"]);
    let words: Vec<_> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.join(" ")]);
    let start = said(terminal.arg("/dev/null"));
    assert_eq!(start.code, 0, "{start:?}");
    let pid = start.pid("mote runs, pid ");

    // As `ps` shows it.
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.starts_with(b"mote\0"), "{words:?}");
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name, "mote\n");

    // No waiting: it runs and answers by now.
    assert_eq!(site.status()["pid"], pid);
    let process = stat(pid).unwrap();
    assert_eq!((process.session, process.terminal), (pid, 0), "{process:?}");
    assert!(
        process.parent != std::process::id() && ancestors().contains(&process.parent),
        "{process:?}"
    );
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));
    assert_eq!(link("fd/0"), Path::new("/dev/null"));
    assert_eq!(link("fd/1"), Path::new("/dev/null"));
    let log = site.path("state/agent.log").canonicalize().unwrap();
    assert_eq!(link("fd/2"), log);

    let log = site.wait_for_log(&format!("Z mote: client 1 runs, pid {pid}\n"));
    assert_eq!(
        log.find(" mote: "),
        log.find("Z mote: client 1").map(|at| at + 1)
    );
    wait_for("samples", DEADLINE, || {
        (site.status()["reports"]["sampled"].as_u64() > Some(2)).then_some(())
    });
}

#[test]
fn a_second_start_does_no_harm() {
    let site = Site::new(LOCAL);
    let pid = site.start();
    let second = site.call(&["start"]);
    assert_eq!((second.code, &*second.err), (0, ""), "{second:?}");
    assert_eq!(second.out, format!("mote runs already, pid {pid}\n"));
    assert_eq!(site.status()["pid"], pid);
    assert_eq!(site.processes(), [pid]);

    // In the foreground that is a failure.
    let run = site.call(&["run"]);
    assert_eq!(run.code, 1);
    assert_eq!(
        run.err,
        format!("mote: an agent runs already (pid {pid})\n")
    );
    assert_eq!(site.status()["pid"], pid);
}

#[test]
fn of_two_starts_at_the_same_instant_one_wins() {
    let site = Site::new(LOCAL);
    for _ in 0..10 {
        let starts = [(), ()].map(|()| {
            site.command(&["start"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let said = starts.map(|start| {
            let output = start.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        let pid = site.status()["pid"].as_u64().unwrap();
        let won = format!("mote runs, pid {pid}\n");
        let lost = format!("mote runs already, pid {pid}\n");
        assert!(said.contains(&won) && said.contains(&lost), "{said:?}");
        assert_eq!(site.call(&["stop"]).code, 0);
        assert_eq!(site.processes(), [0; 0]);
    }
}

#[test]
fn stop_ends_the_agent_and_needs_none() {
    let site = Site::new(LOCAL);
    let none = |said: Said| assert_eq!((said.code, &*said.out), (0, "mote does not run\n"));
    none(site.call(&["stop"]));
    let pid = site.start();
    let stopped = site.call(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(stopped.out, format!("mote stopped, pid {pid}\n"));
    assert!(!is_alive(pid));
    let log = site.log();
    assert!(log.contains(" mote: stops: "), "{log}");
    none(site.call(&["stop"]));
}

#[test]
fn restart_puts_a_new_agent_in_place_of_the_old_one() {
    let site = Site::new(LOCAL);
    // None runs yet: it starts one.
    let first = site.call(&["restart"]).pid("mote runs, pid ");
    let second = site.call(&["restart"]).pid("mote runs, pid ");
    assert_ne!(first, second);
    assert_eq!(site.processes(), [second]);

    // Settings that would not start must not stop what runs.
    site.write_settings("services = 3");
    let failed = site.call(&["restart"]);
    assert_eq!(failed.code, 78, "{failed:?}");
    site.write_settings(LOCAL);
    assert_eq!(site.status()["pid"], second);
}

#[test]
fn a_lock_file_left_behind_means_nothing() {
    let site = Site::new(LOCAL);
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::create_dir(site.path("state")).unwrap();
    let write = || fs::write(site.path("state/agent.lock"), format!("{}\n", sleep.id())).unwrap();
    write();
    assert_eq!(site.call(&["status"]).code, 1);
    for command in ["stop", "reload"] {
        let said = site.call(&[command]);
        assert!(
            (said.out + &said.err).contains("mote does not run"),
            "{command}"
        );
    }
    let pid = site.start();
    assert_ne!(pid, sleep.id());
    // The lock counts even while the file says something else.
    write();
    assert_eq!(site.status()["pid"], pid);
    assert_eq!(site.call(&["stop"]).pid("mote stopped, pid "), pid);
    assert_eq!(site.call(&["status"]).code, 3);

    assert_eq!(sleep.try_wait().unwrap(), None, "it was signalled");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
}

#[test]
fn fifty_starts_and_stops_leave_nothing_behind() {
    let site = Site::new(LOCAL);
    let cycle = || {
        let pid = site.start();
        let stopped = site.call(&["stop"]);
        assert_eq!(
            stopped.out,
            format!("mote stopped, pid {pid}\n"),
            "{stopped:?}"
        );
    };
    let files = || {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(site.path("state")).unwrap() {
            let entry = entry.unwrap();
            files.insert(entry.file_name(), entry.metadata().unwrap().len());
        }
        // It grows, until it is started anew: see the next test.
        let log_bytes = files.insert("agent.log".into(), 0).unwrap();
        (files, log_bytes)
    };
    cycle();
    let (after_one, log_bytes) = files();
    (1..50).for_each(|_| cycle());
    let (after_fifty, log_bytes_of_fifty) = files();
    assert_eq!(after_fifty, after_one);
    // Two lines each, whose numbers may get longer.
    assert!(
        log_bytes_of_fifty <= 50 * (log_bytes + 20),
        "{}",
        site.log()
    );
    assert_eq!(site.processes(), [0; 0]);
}

#[test]
fn a_long_log_is_started_anew() {
    let site = Site::new(LOCAL);
    fs::create_dir(site.path("state")).unwrap();
    let old = "x".repeat(1 << 20);
    fs::write(site.path("state/agent.log"), &old).unwrap();
    site.start();
    site.call(&["stop"]);
    let log = site.log();
    assert!(log.len() < 1000 && log.contains(" mote: stops: "), "{log}");
    let kept = fs::read_to_string(site.path("state/agent.log.1")).unwrap();
    assert!(kept.starts_with(&old));
}

#[test]
fn a_state_folder_may_have_a_longer_path_than_a_socket() {
    let site = Site::new(LOCAL);
    let folder = format!("{0}/{0}", "x".repeat(100));
    let text = fs::read_to_string(site.path("agent.toml")).unwrap();
    let text = text.replace("\"state\"", &format!("\"{folder}\""));
    fs::write(site.path("agent.toml"), text).unwrap();
    let pid = site.start();
    assert_eq!(site.status()["pid"], pid);
    assert!(site.path(&folder).join("agent.sock").exists());
    assert_eq!(site.call(&["stop"]).pid("mote stopped, pid "), pid);
    wait_for_end(pid);
}

#[test]
fn a_state_folder_that_cannot_be_used_is_named() {
    let site = Site::new(LOCAL);
    // A file stands where the folder should be.
    fs::write(site.path("state"), "").unwrap();
    let folder = site.path("state").display().to_string();
    for (command, sentence) in [
        (
            "start",
            format!("mote: {folder}/agent.lock: Not a directory"),
        ),
        ("run", format!("mote: {folder}: File exists")),
    ] {
        let said = site.call(&[command]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.starts_with(&sentence), "{said:?}");
        assert_eq!((said.err.lines().count(), &*said.out), (1, ""), "{said:?}");
    }
    fs::remove_file(site.path("state")).unwrap();

    // Nobody may write there. Without capabilities that holds for root too.
    fs::create_dir(site.path("state")).unwrap();
    let read_only = fs::Permissions::from_mode(0o500);
    fs::set_permissions(site.path("state"), read_only).unwrap();
    let start = site.command(&["start"]);
    let mut powerless = Command::new("setpriv");
    powerless.args(["--inh-caps=-all", "--bounding-set=-all", "--"]);
    powerless.arg(start.get_program()).args(start.get_args());
    let said = said(&mut powerless);
    let file = site.path("state/agent.lock");
    let expected = format!("mote: {}: Permission denied", file.display());
    assert!(said.err.starts_with(&expected), "{said:?}");
    assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
}

/// The processes above this one, up to the first.
fn ancestors() -> Vec<u32> {
    let parent = |pid: &u32| stat(*pid).map(|it| it.parent).filter(|it| *it > 0);
    std::iter::successors(Some(std::process::id()), parent).collect()
}

#[test]
fn the_agent_keeps_no_file_of_the_one_who_started_it() {
    let site = Site::new(LOCAL);
    let held = site.path("held");
    let start = site.command(&["start"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7>\"$0\"; exec \"$@\""]).arg(&held);
    let shell = shell.arg(start.get_program()).args(start.get_args());
    let pid = said(shell).pid("mote runs, pid ");
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert_ne!(target, held);
    }
    assert_eq!(site.call(&["stop"]).code, 0);
}
