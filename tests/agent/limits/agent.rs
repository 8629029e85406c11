//! An agent with as many services, plugins, boards and callers as it takes, and more.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use mote_agent::agent::control;
use mote_agent::plugin::MAX_RUNNING;
use mote_agent::probes::{PROBES, Probe};
use mote_agent::protocol::MAX_SERVICES;
use mote_agent::settings::MAX_BOARDS;
use serde_json::{Value, json};

use super::{MAX_FILES, MAX_OWN_MIB, MAX_THREADS};
use mote_test_support::processes::{children, open_files, status};
use mote_test_support::pty::Pty;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, wait_for};

/// More plugins than may run at a time.
const PLUGINS: usize = MAX_RUNNING + 4;

/// All probes, the one with the most files last.
fn probes() -> Vec<&'static str> {
    let mut names: Vec<_> = PROBES.iter().map(Probe::name).collect();
    names.sort_by_key(|name| *name == "LinuxSysInfo");
    names
}

struct Full {
    server: Server,
    site: Site,
    agent: Running,
    _boards: Vec<Pty>,
}

/// A document with [`MAX_SERVICES`] services: plugins, and `probe(n)`.
fn services(probe: impl Fn(usize) -> &'static str) -> String {
    let entry = |n: usize| match n < PLUGINS {
        true => format!(r#""P{n}": ["slow", 1]"#),
        false => format!(r#""S{n}": ["{}", 1]"#, probe(n)),
    };
    let entries: Vec<String> = (0..MAX_SERVICES).map(entry).collect();
    format!("{{{}}}", entries.join(", "))
}

impl Full {
    /// With the usual limit of open files, no matter what this environment allows.
    fn new(document: &str) -> Full {
        let server = Server::new(document);
        let boards: Vec<_> = (0..MAX_BOARDS).map(|_| Pty::open()).collect();
        let tables = boards.iter().enumerate().map(|(n, board)| {
            let device = &board.name;
            let id = 100 + n;
            format!("[[board]]\ndevice = {device:?}\nclient_id = {id}\n")
        });
        let tables: String = tables.collect();
        let site = Site::new(&format!(
            "plugin_dir = \"plugins\"\nplugins = [\"slow\"]\n{}\n{tables}",
            server_settings(&server.url(), "")
        ));
        fs::create_dir(site.path("plugins")).unwrap();
        let file = site.path("plugins/slow");
        fs::write(&file, "#!/bin/sh\necho '{\"a\": 1}'\nexec sleep 3\n").unwrap();
        for path in [site.path("plugins"), file] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mote = site.command(&["run"]);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"ulimit -n "$0" && exec "$@""#])
            .arg(MAX_FILES.to_string())
            .arg(mote.get_program())
            .args(mote.get_args());
        for (name, value) in mote.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let agent = Running::start("agent", &mut command, site.folder());
        Full {
            server,
            site,
            agent,
            _boards: boards,
        }
    }

    fn assert_bounded(&self) {
        let pid = self.agent.id();
        let threads = status(pid, "Threads");
        let files = open_files(pid);
        // What is mapped of the program's file is a matter of how it was compiled.
        let own_mib = status(pid, "RssAnon") / 1024;
        println!("{threads} threads, {files} files, {own_mib} MiB");
        assert!(threads <= MAX_THREADS, "{threads} threads");
        // Some are open for the time of a sample only.
        assert!(files < MAX_FILES - 64, "{files} files");
        assert!(own_mib <= MAX_OWN_MIB, "{own_mib} MiB");
    }
}

#[test]
fn an_agent_with_all_that_it_takes_keeps_its_bounds() {
    let probes = probes();
    let mut full = Full::new(&services(|n| probes[n % probes.len()]));
    let last = format!("S{}", MAX_SERVICES - 1);
    full.server.wait_for_more(&last, 2);
    full.site.wait_for_status("all boards", |status| {
        let boards = status["boards"].as_array()?;
        let open = boards.iter().filter(|it| it["error"].is_null());
        (open.count() == MAX_BOARDS).then_some(())
    });
    // Each plugin has its turn, also those that are too many at a time.
    let ran = json!({"status": 0, "a": 1});
    for name in (0..PLUGINS).map(|n| format!("P{n}")) {
        wait_for("a plugin that ran", DEADLINE, || {
            let reports = full.server.acknowledged(&name);
            // On a busy machine one may take too long to start.
            let is_refused = |it: &Value| it["data"]["error"].to_string().contains("not run");
            assert!(!reports.iter().any(is_refused), "{reports:?}");
            reports.iter().any(|it| it["data"] == ran).then_some(())
        });
    }
    let reason = format!("missed a sample: {MAX_RUNNING} other plugins ran all the time");
    full.site.wait_for_status("a missed turn", |status| {
        let mut services = status["services"].as_array()?.iter();
        services
            .any(|it| it["error"].as_str().is_some_and(|it| it.ends_with(&reason)))
            .then_some(())
    });
    let pid = full.agent.id();
    // 100 looks and more, in which 20 plugins of 3 s each are wanted.
    let (began, mut looks, mut most) = (Instant::now(), 0, 0);
    while looks < 100 || most < MAX_RUNNING {
        looks += 1;
        most = most.max(children(pid).len());
        assert!(most <= MAX_RUNNING, "{most} plugins");
        assert!(began.elapsed() < DEADLINE, "never more than {most} plugins");
        full.assert_bounded();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(full.agent.terminate().code(), Some(0));
}

#[test]
fn orders_for_more_files_than_there_are_leave_room_for_all_else() {
    // Five files each.
    let mut full = Full::new(&services(|_| "LinuxSysInfo"));
    let last = format!("S{}", MAX_SERVICES - 1);
    let report = full.server.wait_for_more(&last, 1)[0].clone();
    let error = report["data"]["error"].as_str().unwrap_or_default();
    let sentence = "the services of this agent have 768 files open already; order fewer of them";
    assert!(error.ends_with(sentence), "{report}");
    let first = format!("S{PLUGINS}");
    assert_eq!(full.server.wait_for_more(&first, 1)[0]["data"]["status"], 0);
    // Plugins need files too.
    let ran = json!({"status": 0, "a": 1});
    wait_for("a plugin that ran", DEADLINE, || {
        let mut reports = (0..PLUGINS).flat_map(|n| full.server.acknowledged(&format!("P{n}")));
        reports.any(|it| it["data"] == ran).then_some(())
    });
    full.assert_bounded();
    // With fewer the rest have theirs again.
    full.server
        .be_good(&format!(r#"{{"{last}": ["LinuxSysInfo", 0.2]}}"#));
    wait_for("a file", DEADLINE, || {
        let reports = full.server.wait_for_more(&last, 1);
        (reports[0]["data"]["status"] == 0).then_some(())
    });
    assert!(open_files(full.agent.id()) < 100);
    assert_eq!(full.agent.terminate().code(), Some(0));
}

#[test]
fn callers_of_the_control_socket_wait_for_one_another_and_for_nothing_else() {
    let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    let site = Site::of(&server);
    let mut agent = site.run();
    server.wait_for_more("Cpu", 1);
    let connect = || {
        let stream = UnixStream::connect(site.path("state/agent.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let is_closed = |stream: &mut UnixStream| {
        let mut rest = Vec::new();
        // Unread bytes make closing a reset.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    };

    // One that says too much is closed at once, well before its time: before one who came earlier. A machine that is
    // busy for longer than that needs another try.
    wait_for("the end of one that says too much", DEADLINE, || {
        let mut earlier = connect();
        let mut long = connect();
        long.write_all(&[b'x'; control::MAX_REQUEST + 1]).unwrap();
        is_closed(&mut long);
        earlier.set_nonblocking(true).unwrap();
        let read = earlier.read(&mut [0]);
        let is_open = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        is_open.then_some(())
    });
    // It waits as long as allowed.
    let mut held = connect();
    held.write_all(&[b'x'; control::MAX_REQUEST]).unwrap();

    let before = open_files(agent.id());
    let mut silent: Vec<_> = (0..60).map(|_| connect()).collect();
    server.wait_for_more("Cpu", 20);
    assert!(open_files(agent.id()) < before + control::MAX_CONNECTIONS + 4);
    let began = Instant::now();
    is_closed(&mut held);
    for stream in silent.iter_mut().take(control::MAX_CONNECTIONS) {
        is_closed(stream);
    }
    assert!(began.elapsed() <= 3 * control::MAX_AGE + DEADLINE);
    // Callers that are gone hold up nobody.
    drop(silent);
    assert_eq!(site.status()["client_id"], "1");
    server.wait_for_more("Cpu", 5);
    assert_eq!(agent.terminate().code(), Some(0));
}
