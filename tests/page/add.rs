//! Adding a host, in a real browser.

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use mote_test_support::mote;
use mote_test_support::users::user;
use serde_json::json;

use super::login::log_in;
use super::seen::{assert_quiet, picture, url};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    enroll_into = "servers"
    [groups.idle]
    [groups.servers]
    templates = ["linux"]
    [templates.linux.services]
    CPU = ["get_linux_cpu", 15]
"#;

#[test]
fn the_command_that_is_shown_adds_a_host() {
    let Some(browser) = Browser::start("the_command_that_is_shown_adds_a_host") else {
        return;
    };
    let collector = Program::new(TOML);
    browser.open(&url(&collector, ""));
    browser.wait_for(
        "the way there",
        "const add = document.querySelector('a.add'); if (add) add.click(); return add !== null",
    );
    browser.wait_for(
        "the form",
        "const form = document.querySelector('form'); return form && !form.hidden",
    );
    assert_eq!(
        browser.run("return document.getElementById('group').value"),
        json!("servers")
    );
    browser.run("document.querySelector('form').requestSubmit()");
    let command = browser.wait_for(
        "the command",
        "return document.querySelector('.command code').textContent",
    );
    picture(&browser, "add");
    // Dates are written as in the other views, whatever the browser's own way is.
    let until = browser.run("return document.querySelector('.command .note').textContent");
    assert!(!until.as_str().unwrap().contains('/'), "{until}");
    let command = command.as_str().unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let [program, "enroll", at, "--code", code, ..] = words[..] else {
        panic!("{command}");
    };
    assert_eq!(
        (program, at),
        ("mote", &*format!("http://{}", collector.address))
    );
    assert!(command.ends_with(" --start"), "{command}");

    let folder = tempfile::tempdir().unwrap();
    let enrolled = mote()
        .args([
            "enroll",
            at,
            "--code",
            code,
            "--client-id",
            "new",
            "--config",
        ])
        .arg(folder.path().join("agent.toml"))
        .output()
        .unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    browser.wait_for(
        "the new host",
        "return document.querySelector('.command').textContent.includes('new: has enrolled.')",
    );
    assert_quiet(&browser);
}

#[test]
fn a_viewer_adds_no_host() {
    let Some(browser) = Browser::start("a_viewer_adds_no_host") else {
        return;
    };
    let password = "correct horse battery";
    let collector = Program::new(&format!(
        "{TOML}[hosts.web]\n{}",
        user("bob", "viewer", password)
    ));
    browser.open(&url(&collector, ""));
    log_in(&browser, "bob", password);
    browser.wait_for(
        "the hosts",
        "return document.querySelector('.hosts tbody tr') !== null",
    );
    assert_eq!(
        browser.run("return document.querySelector('a.add')"),
        json!(null)
    );
    browser.run("location.hash = '#/add'");
    browser.wait_for(
        "the sentence",
        "return document.getElementById('main').innerText.includes('Only an admin may add hosts.')",
    );
    let status = browser.run(
        "const call = new XMLHttpRequest(); call.open('POST', 'api/invitations', false); call.send('{}'); return call.status",
    );
    assert_eq!(status, json!(403));
}
