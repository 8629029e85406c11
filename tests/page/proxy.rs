//! The page behind nginx, below a path, with the lines of the docs.

use std::path::Path;
use std::process::Command;

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, Running, free_port, need, root, wait_for};
use serde_json::json;

use super::login::log_in;
use super::seen::assert_quiet;

const NGINX: &str = "/usr/sbin/nginx";

const PASSWORD: &str = "correct horse battery";

/// The lines for nginx in the docs, with the address of this collector.
fn lines(collector: &Program) -> String {
    let docs = std::fs::read_to_string(root().join("linux-agent/docs/collector.md")).unwrap();
    let (_, rest) = docs.split_once("```nginx\n").unwrap();
    let (lines, _) = rest.split_once("```").unwrap();
    let address = "http://127.0.0.1:8080/";
    assert!(lines.contains(address), "{lines}");
    lines.replace(address, &format!("http://{}/", collector.address))
}

/// Starts nginx and gives the address of the page through it.
fn nginx(collector: &Program) -> (Running, String) {
    let folder = collector.folder.path();
    let (at, port) = (folder.display(), free_port());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {at}/{name};\n"))
        .concat();
    let settings = format!(
        "daemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port};\n{}}}\n}}\n",
        lines(collector)
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new(NGINX);
    command.arg("-e").arg("stderr").arg("-c").arg(&file);
    let mut process = Running::start("nginx", &mut command, folder);
    wait_for("nginx", DEADLINE, || {
        process.assert_running();
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (process, format!("http://127.0.0.1:{port}/mote/"))
}

#[test]
fn all_works_below_a_path_of_nginx() {
    const NAME: &str = "all_works_below_a_path_of_nginx";
    let is_there = Path::new(NGINX).exists().then_some(());
    let missing = || format!("{NGINX} is missing; Debian's package nginx-light has it");
    if need(NAME, is_there.ok_or_else(missing)).is_none() {
        return;
    }
    let Some(browser) = Browser::start(NAME) else {
        return;
    };
    let collector = Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [hosts.web]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\nMemory = [\"get_memory_info\", 3600]\n\
         [templates.t.alarms.full]\nservice = \"Memory\"\nfield = \"MemUsage_p\"\nabove = 90\n{}{}",
        user("ada", "admin", PASSWORD),
        user("bob", "viewer", PASSWORD)
    ));
    let (_nginx, page) = nginx(&collector);
    browser.open(&page);
    log_in(&browser, "bob", PASSWORD);
    browser.wait_for(
        "the host",
        "return document.querySelector('.hosts tbody tr') !== null",
    );
    // It is told by the stream, and does not ask.
    let asked = "return performance.getEntriesByType('resource').filter(it => it.name.endsWith('api/hosts')).length";
    let body = json!({"client_id": 1, "service_name": "Memory", "data": {"status": 0, "MemUsage_p": 97.0}});
    assert_eq!(collector.report("", &body).status, 200);
    browser.wait_for(
        "the value",
        "return document.querySelector('.hosts .memory .value')?.textContent === '97 %'",
    );
    assert_eq!(browser.run(asked), json!(0));
    browser.wait_for(
        "the alarm",
        "location.hash = '#/alarms'; return document.querySelector('.alarms tbody tr') !== null",
    );
    // A viewer may look, and not silence.
    let controls = "return [...document.querySelectorAll('.alarms button:not(.quiet), .alarms form')].filter(it => it.getClientRects().length > 0).length";
    assert_eq!(browser.run(controls), json!(0));
    let status = browser.run(
        "const call = new XMLHttpRequest(); call.open('POST', 'api/silences', false);
         call.setRequestHeader('Content-Type', 'application/json');
         call.send(JSON.stringify({client_id: '1', for_s: 60, reason: 'x'})); return call.status",
    );
    assert_eq!(status, json!(403));
    let elsewhere = browser.run(&format!(
        "return performance.getEntriesByType('resource').map(it => it.name).filter(it => !it.startsWith({page:?}))"
    ));
    assert_eq!(elsewhere, json!([]));
    // The refusal is said by the browser itself.
    browser.console();

    // The page begins anew, with the hosts.
    browser.run("window.isOld = true; document.querySelector('#who button').click()");
    browser.wait_for("the new page", "return window.isOld === undefined");
    log_in(&browser, "ada", PASSWORD);
    browser.wait_for(
        "what an admin may do",
        &format!("location.hash = '#/alarms'; {controls}"),
    );
    browser.run("URL.createObjectURL = blob => { blob.text().then(it => window.saved = it); return '#' }; location.hash = '#/'");
    let saved = browser.wait_for(
        "the CSV",
        "[...document.querySelectorAll('#main button')].find(it => it.textContent === 'CSV')?.click(); return window.saved",
    );
    assert!(saved.as_str().unwrap().contains("web"), "{saved}");
    assert_quiet(&browser);
}
