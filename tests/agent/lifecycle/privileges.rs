//! Which user the agent runs as, and what it refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::unistd::User;
use serde_json::json;

use super::LOCAL;
use mote_agent::probes::{PROBES, Probe};
use mote_test_support::processes::{is_alive, skipped_without_root};
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Said, Site, said, server_settings, service};
use mote_test_support::{DEADLINE, wait_for};

const USER: &str = "nobody";

/// Every probe, but the one of sensors, which a machine need not have.
fn probes() -> impl Iterator<Item = &'static str> {
    let names = PROBES.iter().map(Probe::name);
    names.filter(|name| *name != "get_temperature")
}

/// Lets the user reach the settings and nothing else.
fn open_to_user(site: &Site) {
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(site.folder(), 0o755);
    mode(&site.path("agent.toml"), 0o644);
}

/// A line of `/proc/PID/task/TID/status` for each thread.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let words: Vec<_> = line
                .unwrap()
                .trim_start_matches(':')
                .split_whitespace()
                .collect();
            words.join(" ")
        })
        .collect()
}

#[test]
fn an_agent_that_became_a_user_has_no_right_left() {
    if skipped_without_root("an_agent_that_became_a_user_has_no_right_left") {
        return;
    }
    let user = User::from_name(USER).unwrap().unwrap();
    let services: Vec<_> = probes()
        .map(|name| format!("{name} = [\"{name}\", 0.2]"))
        .collect();
    let site = Site::new(&format!("services = {{ {} }}", services.join(", ")));
    open_to_user(&site);
    // As an agent that was root would have left it.
    fs::create_dir(site.path("state")).unwrap();
    fs::write(site.path("state/agent.log"), "of root\n").unwrap();
    let started = site.call(&["start", "--user", USER]);
    assert_eq!((started.code, &*started.err), (0, ""), "{started:?}");
    let pid = started.pid("mote runs, pid ");

    let all = |name: &str, value: &str| {
        let found = of_threads(pid, name);
        assert!(
            found.len() > 1 && found.iter().all(|it| it == value),
            "{name} {found:?}"
        );
    };
    let four = |id: u32| format!("{id} {id} {id} {id}");
    all("Uid", &four(user.uid.as_raw()));
    all("Gid", &four(user.gid.as_raw()));
    all("Groups", &user.gid.to_string());
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
        all(set, "0000000000000000");
    }
    all("NoNewPrivs", "1");

    // Everything works as before, for the user and for root.
    let status = site.wait_for_status("samples of all", |status| {
        let services = status["services"].as_array().unwrap();
        let sampled = services
            .iter()
            .all(|it| it["last_status"] == 0 || it["status"] == 0);
        (services.len() == probes().count() && sampled).then(|| status.clone())
    });
    assert_eq!(status["pid"], pid);
    for name in ["", "agent.lock", "agent.sock", "agent.log"] {
        let facts = fs::metadata(site.path("state").join(name)).unwrap();
        assert_eq!(facts.uid(), user.uid.as_raw(), "{name}");
    }
    site.write_settings(LOCAL);
    assert_eq!(site.call(&["reload"]).code, 0);
    assert_eq!(service(&site.status(), "Cpu")["interval_s"], 0.1);
    let log = site.log();
    assert!(
        log.starts_with("of root\n") && !log.contains("root, which"),
        "{log}"
    );

    // Other processes of the same user cannot read its memory.
    let dump = said(
        Command::new("setpriv")
            .args([
                "--reuid",
                USER,
                "--regid",
                &user.gid.to_string(),
                "--clear-groups",
            ])
            .args(["cat", &format!("/proc/{pid}/environ")]),
    );
    assert!(
        dump.code != 0 && dump.err.contains("Permission denied"),
        "{dump:?}"
    );

    // A file that it may no longer read is named, and changes nothing.
    fs::set_permissions(site.path("agent.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let reload = site.call(&["reload"]);
    let expected = format!(
        "mote: {}: Permission denied",
        site.path("agent.toml").display()
    );
    assert!(
        reload.code == 78 && reload.err.starts_with(&expected),
        "{reload:?}"
    );
    assert_eq!(reload.err.lines().count(), 1, "{reload:?}");
    assert_eq!(site.call(&["stop"]).pid("mote stopped, pid "), pid);
    assert!(!is_alive(pid));

    // Started again, it finds all that is its own; and says at once that it cannot read its settings again.
    let started = site.call(&["start", "--user", USER]);
    assert_eq!((started.code, &*started.err), (0, ""), "{started:?}");
    site.wait_for_log("so reload will fail: ");
}

#[test]
fn a_plugin_of_such_an_agent_has_none_either() {
    if skipped_without_root("a_plugin_of_such_an_agent_has_none_either") {
        return;
    }
    let server = Server::new(r#"{"Own": ["own", 0.3]}"#);
    let settings = server_settings(&server.url(), "");
    let site = Site::new(&format!(
        "user = \"{USER}\"\nplugin_dir = \"plugins\"\nplugins = [\"own\"]\n{settings}"
    ));
    open_to_user(&site);
    fs::create_dir(site.path("plugins")).unwrap();
    let script = r#"#!/bin/sh
while read -r name value rest; do
    case $name in
        Uid:) uid=$value ;; CapEff:) eff=$value ;; CapBnd:) bounding=$value ;; NoNewPrivs:) none=$value ;;
    esac
done < /proc/self/status
while read -r score < /proc/$$/oom_score_adj && [ "$score" != 500 ]; do :; done
echo "{\"uid\": $uid, \"effective\": \"$eff\", \"bounding\": \"$bounding\", \"none\": $none, \"score\": $score}""#;
    fs::write(site.path("plugins/own"), script).unwrap();
    for path in ["plugins", "plugins/own"] {
        fs::set_permissions(site.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut agent = site.run();
    let uid = User::from_name(USER).unwrap().unwrap().uid.as_raw();
    let zeros = "0000000000000000";
    assert_eq!(
        server.wait_for_more("Own", 1)[0]["data"],
        json!({"status": 0, "uid": uid, "effective": zeros, "bounding": zeros, "none": 1, "score": 500})
    );
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn who_it_is_to_become_must_be_there_and_be_allowed() {
    let site = Site::new(LOCAL);
    let unknown = "mote: there is no user \"no-such-user\" on this host: create it or name another with `user` or --user\n";
    for command in ["start", "run", "restart"] {
        let said = site.call(&[command, "--user", "no-such-user"]);
        assert_eq!((said.code, &*said.err), (78, unknown), "{said:?}");
    }
    site.write_settings(&format!("user = \"no-such-user\"\n{LOCAL}"));
    for command in ["start", "check"] {
        let said = site.call(&[command]);
        assert_eq!((said.code, &*said.err), (78, unknown), "{said:?}");
    }
    assert!(!site.path("state").exists());
    if skipped_without_root("who_it_is_to_become_must_be_there_and_be_allowed") {
        return;
    }

    // Not root, and another one than the user.
    site.write_settings(LOCAL);
    open_to_user(&site);
    chown(site.folder(), Some(65534), Some(65534)).unwrap();
    let start = site.command(&["start", "--user", "daemon"]);
    let mut as_user = Command::new("setpriv");
    as_user.args(["--reuid", USER, "--regid", "65534", "--clear-groups", "--"]);
    let start = said(as_user.arg(start.get_program()).args(start.get_args()));
    let expected =
        "mote: only root can become the user \"daemon\": start the agent as root or as that user\n";
    assert_eq!((start.code, &*start.err), (1, expected), "{start:?}");

    // A folder that is not the agent's alone is not given away.
    fs::create_dir(site.path("state")).unwrap();
    chown(site.path("state"), Some(0), None).unwrap();
    fs::write(site.path("state/shadow"), "").unwrap();
    let start = site.call(&["start", "--user", USER]);
    let expected = format!(
        "mote: {} holds \"shadow\", which is not the agent's: name a folder of the agent's own in `state_dir`\n",
        site.path("state").display()
    );
    assert_eq!((start.code, &*start.err), (1, &*expected), "{start:?}");
    assert_eq!(fs::metadata(site.path("state")).unwrap().uid(), 0);
}

#[test]
fn a_folder_that_is_not_the_agent_s_own_is_refused_and_left_as_it_is() {
    let site = Site::new(LOCAL);
    let state = site.path("state");
    let shown = state.display();
    fs::create_dir(&state).unwrap();
    let mut users = vec![&[][..]];
    if !skipped_without_root("a_folder_that_is_not_the_agent_s_own_is_refused_and_left_as_it_is") {
        users.push(&["--user", USER]);
    }
    let facts = || {
        let facts = fs::metadata(&state).unwrap();
        (
            facts.uid(),
            facts.mode() & 0o7777,
            fs::read_dir(&state).unwrap().count(),
        )
    };
    for user in &users {
        for mode in [0o1777, 0o777, 0o1755, 0o770] {
            fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
            let before = facts();
            for command in ["start", "run"] {
                let said = site.call(&[&[command][..], user].concat());
                let sentence =
                    format!("mote: {shown} can be written by others (its mode is {mode:04o}): ");
                assert_eq!(said.code, 1, "{said:?}");
                assert!(said.err.starts_with(&sentence), "{said:?}");
                assert_eq!(said.err.lines().count(), 1, "{said:?}");
            }
            assert_eq!(facts(), before);
        }
    }
    if users.len() == 1 {
        return;
    }
    // All of root's folders are its own, such as /etc.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(state.join("passwd"), "").unwrap();
    let before = facts();
    let said = site.call(&["start"]);
    let sentence = format!(
        "mote: {shown} holds \"passwd\", which is not the agent's: name a folder of the agent's own in `state_dir`\n"
    );
    assert_eq!((said.code, &*said.err), (1, &*sentence));
    assert_eq!(facts(), before);
    chown(&state, Some(65534), None).unwrap();
    let said = site.call(&["start"]);
    let sentence = format!("mote: {shown} belongs to user 65534, and the agent runs as root: ");
    assert!(said.err.starts_with(&sentence), "{said:?}");
}

#[test]
fn the_state_of_one_agent_is_no_other_s() {
    let site = Site::new(LOCAL);
    site.start();
    assert_eq!(site.call(&["stop"]).code, 0);
    let other = site.path("other.toml");
    fs::copy(site.path("agent.toml"), &other).unwrap();
    let start = |file: &std::path::Path| {
        let mut command = mote_test_support::mote();
        said(command.arg("--config").arg(file).arg("start"))
    };
    let own = site.path("agent.toml").canonicalize().unwrap();
    let sentence = format!(
        "mote: {} holds the state of client 1 with the settings {}: ",
        site.path("state").display(),
        own.display()
    );
    let refused = |said: Said| {
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.starts_with(&sentence), "{said:?}");
    };
    refused(start(&other));
    assert_eq!(site.processes(), [0; 0]);
    // Settings that were moved keep their state.
    fs::rename(&own, &other).unwrap();
    let moved = start(&other);
    assert_eq!((moved.code, &*moved.err), (0, ""), "{moved:?}");
    fs::rename(&other, &own).unwrap();
}

/// Two folders of settings beside each other have the same default folder for the state.
#[test]
fn the_agent_of_a_sibling_is_left_alone() {
    let site = Site::new(LOCAL);
    let of_sibling = |name: &str| {
        let folder = site.path(name);
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("agent.toml"),
            format!("client_id = 1\n{LOCAL}\n"),
        )
        .unwrap();
        move |word: &str| {
            let mut command = mote_test_support::mote();
            let file = folder.join("agent.toml");
            said(command.arg("--config").arg(file).arg(word))
        }
    };
    let (own, other) = (of_sibling("a"), of_sibling("b"));
    assert_eq!(own("start").code, 0);
    let refused: Vec<Said> = ["start", "status", "reload", "restart", "stop"]
        .map(&other)
        .into();
    let status = own("status");
    let stopped = own("stop");
    for said in refused {
        assert_ne!(said.code, 0, "{said:?}");
        assert!(said.err.contains("/a/agent.toml: "), "{said:?}");
    }
    assert_eq!(
        (status.code, stopped.code),
        (0, 0),
        "{status:?} {stopped:?}"
    );
    assert!(stopped.out.starts_with("mote stopped"), "{stopped:?}");
}

/// What an administrator goes through who has changed `client_id`.
#[test]
fn an_agent_that_is_another_client_now_says_what_to_do_with_the_old_one_s_state() {
    let site = Site::new(LOCAL);
    let pid = site.start();
    site.wait_for_status("a report", |status| {
        (status["reports"]["sampled"].as_u64() > Some(0)).then_some(())
    });
    let own = fs::read_to_string(site.path("agent.toml")).unwrap();
    let changed = own.replace("client_id = 1", "client_id = 2");
    fs::write(site.path("agent.toml"), changed).unwrap();
    let refused = |command: &str| {
        let said = site.call(&[command]);
        assert_eq!((said.code, said.err.lines().count()), (1, 1), "{said:?}");
        for part in [
            "holds the state of client 1",
            "agent.toml the agent is client 2 now",
            "set client_id back to 1",
        ] {
            assert!(said.err.contains(part), "{said:?}");
        }
        said.err
    };
    // The old one goes on.
    refused("restart");
    assert_eq!(site.status()["pid"], pid);
    assert_eq!(site.status()["client_id"], "1");
    assert_eq!(site.call(&["stop"]).code, 0);
    let sentence = refused("start");
    assert!(site.path("state/queue").exists());
    let (_, told) = sentence.split_once("call mote stop and ").unwrap();
    let (remove, _) = told.split_once(", and start").unwrap();
    let removed = Command::new("sh").args(["-c", remove]).status().unwrap();
    assert!(removed.success(), "{remove}");
    assert!(site.path("state/agent.log").exists());
    site.start();
    let status = site.status();
    assert_eq!(status["client_id"], "2");
    // Nothing of the old one is left to send.
    site.wait_for_status("a report", |status| {
        (status["reports"]["sampled"].as_u64() > Some(0)).then_some(())
    });
    let queued = walk(&site.path("state/queue"));
    assert!(!queued.contains("\"client_id\":1,"), "{queued}");
}

/// The text of all files of a folder.
fn walk(folder: &std::path::Path) -> String {
    let files = fs::read_dir(folder).unwrap();
    let texts = files.map(|it| fs::read(it.unwrap().path()).unwrap());
    texts
        .map(|it| String::from_utf8_lossy(&it).into_owned())
        .collect()
}

#[test]
fn an_agent_that_stays_root_says_so_once_and_gains_nothing() {
    if skipped_without_root("an_agent_that_stays_root_says_so_once_and_gains_nothing") {
        return;
    }
    let site = Site::new(LOCAL);
    let pid = site.start();
    let sentence = "mote: runs as root, which it need not: name a user with `user` or --user\n";
    site.wait_for_log(sentence);
    assert_eq!(site.call(&["reload"]).code, 0);
    assert_eq!(site.log().matches("runs as root").count(), 1);
    assert!(of_threads(pid, "NoNewPrivs").iter().all(|it| it == "1"));
}

#[test]
fn only_the_agent_s_user_gets_at_its_files_and_it_hands_on_none() {
    let site = Site::new(LOCAL);
    // No matter what the umask is.
    let start = site.command(&["start"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$@\" 7>/dev/null", "sh"]);
    let started = said(shell.arg(start.get_program()).args(start.get_args()));
    let pid = started.pid("mote runs, pid ");
    site.wait_for_status("samples", |status| {
        (status["reports"]["sampled"].as_u64() > Some(2)).then_some(())
    });
    let mode = |name: &str| fs::metadata(site.path("state").join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    for name in ["agent.lock", "agent.sock", "agent.log"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    for entry in fs::read_dir(site.path("state")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(mode(&name) & 0o077, 0, "{name}");
    }

    let info = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("to be root: its descriptors are its own");
    let mut others = 0;
    for entry in info.flatten() {
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let Some(flags) = flags.map(|it| u32::from_str_radix(it.trim(), 8).unwrap()) else {
            continue;
        };
        if number > 2 {
            others += 1;
            assert!(flags & 0o2_000_000 != 0, "descriptor {number} is handed on");
        }
    }
    assert!(others > 3);
}

#[test]
fn what_a_script_left_open_is_not_handed_on_by_run() {
    let site = Site::new(LOCAL);
    let run = site.command(&["run"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 7>/dev/null", "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    let agent = mote_test_support::Running::start("agent", &mut shell, site.folder());
    wait_for("the agent", DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/7", agent.id())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    assert_ne!(
        u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000,
        0
    );
}
