//! The page with a thousand hosts, in a real browser: what it takes is counted, not timed.

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use serde_json::json;

use super::seen::{assert_quiet, report, url};

const HOSTS: u64 = 1000;

/// What a host may take: elements in the page, and bytes of the stream when the page opens.
const ELEMENTS: u64 = 30;
const BYTES: u64 = 400;

/// What one new report may take: bytes of the stream.
const BYTES_OF_NEWS: u64 = 1000;

fn collector() -> Program {
    let hosts: String = (0..HOSTS)
        .map(|id| format!("[hosts.h{id}]\nid = {id}\ntemplates = [\"t\"]\n"))
        .collect();
    Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[templates.t.services]\nMemory = [\"get_memory_info\", 3600]\n{hosts}"
    ))
}

#[test]
fn a_thousand_hosts_take_little_and_all_are_found() {
    let Some(browser) = Browser::start("a_thousand_hosts_take_little_and_all_are_found") else {
        return;
    };
    let collector = collector();
    browser.before_each_page(
        "window.sent = []; const Plain = window.EventSource;
         window.EventSource = class extends Plain {
             addEventListener(name, does) {
                 super.addEventListener(name, event => { window.sent.push(event.data?.length ?? 0); does(event); });
             }
         };",
    );
    browser.open(&url(&collector, ""));
    browser.wait_for(
        "all rows",
        &format!("return document.querySelectorAll('.hosts tbody tr').length === {HOSTS}"),
    );
    let count = |what: &str| browser.run(what).as_u64().unwrap();
    let elements = count("return document.querySelectorAll('*').length");
    assert!(elements <= ELEMENTS * HOSTS, "{elements} elements");
    let sent = count("return window.sent[0]");
    assert!(sent <= BYTES * HOSTS, "{sent} bytes");
    // The browser lays out what is near the window, and no more.
    let off = count(
        "return [...document.querySelectorAll('.hosts tbody tr')].filter(it => !it.firstChild.checkVisibility({contentVisibilityAuto: true})).length",
    );
    assert!(off > HOSTS * 9 / 10, "{off}");
    // Its search finds what is not laid out.
    let last = format!("h{}", HOSTS - 1);
    let found = browser.run(&format!(
        "return window.find({last:?}) && getSelection().anchorNode.parentElement.closest('tr').querySelector('a').textContent"
    ));
    assert_eq!(found, json!(last));
    // What one host sends costs as much as one host.
    browser.run("window.sent = []");
    let memory = json!({"status": 0, "MemUsage_p": 42});
    report(&collector, json!(7), "Memory", 1.0, 0, memory);
    browser.wait_for(
        "the value",
        "return [...document.querySelectorAll('.hosts .memory .value')].some(it => it.textContent === '42 %')",
    );
    let sent = count("return window.sent.reduce((one, two) => Math.max(one, two))");
    assert!(sent <= BYTES_OF_NEWS, "{sent} bytes");
    assert_quiet(&browser);
}

/// A thousand hosts: what does not change is not touched.
#[test]
fn an_update_touches_only_what_changed() {
    let Some(browser) = Browser::start("an_update_touches_only_what_changed") else {
        return;
    };
    let collector = collector();
    browser.open(&url(&collector, ""));
    browser.wait_for(
        "all rows",
        "return document.querySelectorAll('.hosts tbody tr').length === 1000",
    );
    browser.run(
        "window.touched = new Set(); window.polls = 0;
         const nameOf = it => it.querySelector('.label a').textContent;
         const rowsOf = it => it.target.matches?.('tbody') ? [...it.addedNodes, ...it.removedNodes] : [it.target.parentElement.closest('tr') ?? it.target];
         const watch = new MutationObserver(all => all.flatMap(rowsOf).forEach(it => window.touched.add(nameOf(it))));
         watch.observe(document.querySelector('.hosts'), {subtree: true, childList: true, characterData: true, attributes: true});
         new EventSource('api/live').addEventListener('hosts', () => window.polls += 1);
         document.querySelectorAll('.hosts tbody a')[500].focus()",
    );
    browser.wait_for("some updates", "return window.polls >= 3");
    assert_eq!(
        browser.run("return [...window.touched].slice(0, 5)"),
        json!([])
    );
    report(
        &collector,
        json!(7),
        "Memory",
        1.0,
        0,
        json!({"status": 0, "MemUsage_p": 42}),
    );
    browser.wait_for(
        "the value",
        "return [...document.querySelectorAll('.hosts .memory .value')].some(it => it.textContent === '42 %')",
    );
    // It reports now, and moves to the end; no other row is drawn.
    assert_eq!(browser.run("return [...window.touched]"), json!(["h7"]));
    assert_eq!(browser.run("return document.activeElement.tagName"), "A");
    assert_quiet(&browser);
}
