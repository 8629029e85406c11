//! `check`, `probe`, wrong usage, wrong settings.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::LOCAL;
use mote_test_support::scripted_server::{Answer, Server};
use mote_test_support::site::{Said, Site, said, server_settings};
use mote_test_support::{free_port, mote, need};

#[test]
fn wrong_usage_is_64() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["start", "now"],
        &["stop", "--timeout", "soon"],
        &["stop", "--timeout", "-1"],
        &["probe", "--all", "get_linux_cpu"],
        &["-q", "-v", "status"],
    ] {
        let said = said(mote().args(arguments));
        assert_eq!((said.code, &*said.out), (64, ""), "{arguments:?}: {said:?}");
        assert!(said.err.contains("help"), "{said:?}");
    }
    let help = said(mote().arg("--help"));
    assert_eq!((help.code, &*help.err), (0, ""));
    let version = said(mote().arg("--version"));
    assert_eq!(
        (version.code, version.out.starts_with("mote 0.")),
        (0, true)
    );
}

#[test]
fn settings_that_are_missing_or_wrong_are_78_and_named() {
    let site = Site::new(LOCAL);
    let file = site.path("agent.toml").display().to_string();
    let fails = |sentence: &str| {
        for command in ["start", "run", "restart", "stop", "reload", "check"] {
            let said = site.call(&[command]);
            assert_eq!((said.code, &*said.out), (78, ""), "{command}: {said:?}");
            assert!(
                said.err.starts_with(&format!("mote: {sentence}")),
                "{said:?}"
            );
            assert_eq!(said.err.lines().count(), 1, "{said:?}");
        }
    };
    site.write_settings("[server]\nurl = 3");
    fails(&format!("{file}:5: `server.url` must be "));
    site.write_settings("[server]\nulr = \"http://h\"");
    fails(&format!("{file}:5: there is no setting `server.ulr`"));
    site.write_settings("services = {");
    fails(&format!("{file}:"));
    fs::remove_file(&file).unwrap();
    fails(&format!("{file}: No such file or directory"));

    // Services whose interval is wrong are settings too.
    site.write_settings(r#"services = { A = ["get_linux_cpu", -1] }"#);
    for command in ["start", "run", "check"] {
        let said = site.call(&[command]);
        assert_eq!(said.code, 78, "{command}: {said:?}");
        assert!(
            said.err.contains("service \"A\": the interval must be "),
            "{said:?}"
        );
    }
    assert_eq!(site.processes(), [0; 0]);
}

#[test]
fn without_a_file_the_places_that_were_looked_at_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let none = match Path::new("/etc/mote/agent.toml").exists() {
        true => Err("this host has an /etc/mote/agent.toml, which would be used".to_owned()),
        false => Ok(()),
    };
    if need("without_a_file", none).is_none() {
        return;
    }
    let said = said(mote().arg("start").current_dir(folder.path()));
    let expected = format!(
        "mote: there is no settings file: looked for {}/conf/agent.toml and /etc/mote/agent.toml; \
         name one with --config or MOTE_CONFIG\n",
        folder.path().canonicalize().unwrap().display()
    );
    assert_eq!((said.code, &*said.err), (78, &*expected));
}

#[test]
fn check_says_what_would_be_monitored_and_changes_nothing() {
    let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.5], "Odd": ["nothing", 3]}"#);
    let site = Site::of(&server);
    let said = site.call(&["check"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let expected = format!(
        "{}: the settings are valid\n\
         {}: client 1 monitors 2 services\n\
         \x20 Cpu  get_linux_cpu  every 0.5 s\n\
         \x20 Odd  nothing  every 3 s  cannot run: no probe, and not listed in the setting `plugins`\n",
        site.path("agent.toml").display(),
        server.url()
    );
    assert_eq!(said.out, expected);
    assert!(!site.path("state").exists());
}

#[test]
fn check_is_69_when_the_server_gives_no_orders() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let site = Site::new(&server_settings(&url, ""));
    let fails = |sentence: &str| {
        let said = site.call(&["check"]);
        assert_eq!((said.code, &*said.out), (69, ""), "{said:?}");
        assert!(said.err.contains(sentence), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    };
    fails(&format!("{url}/api/client/config/1: "));
    fails("Connection refused");

    let server = Server::new("{}");
    site.write_settings(&server_settings(&server.url(), ""));
    server.script(|_| Answer::status(404, "no"));
    fails("answered 404 Not Found");
    server.script(|_| Answer::ok("<html>"));
    fails(&format!(
        "{}: not a services document in JSON",
        server.url()
    ));
}

#[test]
fn probe_prints_reports_as_lines_of_json() {
    let names = ["get_linux_cpu", "get_memory_info", "host_alive_check"];
    let probe = probe(&[&["--wait", "0.2"][..], &names].concat());
    assert_eq!((probe.code, &*probe.err), (0, ""), "{probe:?}");
    let reports = reports(&probe);
    let sampled: Vec<&str> = reports
        .iter()
        .map(|it| it["service_name"].as_str().unwrap())
        .collect();
    assert_eq!(sampled, names);
    assert!(reports.iter().all(|it| it["data"]["status"] == 0));
    let uptime_s = reports[2]["data"]["uptime"].as_f64().unwrap();
    let kernel = fs::read_to_string("/proc/uptime").unwrap();
    let kernel_s: f64 = kernel.split(' ').next().unwrap().parse().unwrap();
    assert!((0.0..=kernel_s).contains(&uptime_s), "{probe:?}");
}

#[test]
fn probe_samples_everything_and_says_by_its_exit_code_if_something_failed() {
    let listed = probe(&["--list"]);
    assert_eq!(listed.code, 0);
    let listed: Vec<&str> = listed
        .out
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let all = probe(&["--all", "--wait", "0.1"]);
    let reports = reports(&all);
    let sampled: Vec<&str> = reports
        .iter()
        .map(|it| it["service_name"].as_str().unwrap())
        .collect();
    assert_eq!(sampled, listed);
    // Which hardware a machine lacks is its own matter.
    let failed: Vec<&Value> = reports
        .iter()
        .filter(|it| it["data"]["status"] != 0)
        .collect();
    assert_eq!(all.code, i32::from(!failed.is_empty()), "{failed:?}");
    assert!(failed.iter().all(|it| it["data"]["error"].is_string()));

    // A kernel's files that are not there fail for sure.
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().to_str().unwrap();
    let failed = probe(&["--procfs", none, "--wait", "0", "get_linux_cpu"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    let error = self::reports(&failed).remove(0)["data"]["error"].take();
    assert!(error.as_str().unwrap().starts_with(none), "{error}");
}

#[test]
fn probe_knows_no_other_names() {
    let nope = probe(&["get_linux_cpu", "nope"]);
    assert_eq!((nope.code, &*nope.out), (64, ""));
    assert_eq!(
        nope.err,
        "mote: \"nope\" is neither a probe (see mote probe --list) nor listed in the setting `plugins`\n"
    );
}

/// Calls `mote probe` where there are no settings.
fn probe(arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    said(
        mote()
            .arg("probe")
            .args(arguments)
            .current_dir(folder.path()),
    )
}

fn reports(said: &Said) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    said.out.lines().map(parse).collect()
}

#[test]
fn a_full_disk_behind_standard_error_changes_no_exit_code() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let site = Site::new("services = 3");
    let status = site.command(&["run"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(78));
}
