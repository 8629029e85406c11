//! Executable plugins, from the server's order to the report that arrives.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use mote_test_support::processes::wait_for_end;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings, service};
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn what_plugins_print_arrives() {
    let server = Server::new(
        r#"{"Ok": ["ok", 0.2], "PerItem": ["items", 0.2], "Failing": ["failing", 0.2],
            "Prose": ["prose", 0.2], "NotListed": ["secret", 0.2], "Missing": ["missing", 0.2],
            "Cpu": ["get_linux_cpu", 0.2]}"#,
    );
    let listed = r#"plugins = ["ok", "items", "failing", "prose", "missing"]"#;
    let site = site(&server, listed);
    // Neither arguments nor the agent's environment nor its standard input.
    plugin(
        &site,
        "ok",
        r#"read line; printf '{"arguments": %d, "variables": "%s", "line": "%s"}' \
            $# "$(tr '\0' ' ' < /proc/$$/environ)" "$line""#,
    );
    plugin(
        &site,
        "items",
        r#"echo '{"data": {"a": {"n": 1}, "b": {"n": 2.5}}}'"#,
    );
    plugin(
        &site,
        "failing",
        r#"echo '{"n": 1}'; echo "no disk" >&2; exit 3"#,
    );
    plugin(&site, "prose", "echo all is well");
    plugin(
        &site,
        "secret",
        &format!("touch {}", site.path("ran").display()),
    );
    let mut agent = site.run();

    let data = |service: &str| server.wait_for_more(service, 2).remove(1)["data"].take();
    let ok = data("Ok");
    assert_eq!((&ok["status"], &ok["arguments"]), (&json!(0), &json!(0)));
    assert_eq!(ok["line"], "");
    assert_eq!(ok["variables"], "LC_ALL=C PATH=/usr/bin:/bin ");
    let items = json!({"status": 0, "data": {"a": {"n": 1}, "b": {"n": 2.5}}});
    assert_eq!(data("PerItem"), items);
    let failing = json!({"status": 3, "n": 1, "error": "no disk"});
    assert_eq!(data("Failing"), failing);
    for (service, error) in [("Prose", "JSON"), ("Missing", "No such file")] {
        let data = data(service);
        assert_eq!(data["status"], 1);
        assert!(data["error"].as_str().unwrap().contains(error), "{data}");
    }

    // That it is not listed is said once, and it never runs.
    let refused = server.acknowledged("NotListed");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["data"]["status"], 1);
    assert_eq!(
        refused[0]["data"]["error"],
        "\"secret\" is neither a probe of this agent nor listed in its setting `plugins`"
    );
    assert!(!site.path("ran").exists());
    server.wait_for_more("Cpu", 1);
    // Why one fails stands in the status and, once, in the log.
    for (name, why) in [
        ("Failing", "failed with status 3: no disk"),
        ("Prose", "failed with status 1: "),
        ("Missing", "failed with status 1: "),
        ("NotListed", "failed with status 1: \"secret\" is neither"),
    ] {
        let sentence = format!("service \"{name}\" {why}");
        let status = site.status();
        let error = service(&status, name)["error"].as_str().unwrap();
        assert!(error.starts_with(&sentence), "{error}");
        let text = site.call(&["status"]).out;
        assert!(text.contains(&format!("\n{sentence}")), "{text}");
        agent.wait_for_output(&sentence);
        agent.assert_said(&sentence, 1);
    }
    assert_eq!(service(&site.status(), "Ok")["error"], json!(null));
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_plugin_that_overruns_is_not_started_again_meanwhile() {
    let server = Server::new(r#"{"Slow": ["slow", 0.1], "Cpu": ["get_linux_cpu", 0.1]}"#);
    let site = site(&server, r#"plugins = ["slow"]"#);
    let file = |name: &str| site.path(name).display().to_string();
    // A folder can be made by one process only.
    let script = format!(
        "mkdir {0} || echo >> {1}\nsleep 1\nrmdir {0}\necho '{{\"n\": 1}}'",
        file("busy"),
        file("twice")
    );
    plugin(&site, "slow", &script);
    let mut agent = site.run();
    let reports = server.wait_for_more("Slow", 2);
    assert!(
        reports
            .iter()
            .all(|it| it["data"] == json!({"status": 0, "n": 1}))
    );
    assert!(!site.path("twice").exists(), "two ran at the same time");
    // Its missed samples are counted, and others did not wait.
    let status = site.status();
    assert!(
        service(&status, "Slow")["missed"].as_u64() > Some(2),
        "{status}"
    );
    let seqs = |service: &str| -> Vec<u64> {
        let reports = server.acknowledged(service);
        reports
            .iter()
            .map(|it| it["seq"].as_u64().unwrap())
            .collect()
    };
    let slow = seqs("Slow");
    let between = |seq: &&u64| (slow[0]..slow[1]).contains(seq);
    assert!(seqs("Cpu").iter().filter(between).count() >= 3);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_plugin_that_takes_too_long_is_ended_with_all_it_started() {
    let server = Server::new(r#"{"Hangs": ["hangs", 0.1], "Deaf": ["deaf", 0.1]}"#);
    let settings = "plugins = [\"hangs\", \"deaf\"]\nplugin_timeout_s = 0.5";
    let site = site(&server, settings);
    let note = |name: &str| site.path(name).display().to_string();
    plugin(
        &site,
        "hangs",
        &format!("sleep 1000 & echo $! >> {}\nwait", note("child")),
    );
    plugin(
        &site,
        "deaf",
        &format!(
            "trap '' TERM\necho $$ >> {}\nwhile :; do sleep 1000; done",
            note("deaf")
        ),
    );
    let mut agent = site.run();
    for service in ["Hangs", "Deaf"] {
        let expected = json!({"status": 124, "error": "stopped after its time limit of 0.5 s"});
        assert_eq!(server.wait_for_more(service, 1)[0]["data"], expected);
    }
    // A busy machine may take longer than half a second to start a script.
    for name in ["child", "deaf"] {
        let first = wait_for("a plugin that began", DEADLINE, || {
            pids(&site, name).first().copied()
        });
        wait_for_end(first);
    }

    // Nor does one outlive the agent.
    let started = pids(&site, "child").len();
    wait_for("another run", DEADLINE, || {
        (pids(&site, "child").len() > started).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));
    for pid in [pids(&site, "child"), pids(&site, "deaf")].concat() {
        wait_for_end(pid);
    }
}

fn site(server: &Server, settings: &str) -> Site {
    let server = server_settings(&server.url(), "");
    let site = Site::new(&format!("plugin_dir = \"plugins\"\n{settings}\n{server}"));
    fs::create_dir(site.path("plugins")).unwrap();
    // Writable for its owner only, whatever the umask.
    allow(&site, "plugins");
    site
}

fn plugin(site: &Site, name: &str, script: &str) {
    let file = format!("plugins/{name}");
    fs::write(site.path(&file), format!("#!/bin/sh\n{script}\n")).unwrap();
    allow(site, &file);
}

fn allow(site: &Site, file: &str) {
    fs::set_permissions(site.path(file), fs::Permissions::from_mode(0o755)).unwrap();
}

fn pids(site: &Site, file: &str) -> Vec<u32> {
    let text = fs::read_to_string(site.path(file)).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}
