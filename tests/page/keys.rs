//! The page by keyboard alone, in a real browser.

use mote_test_browser::{Browser, Key};
use mote_test_support::collector::Program;
use serde_json::{Value, json};

use super::seen::{assert_quiet, now, report, url};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    enroll_into = "servers"
    [groups.servers]
    templates = ["t"]
    [hosts.web]
    id = 1
    templates = ["t"]
    [hosts.db]
    id = 2
    templates = ["t"]
    [templates.t.services]
    CPU = ["get_linux_cpu", 3600]
    Disks = ["get_filesystem", 3600]
    [templates.t.alarms.disk_full]
    service = "Disks"
    field = "used_p"
    item = "*"
    above = 90
"#;

/// No view has more to stop at.
const MOST: usize = 200;

/// Goes from one control to the next, until what is focused makes this true.
fn tab_to(browser: &Browser, what: &str) {
    let is_there = format!("const it = document.activeElement; return Boolean({what})");
    for _ in 0..MOST {
        browser.press(Key::Tab);
        if browser.run(&is_there) == json!(true) {
            return;
        }
    }
    panic!("no Tab leads to {what}");
}

fn open(browser: &Browser, collector: &Program, view: &str, ready: &str) {
    browser.open("about:blank");
    browser.open(&url(collector, view));
    browser.wait_for(
        ready,
        &format!("return document.querySelector({ready:?}) !== null"),
    );
}

#[test]
fn tab_reaches_every_control_and_shows_where_it_is() {
    let Some(browser) = Browser::start("tab_reaches_every_control_and_shows_where_it_is") else {
        return;
    };
    let collector = Program::new(TOML);
    let cpu = |user: u32| json!({"status": 0, "user": user, "system": 1, "idle": 99 - user});
    report(&collector, json!(1), "CPU", 60.0, 0, cpu(20));
    report(&collector, json!(1), "CPU", 30.0, 1, cpu(30));
    let disks = json!({"status": 0, "data": {"/": {"used_p": 95.0}, "/srv": {"used_p": 5.0}}});
    report(&collector, json!(1), "Disks", 10.0, 2, disks);
    for (view, ready) in [
        ("", ".hosts .why:not(:empty)"),
        ("#/host/1?range=1h", ".legend button"),
        ("#/alarms", ".alarms td button"),
        ("#/add", "form.login:not([hidden])"),
    ] {
        open(&browser, &collector, view, ready);
        // Whatever can be used, is not hidden, and is no option of a list that one control stands for.
        browser.run(
            "window.controls = () => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]
                .filter(it => it.checkVisibility() && !it.disabled);
             window.met = new Set(); window.bare = [];
             document.addEventListener('focusin', ({target}) => {
                 window.met.add(target);
                 const style = getComputedStyle(target);
                 if (style.outlineStyle === 'none') window.bare.push(target.outerHTML.slice(0, 80));
             })",
        );
        let missed = || {
            browser.run("return window.controls().filter(it => !window.met.has(it)).map(it => it.outerHTML.slice(0, 80))")
        };
        let mut presses = 0;
        while missed() != json!([]) {
            assert!(presses < MOST, "{view}: {}", missed());
            browser.press(Key::Tab);
            presses += 1;
        }
        assert!(presses > 5, "{view}: {presses}");
        assert_eq!(browser.run("return window.bare"), json!([]), "{view}");
    }
    assert_quiet(&browser);
}

#[test]
fn hosts_are_searched_sorted_and_filtered_by_keyboard() {
    let Some(browser) = Browser::start("hosts_are_searched_sorted_and_filtered_by_keyboard") else {
        return;
    };
    let collector = Program::new(TOML);
    report(
        &collector,
        json!(1),
        "CPU",
        1.0,
        0,
        json!({"status": 0, "user": 20, "system": 1, "idle": 79}),
    );
    open(&browser, &collector, "", ".hosts .value");
    let names = || {
        browser.run(
            "return [...document.querySelectorAll('.hosts .label a')].map(it => it.textContent)",
        )
    };
    let wait_for = |wanted: Value| {
        let script = format!(
            "const names = [...document.querySelectorAll('.hosts .label a')].map(it => it.textContent); return JSON.stringify(names) === {:?}",
            wanted.to_string()
        );
        browser.wait_for("these hosts", &script);
    };
    assert_eq!(names(), json!(["db", "web"]));
    tab_to(&browser, "it.textContent === 'Host' && it.closest('th')");
    browser.press(Key::Enter);
    browser.press(Key::Enter);
    wait_for(json!(["web", "db"]));
    let sorted = "return document.activeElement.closest('th').getAttribute('aria-sort')";
    assert_eq!(browser.run(sorted), json!("descending"));
    browser.run("document.activeElement.blur(); scrollTo(0, 0)");
    tab_to(&browser, "it.type === 'search'");
    browser.press("we");
    wait_for(json!(["web"]));
    browser.press(Key::Backspace + Key::Backspace);
    wait_for(json!(["web", "db"]));
    tab_to(&browser, "it.textContent.startsWith('never reported')");
    browser.press(Key::Space);
    wait_for(json!(["db"]));
    // The button that was pressed keeps the focus, though it is drawn anew.
    assert_eq!(
        browser.run("return document.activeElement.getAttribute('aria-pressed')"),
        json!("true")
    );
    // All of it is in the address, so that a link or a bookmark shows the same.
    let hash = browser.run("return location.hash");
    assert_eq!(hash, json!("#/?sort=label&up=1&state=never"));
    assert_quiet(&browser);
}

#[test]
fn a_host_is_opened_looked_into_and_left_by_keyboard() {
    let Some(browser) = Browser::start("a_host_is_opened_looked_into_and_left_by_keyboard") else {
        return;
    };
    let collector = Program::new(TOML);
    for seq in 0..5 {
        let cpu = json!({"status": 0, "user": 20 + seq, "system": 1, "idle": 79 - seq});
        report(
            &collector,
            json!(1),
            "CPU",
            11_200.0 - 200.0 * seq as f64,
            seq,
            cpu,
        );
    }
    open(&browser, &collector, "", ".hosts .value");
    tab_to(&browser, "it.textContent === 'web'");
    browser.press(Key::Enter);
    browser.wait_for(
        "the host",
        "return [...document.querySelectorAll('.ranges button')].length > 0",
    );
    tab_to(&browser, "it.textContent === '6 h'");
    browser.press(Key::Enter);
    browser.wait_for("six hours", "return location.hash === '#/host/1?range=6h'");
    tab_to(&browser, "it.getAttribute('aria-label') === 'Zoom in'");
    browser.press(Key::Enter);
    let span = browser.wait_for(
        "half of it",
        "const at = new URLSearchParams(location.hash.split('?')[1]); return at.has('from') && [Number(at.get('from')), Number(at.get('to'))]",
    );
    let (from, to) = (span[0].as_f64().unwrap(), span[1].as_f64().unwrap());
    assert!((to - from - 3.0 * 3600.0).abs() < 1.0, "{span}");
    assert!(to < now(), "{span}");
    // The buttons are drawn anew, and the one that was pressed keeps the focus.
    browser.press(Key::Enter);
    browser.wait_for(
        "a quarter of it",
        "const at = new URLSearchParams(location.hash.split('?')[1]); return Math.abs(at.get('to') - at.get('from') - 5400) < 1",
    );
    tab_to(&browser, "it.textContent.startsWith('busy')");
    browser.press(Key::Space);
    assert_eq!(
        browser.run("return document.activeElement.getAttribute('aria-pressed')"),
        json!("false")
    );
    tab_to(&browser, "it.matches('summary')");
    browser.press(Key::Enter);
    browser.wait_for("the figures", "return document.querySelector('.pane details[open] table') !== null || document.querySelector('.pane details[open] .note') !== null");
    browser.press(Key::Alt + Key::Left);
    browser.wait_for(
        "one step back",
        "return !location.hash.includes('5400') && location.hash.includes('from=')",
    );
    assert_quiet(&browser);
}
