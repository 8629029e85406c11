//! Commands, options and exit codes: the tables of `commands.md` against the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::pages::{doc, name, quoted, rows};
use mote_test_support::scripted_server::{Answer, Server};
use mote_test_support::site::{Said, Site, said};
use mote_test_support::{DEADLINE, Running, free_port, mote, run, wait_for};

/// The options in a help text or a cell.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '-'));
    let options = words.filter(|word| word.starts_with("--") && word.len() > 2);
    options.map(str::to_owned).collect()
}

fn help(command: &[&str]) -> String {
    let help = run(mote().args(command).arg("--help")).expect("help");
    // What stands in the explanation of an option is not one.
    let lines = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'));
    let lines = lines.map(|line| line.trim_start().split("  ").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn commands() -> BTreeSet<String> {
    let help = run(mote().arg("--help")).expect("help");
    let (_, list) = help.split_once("Commands:\n").expect("the commands");
    let (list, _) = list.split_once("\n\n").expect("their end");
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_table_of_commands_is_that_of_the_help() {
    let page = doc("commands");
    let global = options(&help(&[]));
    let mut expected = commands();
    for row in rows(page.beginning()) {
        let usage = name(&row[0]);
        let command = usage.split(' ').nth(1).expect("a command");
        if !cfg!(feature = "serve") && !expected.contains(command) {
            continue;
        }
        assert!(expected.remove(command), "mote has no {command}");
        let own = &options(&help(&[command])) - &global;
        assert_eq!(options(usage), own, "options of {command}");
    }
    assert_eq!(expected, BTreeSet::new(), "not in the table");
}

#[test]
fn the_table_of_options_is_that_of_the_help() {
    let page = doc("commands");
    let table = rows(page.chapter("## Options of every command"));
    let told: BTreeSet<_> = table.iter().flat_map(|row| options(&row[0])).collect();
    assert_eq!(told, options(&help(&[])));
}

/// Each code of the table is made to happen, and none that a command's row names is missing there.
#[test]
fn the_exit_codes_are_those_of_the_table() {
    let page = doc("commands");
    let table = rows(page.chapter("## Exit codes"));
    let told: BTreeSet<i32> = table.iter().map(|row| row[0].parse().unwrap()).collect();
    let mut seen = BTreeMap::new();
    let mut note = |said: Said| {
        if said.code != 0 {
            assert_ne!(said.err, "", "{said:?} has no sentence");
        }
        seen.insert(said.code, said);
    };

    let local = r#"services = { Load = ["get_linux_load", 60] }"#;
    let site = Site::new(local);
    let quiet = |said: Said| (said.code, said.err.clone());
    assert_eq!(site.call(&["status"]).code, 3);
    assert_eq!(site.call(&["stop"]).code, 0, "also if none ran");
    note(site.call(&["reload"]));
    note(site.call(&["strat"]));
    note(site.call(&["probe", "no_such_plugin"]));
    site.start();
    assert_eq!(quiet(site.call(&["status"])), (0, String::new()));
    assert_eq!(site.call(&["start"]).code, 0, "also if it runs already");
    site.write_settings("services = 7");
    for command in ["reload", "restart", "start", "run", "check"] {
        let said = site.call(&[command]);
        assert_eq!(said.code, 78, "{command}: {said:?}");
        note(said);
    }
    site.write_settings(local);
    assert_eq!(site.call(&["status"]).code, 0, "the old agent runs on");
    assert_eq!(site.call(&["restart"]).code, 0);
    let pid: i32 = fs::read_to_string(site.path("state/agent.lock"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    let died = wait_for("the death to be noticed", DEADLINE, || {
        let said = site.call(&["status"]);
        (said.code != 0 && said.code != 4).then_some(said)
    });
    assert_eq!(died.code, 1, "{died:?}");
    seen.insert(1, died);
    assert_eq!(site.call(&["stop"]).code, 0);

    let away = format!("[server]\nurl = \"http://127.0.0.1:{}\"\n", free_port());
    site.write_settings(&away);
    let unanswered = site.call(&["check"]);
    seen.insert(unanswered.code, unanswered);
    seen.insert(3, site.call(&["status"]));
    let denied = denied();
    seen.insert(denied.code, denied);
    let untold = untellable();
    seen.insert(untold.code, untold);
    seen.insert(0, said(mote().arg("--version")));

    let mut of_commands = BTreeSet::new();
    for row in rows(page.beginning()) {
        let numbers = row[2].split(|it: char| !it.is_ascii_digit());
        of_commands.extend(numbers.filter_map(|it| it.parse::<i32>().ok()));
    }
    assert!(of_commands.is_subset(&told), "{of_commands:?}");
    let seen: BTreeSet<i32> = seen.into_keys().collect();
    assert_eq!(seen, told);
}

/// A server that wants a token.
fn denied() -> Said {
    let server = Server::new("{\"services\": {}}");
    server.script(|_| Answer::status(401, ""));
    let site = Site::of(&server);
    let mut agent = site.run_until_up();
    let denied = wait_for("the server's answer", DEADLINE, || {
        Some(site.call(&["status"])).filter(|said| said.code != 0)
    });
    agent.terminate();
    denied
}

/// A state folder that the command may not enter: it cannot tell whether an agent runs.
fn untellable() -> Said {
    let site = Site::new("services = {}");
    fs::write(site.path("state"), "").unwrap();
    let said = site.call(&["status"]);
    fs::remove_file(site.path("state")).unwrap();
    said
}

#[test]
fn the_files_of_an_agent_are_those_of_the_table() {
    let page = doc("commands");
    let table = rows(page.chapter("## Files of a running agent"));
    let told: BTreeSet<_> = table.iter().flat_map(|row| quoted(&row[0])).collect();
    let port = free_port();
    let site = Site::new(&format!(
        "[server]\nurl = \"http://127.0.0.1:{port}\"\nconfig_update_interval_s = 1\n"
    ));
    let services = r#"{"services":{"Load":["get_linux_load",0.1]}}"#;
    fs::create_dir(site.path("state")).unwrap();
    fs::set_permissions(
        site.path("state"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    fs::write(site.path("state/services.json"), services).unwrap();
    site.start();
    site.wait_for_status("a report on disk", |_| {
        let mut files = fs::read_dir(site.path("state/queue")).ok()?;
        files.next().map(drop)
    });
    for entry in fs::read_dir(site.path("state")).unwrap().flatten() {
        let slash = if entry.path().is_dir() { "/" } else { "" };
        let name = format!("{}{slash}", entry.file_name().to_string_lossy());
        assert!(told.contains(name.as_str()), "{name} is not in the table");
    }
    // Those of which nothing was given up.
    for name in told.into_iter().filter(|name| *name != "dead/") {
        assert!(Path::new(&site.path("state")).join(name).exists(), "{name}");
    }
    assert_eq!(site.call(&["stop"]).code, 0);
}

/// `mote run` and `mote serve` end with 0 when they are told to.
#[test]
fn signals_end_well() {
    use nix::sys::signal::Signal::{SIGINT, SIGTERM};
    for signal in [SIGTERM, SIGINT] {
        let site = Site::new("services = {}");
        let mut agent: Running = site.run_until_up();
        agent.signal(signal);
        assert!(agent.wait().success(), "{signal}");
    }
}
