//! `check`, `probe`, wrong usage, wrong settings.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::LOCAL;
use mote_test_support::scripted_server::{Answer, Server, good};
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
fn a_misspelt_word_is_answered_with_the_nearest() {
    for (arguments, nearest) in [
        (&["strat"][..], "start"),
        (&["stauts"], "status"),
        (&["star"], "start"),
        (&["probe", "--lst"], "--list"),
        (&["status", "--jsn"], "--json"),
    ] {
        let said = said(mote().args(arguments));
        assert_eq!(said.code, 64, "{said:?}");
        let sentence = format!("; did you mean `{nearest}`?\n");
        assert!(said.err.contains(&sentence), "{said:?}");
        assert!(said.err.contains("help"), "{said:?}");
    }
    let said = said(mote().arg("frobnicate"));
    assert!(!said.err.contains("did you mean"), "{said:?}");
}

/// Runs a command whose standard output nobody reads, from its beginning on.
fn call_unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), err)
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 1]}"#);
    let site = Site::of(&server);
    for arguments in [
        &["probe", "--list"][..],
        &["probe", "--wait", "0", "host_alive_check"],
        &["--help"],
        &["check"],
        &["start"],
        &["status", "--json"],
        &["status"],
        &["status", "--watch"],
        &["restart"],
        &["stop"],
    ] {
        let command = &mut site.command(arguments);
        assert_eq!(
            call_unread(command),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
    assert_eq!(site.processes(), [0; 0]);
}

#[test]
fn variables_that_kubernetes_sets_beside_a_service_are_left_alone() {
    let site = Site::new(LOCAL);
    let check =
        |variables: &[(&str, &str)]| said(site.command(&["check"]).envs(variables.iter().copied()));
    let said = check(&[
        ("MOTE_SERVICE_HOST", "10.0.0.5"),
        ("MOTE_SERVICE_PORT", "9000"),
        ("MOTE_PORT", "tcp://10.0.0.5:9000"),
        ("MOTE_PORT_9000_TCP_ADDR", "10.0.0.5"),
    ]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let said = check(&[("MOTE_PORT", "9000")]);
    assert_eq!(said.code, 78);
    assert!(said.err.contains("MOTE_PORT names no setting"), "{said:?}");
}

#[test]
fn a_client_id_in_a_variable_is_the_text_that_stands_there() {
    let site = Site::new(LOCAL);
    for id in [
        "12_3",
        "0xab",
        "1e5",
        "123456789012",
        "2024-01-01",
        "007",
        "7",
    ] {
        let said = said(site.command(&["check"]).env("MOTE_CLIENT_ID", id));
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
        assert!(
            said.out.contains(&format!("client {id} monitors")),
            "{said:?}"
        );
    }
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

    // Services with a wrong interval are wrong settings too.
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

/// An answer with a page of a web server.
fn page(status: u16, html: &str) -> Answer {
    Answer::Http {
        status,
        headers: vec![("Content-Type", "text/html".to_owned())],
        body: html.into(),
    }
}

#[test]
fn check_can_send_a_report_of_each_service_and_shows_the_answers() {
    let services = r#"{"Cpu": ["get_linux_cpu", 5], "Up": ["host_alive_check", 5]}"#;
    let server = Server::new(services);
    let site = Site::of(&server);
    let sent = site.call(&["check", "--send"]);
    assert_eq!((sent.code, &*sent.err), (0, ""), "{sent:?}");
    assert!(sent.out.contains("\n  Cpu  taken: 200 OK"), "{sent:?}");
    let reports = [server.brought("Cpu"), server.brought("Up")].concat();
    let names: Vec<_> = reports.iter().map(|it| &it["service_name"]).collect();
    assert_eq!(names, ["Cpu", "Up"]);
    assert!(
        reports
            .iter()
            .all(|it| it["client_id"] == 1 && it["data"]["status"] == 0)
    );
    assert!(!site.path("state").exists());

    let refuse = |answer: Answer| {
        server.script(move |request| match request.asks_for_orders() {
            true => good(r#"{"Up": ["host_alive_check", 5]}"#, request),
            false => answer.clone(),
        });
        let said = site.call(&["check", "--send"]);
        assert_eq!(said.code, 69, "{said:?}");
        assert_eq!(said.err, "mote: 1 of 1 reports were not taken\n");
        said.out
    };
    let url = format!("{}/api/client/service/report/", server.url());
    for (answer, words, hint) in [
        (
            Answer::status(500, "KeyError: 'client_id'"),
            "answered 500 Internal Server Error: it says \"KeyError: 'client_id'\"",
            "try `service_report.encoding = \"form\"` in [server]",
        ),
        (
            page(
                403,
                "<title>403 Forbidden</title><h1>Forbidden</h1><p>CSRF verification failed.</p>",
            ),
            "answered 403 Forbidden: the server wants a CSRF token, which only browsers have: exempt this path there \
             (csrf_exempt); it says \"403 Forbidden\"",
            "",
        ),
        (
            page(404, "<title>Page not found at /api</title>"),
            "answered 404 Not Found: it says \"Page not found at /api\"",
            "set `service_report.path` in [server], now \"api/client/service/report/\"",
        ),
        (
            Answer::status(405, ""),
            "answered 405 Method Not Allowed",
            "set `service_report.path` in [server]",
        ),
    ] {
        let out = refuse(answer);
        assert!(out.contains(&format!("  Up  {url} {words}\n")), "{out}");
        assert!(
            out.contains(&format!("\n    {hint}")) || out.contains(hint),
            "{out}"
        );
    }

    // A page that any path gives, and a path without its slash.
    site.write_settings(&server_settings(
        &server.url(),
        "service_report.path = \"api/report\"",
    ));
    server.script(|request| match request.asks_for_orders() {
        true => good(r#"{"Up": ["host_alive_check", 5]}"#, request),
        false => page(200, "<!DOCTYPE html><title>Log in</title>"),
    });
    let said = site.call(&["check", "--send"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .contains("  Up  taken: 200 OK, it says \"Log in\"\n    this is a web page"),
        "{said:?}"
    );
    assert!(said.out.contains("want a slash at its end"), "{said:?}");
}

#[test]
fn the_fields_of_reports_have_the_names_that_the_server_wants() {
    let server = Server::new("{}");
    let keys = "service_report.fields = { client_id = \"client_ip\", data = \"values\" }";
    let site = Site::new(&server_settings(&server.url(), keys));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    server.script(move |request| {
        if !request.asks_for_orders() {
            let body = String::from_utf8(request.body.clone()).unwrap();
            seen.lock().unwrap().push(body);
        }
        good(r#"{"Up": ["host_alive_check", 5]}"#, request)
    });
    let said = site.call(&["check", "--send"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let body = bodies.lock().unwrap().remove(0);
    let start = r#"{"client_ip":1,"service_name":"Up","values":{"status":0"#;
    assert!(body.starts_with(start), "{body}");
}

#[test]
fn orders_that_are_asked_for_by_post_say_where_the_agent_is() {
    let server = Server::new("{}");
    let keys = "get_configs.method = \"post\"";
    let site = Site::new(&server_settings(&server.url(), keys));
    let addresses = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&addresses);
    server.script(move |request| {
        let given: Vec<_> = request.values("mote-address");
        let given: Vec<_> = given.into_iter().map(str::to_owned).collect();
        seen.lock().unwrap().push((request.method.clone(), given));
        Answer::ok(r#"{"services": {}}"#)
    });
    let said = site.call(&["check"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let asked = addresses.lock().unwrap().clone();
    let [(method, given)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(method, "POST");
    let address: std::net::SocketAddr = given[0].parse().unwrap();
    assert!(given.len() == 1 && address.ip().is_loopback(), "{asked:?}");
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
    fails(
        "answered 404 Not Found: it says \"no\"; perhaps the server does not know client 1: look at `client_id`",
    );
    // As TLS answers what is no TLS.
    let alert = Answer::Raw(b"\x15\x03\x01\x00\x02\x02\x46".to_vec());
    server.script(move |_| alert.clone());
    fails("; if that port speaks TLS, its address begins with https://");
    server.script(|_| Answer::Raw(Vec::new()));
    fails("; if that port speaks TLS, its address begins with https://");
    server.script(|_| Answer::ok("<html>"));
    fails("answered with a page for people (HTML); if that is a login page, ");
    server.script(|_| Answer::ok("nonsense"));
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
    // Probes of hardware that this machine lacks may fail.
    let failed: Vec<&Value> = reports
        .iter()
        .filter(|it| it["data"]["status"] != 0)
        .collect();
    assert_eq!(all.code, i32::from(!failed.is_empty()), "{failed:?}");
    assert!(failed.iter().all(|it| it["data"]["error"].is_string()));

    // Without the kernel's files a probe must fail.
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

/// Help and the version are output like any other.
#[test]
fn what_was_asked_for_and_cannot_be_printed_is_an_error() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["status", "--help"],
        &["probe", "--list"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = mote().args(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let sentence = "mote: standard output: No space left on device (os error 28)\n";
        assert_eq!(said, sentence, "{arguments:?}");
        let mut closed = mote();
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = closed.args(arguments).stdout(write).output().unwrap();
        assert_eq!(
            (output.status.code(), &*output.stderr),
            (Some(0), &b""[..]),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_folder_that_is_no_procfs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let said = said(mote().args(["--procfs", &path.to_string(), "probe", "LinuxSysInfo"]));
    let error = reports(&said)[0]["data"]["error"].clone();
    let sentence = format!("{path}: holds none of the files that are read there; is it a procfs?");
    assert_eq!(error, sentence);
}

#[test]
fn a_full_disk_behind_standard_error_changes_no_exit_code() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let site = Site::new("services = 3");
    let status = site.command(&["run"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(78));
}
