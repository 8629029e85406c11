//! About a hundred command lines of real checks: what one agent reports of each is what it gives when called directly.

mod commands;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Map, Value, json};

use mote_test_support::scripted_server::{Answer, Server};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, free_port, wait_for};

use super::checks::{checks, path, table};
use commands::{MOVING, STEADY};

/// So many run at a time, fewer than may.
const AT_A_TIME: usize = 12;

/// What the checks ask, for as long as this process runs. Each line that comes gets the answer of the first prefix
/// that fits.
fn serve(greeting: &'static str, answers: &'static [(&str, &str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // The check may go away whenever it likes.
                let _ = stream.write_all(greeting.as_bytes());
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    let fits = answers.iter().find(|it| line.starts_with(it.0));
                    let _ = stream.write_all(fits.map_or("", |it| it.1).as_bytes());
                }
            });
        }
    });
    port
}

fn echo() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut datagram = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
    port
}

fn commands(lines: &str, places: &[(&str, String)]) -> Vec<Vec<String>> {
    let argument = |word: &str| {
        let mut word = word.replace('_', " ");
        for (name, place) in places {
            word = word.replace(name, place);
        }
        word
    };
    let command = |line: &str| {
        let mut words = line.split(' ');
        let check = path(words.next().unwrap());
        [check].into_iter().chain(words.map(argument)).collect()
    };
    let all = lines.trim().lines().map(command);
    // Some are in monitoring-plugins-standard.
    all.filter(|it: &Vec<String>| Path::new(&it[0]).exists())
        .collect()
}

/// As a plugin is called.
fn call(command: &[String]) -> Output {
    Command::new(&command[0])
        .args(&command[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/usr/lib/nagios/plugins")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The data that a report of this run is to have.
fn expected(run: &Output) -> Value {
    // So much of it is kept.
    let complaint = &run.stderr[..run.stderr.len().min(256)];
    let complaint = String::from_utf8_lossy(complaint);
    let complaint: String = complaint.lines().next().unwrap_or_default().trim().into();
    let state = match run.status.code() {
        Some(state) if state <= 3 => state,
        Some(status) => return json!({"status": status, "error": complaint}),
        None => {
            let signal = run.status.signal().unwrap();
            let name = nix::sys::signal::Signal::try_from(signal).unwrap();
            return json!({"status": 128 + signal, "error": format!("killed by {name}")});
        }
    };
    let out = String::from_utf8(run.stdout.clone()).unwrap();
    let text = out.split(['\n', '|']).next().unwrap().trim();
    let text = if text.is_empty() { &complaint } else { text };
    let mut data = json!({"status": 0, "state": state, "text": text});
    if state == 3 {
        data["status"] = 3.into();
        data["error"] = text.into();
    }
    let items = items(&out);
    if !items.is_empty() {
        data["data"] = items.into();
    }
    data
}

/// The performance data, letter by letter. (The agent takes it apart word by word.)
fn items(out: &str) -> Map<String, Value> {
    let (first, rest) = out.split_once('\n').unwrap_or((out, ""));
    let behind = |text: &str| text.split_once('|').map(|it| it.1.to_owned());
    let mut words = vec![String::new()];
    let mut quoted = false;
    for part in [behind(first), behind(rest)].into_iter().flatten() {
        for letter in part.chars().chain([' ']) {
            let word = words.last_mut().unwrap();
            quoted ^= letter == '\'' && (quoted || word.is_empty() || word.ends_with('\''));
            match letter.is_whitespace() && !quoted {
                true => words.push(String::new()),
                false => word.push(letter),
            }
        }
    }
    let words = words.iter().filter(|it| !it.is_empty());
    words.filter_map(|it| labelled(it)).collect()
}

/// `None` if it has not the form of the guidelines: a unit has neither digits nor quotes.
fn labelled(word: &str) -> Option<(String, Value)> {
    let (label, values) = word.rsplit_once('=')?;
    let label = match label.strip_prefix('\'') {
        Some(label) => label.strip_suffix('\'')?.replace("''", "'"),
        None => label.to_owned(),
    };
    let mut item = Map::new();
    let names = ["value", "warn", "crit", "min", "max"];
    for (name, text) in names.into_iter().zip(values.split(';')) {
        let digits = text.trim_end_matches(|it: char| it.is_alphabetic() || it == '%');
        let value: Value = match name {
            "value" if text == "U" => continue,
            "warn" | "crit" => text.into(),
            _ => serde_json::from_str(digits).unwrap_or_default(),
        };
        match name {
            "value" if value.is_null() => return None,
            "value" if digits != text => {
                item.insert("unit".to_owned(), text[digits.len()..].into());
            }
            _ => {}
        }
        if !text.is_empty() && !value.is_null() {
            item.insert(name.to_owned(), value);
        }
    }
    Some((label, item.into()))
}

/// Without what differs from time to time: the text, values, and bounds that are sizes of now.
fn shape(data: &Value) -> Value {
    let mut data = data.clone();
    for name in ["text", "error"] {
        if let Some(text) = data.get_mut(name) {
            assert_ne!(text, "");
            *text = Value::Null;
        }
    }
    for item in data["data"].as_object_mut().into_iter().flatten() {
        let value = &mut item.1["value"];
        assert!(value.is_number(), "{item:?}");
        *value = Value::Null;
    }
    data
}

#[test]
fn a_hundred_checks_report_what_they_give_when_called_directly() {
    let test = "plugins::many_checks::a_hundred_checks_report_what_they_give_when_called_directly";
    if checks(test).is_none() {
        return;
    }
    let web = Server::new("{}");
    // check_http reads until the connection is closed.
    web.script(|request| match request.path.as_str() {
        "/missing" => {
            Answer::Raw(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nno\n".to_vec())
        }
        _ => Answer::Raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall is well\n".to_vec()),
    });
    let server = Server::new("{}");
    let site = Site::new("");
    let folder = site.folder().display().to_string();
    fs::write(site.path("log"), "one\ntwo\n").unwrap();
    let places = [
        ("{folder}", folder),
        ("{plugins}", "/usr/lib/nagios/plugins".to_owned()),
        ("{closed}", free_port().to_string()),
        ("{silent}", serve("", &[]).to_string()),
        ("{http}", web.port().to_string()),
        ("{udp}", echo().to_string()),
        ("{ssh}", serve("SSH-2.0-OpenSSH_9.2 x\r\n", &[]).to_string()),
        (
            "{ftp}",
            serve("220 ready\r\n", &[("QUIT", "221 bye\r\n")]).to_string(),
        ),
        (
            "{pop}",
            serve("+OK ready\r\n", &[("QUIT", "+OK\r\n")]).to_string(),
        ),
        (
            "{imap}",
            serve("* OK ready\r\n", &[("a1", "* BYE\r\n")]).to_string(),
        ),
        ("{clamd}", serve("PONG\n", &[]).to_string()),
        (
            "{smtp}",
            serve(
                "220 mail ESMTP\r\n",
                &[
                    ("EHLO", "250 hi\r\n"),
                    ("HELO", "250 hi\r\n"),
                    ("QUIT", "221 bye\r\n"),
                ],
            )
            .to_string(),
        ),
    ];
    let steady = commands(STEADY, &places);
    let moving = commands(MOVING, &places);
    let all: Vec<_> = steady.iter().chain(&moving).collect();
    assert!(all.len() >= 100, "{}", all.len());

    let mut tables = String::new();
    for (number, command) in all.iter().enumerate() {
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        tables += &table(&format!("check{number}"), &command);
    }
    let server_table = server_settings(&server.url(), "");
    site.write_settings(&format!("plugin_timeout_s = 60\n{server_table}\n{tables}"));
    let mut agent = site.run();
    let mut reported = BTreeMap::new();
    let numbers: Vec<usize> = (0..all.len()).collect();
    for some in numbers.chunks(AT_A_TIME) {
        let mut services = String::new();
        for number in some {
            write!(services, "\"s{number}\": [\"check{number}\", 3600], ").unwrap();
        }
        server.be_good(&format!("{{{}}}", services.trim_end_matches(", ")));
        for number in some {
            let report = wait_for("a report", DEADLINE, || {
                server.acknowledged(&format!("s{number}")).first().cloned()
            });
            reported.insert(*number, report["data"].clone());
        }
    }
    assert_eq!(agent.terminate().code(), Some(0));

    // What check_log has seen, so that it begins anew.
    for seen in ["old1", "old2", "with old"] {
        let _ = fs::remove_file(site.path(seen));
    }
    let mut wrong = Vec::new();
    for (number, command) in all.iter().enumerate() {
        let (reported, expected) = (&reported[&number], expected(&call(command)));
        let is_same = match number < steady.len() {
            true => *reported == expected,
            false => shape(reported) == shape(&expected),
        };
        if !is_same {
            wrong.push(format!(
                "{command:?}\n  reported {reported}\n  expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
