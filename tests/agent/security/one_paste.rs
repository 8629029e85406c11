//! `mote enroll` as a package and the collector's page have it: one line, on a host that has nothing.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::authority::{Authority, Shown};
use super::enrolment::{CODE, enrol_at, enroll, yes};
use super::{GOOD, write_with_mode};
use mote_test_support::mote;
use mote_test_support::scripted_server::{Answer, Server};
use mote_test_support::site::said;

fn base64(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_certificate_on_the_command_line_is_kept_once_the_server_has_shown_it() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let codes = enrol_at(
        &server,
        Answer::status(403, "{\"error\": \"no such code\"}"),
    );
    let folder = TempDir::new().unwrap();
    let etc = folder.path().join("etc");
    let config = etc.join("agent.toml").display().to_string();
    let mut line = vec![&*url, "--code", CODE, "--config", &config, "--certificate"];

    for wrong in ["", "MIIB", "-----BEGIN", "MIIB\nMIIB"] {
        let said = enroll(&[&line[..], &[wrong]].concat());
        assert_eq!(said.code, 64, "{wrong:?}: {said:?}");
    }
    let foreign = base64(&Authority::new("theirs").pem());
    assert_eq!(enroll(&[&line[..], &[&*foreign]].concat()).code, 69);
    assert!(codes.lock().unwrap().is_empty());

    let certificate = base64(&authority.pem());
    line.push(&certificate);
    assert_eq!(enroll(&line).code, 69);
    assert_eq!(names(&etc), [""; 0]);

    enrol_at(&server, yes("\"web\""));
    let said_now = enroll(&line);
    assert_eq!((said_now.code, &*said_now.err), (0, ""), "{said_now:?}");
    assert_eq!(names(&etc), ["agent.toml", "ca.pem", "token"]);
    let kept = fs::read_to_string(etc.join("ca.pem")).unwrap();
    assert_eq!(base64(&kept), certificate);
    let check = said(mote().args(["--config", &config, "check"]));
    assert_eq!((check.code, &*check.err), (0, ""), "{check:?}");

    // A second time nothing changes, be it a failure or not.
    let codes = enrol_at(&server, yes("\"web\""));
    for (option, code) in [(None, 1), (Some("--once"), 0)] {
        let mut again = line.clone();
        again.pop();
        again.push(&foreign);
        again.extend(option);
        let said = enroll(&again);
        assert_eq!(said.code, code, "{said:?}");
    }
    assert_eq!(fs::read_to_string(etc.join("ca.pem")).unwrap(), kept);
    assert!(codes.lock().unwrap().is_empty());
}

#[test]
fn settings_that_a_package_brought_are_filled_in_and_others_are_not() {
    let server = Server::new(GOOD);
    let codes = enrol_at(&server, yes("\"web\""));
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("agent.toml");
    let delivered = include_str!("../../../conf/agent.toml");
    let line = |config: &Path| {
        let config = config.display().to_string();
        enroll(&[&server.url(), "--code", CODE, "--config", &config])
    };
    write_with_mode(&config, &format!("{delivered}# mine\n"), 0o644);
    let refused = line(&config);
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(codes.lock().unwrap().is_empty());

    write_with_mode(&config, delivered, 0o644);
    let filled = line(&config);
    assert_eq!((filled.code, &*filled.err), (0, ""), "{filled:?}");
    assert!(
        filled.out.ends_with(": the settings are filled in\n"),
        "{filled:?}"
    );
    let check = said(mote().arg("--config").arg(&config).arg("check"));
    assert_eq!((check.code, &*check.err), (0, ""), "{check:?}");
    assert!(check.out.contains("client web monitors"), "{check:?}");
}

#[test]
fn one_line_enrols_and_starts() {
    let server = Server::new(GOOD);
    enrol_at(&server, yes("\"web\""));
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("etc/agent.toml").display().to_string();
    let agent = |command: &str| said(mote().args(["--config", &config, command]));
    let started = enroll(&[
        &server.url(),
        "--code",
        CODE,
        "--config",
        &config,
        "--start",
    ]);
    let status = agent("status");
    let stopped = agent("stop");
    assert_eq!((started.code, &*started.err), (0, ""), "{started:?}");
    assert!(started.out.contains("mote runs, pid "), "{started:?}");
    assert_eq!(
        (status.code, stopped.code),
        (0, 0),
        "{status:?} {stopped:?}"
    );
}
