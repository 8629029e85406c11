//! Every view on a phone and on a desk, light and dark: nothing runs out of the screen, and axe-core
//! (<https://github.com/dequelabs/axe-core>) finds nothing that keeps people from using it.

use std::path::Path;

use mote_test_browser::{Browser, DESK, Look, PHONE};
use mote_test_support::collector::Program;
use mote_test_support::need;
use serde_json::{Value, json};

use super::seen::{assert_quiet, picture, report, url};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    enroll_into = "servers"
    [hosts.a-host-with-quite-a-long-name-in-rack-7]
    id = 1
    groups = ["servers"]
    [groups.servers]
    templates = ["linux"]
    [templates.linux.services]
    CPU = ["get_linux_cpu", 3600]
    Disks = ["get_filesystem", 3600]
    [templates.linux.alarms.disk_full]
    service = "Disks"
    field = "used_p"
    item = "*"
    above = 90
    severity = "critical"
"#;

/// Each view: its name in pictures, its address, and what is there when it is complete.
const VIEWS: [(&str, &str, &str); 5] = [
    ("hosts", "", ".hosts tbody tr"),
    ("host", "#/host/1?range=1h", ".plot canvas"),
    ("alarms", "#/alarms", ".alarms tbody tr"),
    ("add", "#/add", "form.login:not([hidden])"),
    (
        "unknown",
        "#/host/nope",
        ".host .empty:not([hidden]) a[href='#/add']",
    ),
];

/// What reaches beyond the screen, or must be scrolled sideways within it. What is hidden but for screen readers, and
/// what lies within a chart, which clips it, does not count.
const BEYOND: &str = "const width = document.documentElement.clientWidth;
    const is_seen = it => it.closest('.unseen, thead, .plot, svg') === null && it.getClientRects().length > 0;
    const all = [...document.querySelectorAll('body *')].filter(is_seen);
    const out = all.filter(it => it.getBoundingClientRect().right > width + 1);
    const scrolled = all.filter(it => it.matches('.scrolls') && it.scrollWidth > it.clientWidth + 1);
    return [...out, ...scrolled].map(it => `${it.tagName} ${it.className}: ${it.textContent.slice(0, 40)}`)";

/// Fails the test if anything runs out of the screen, or axe finds anything.
pub fn assert_usable(browser: &Browser, axe: Option<&str>, what: &str) {
    assert_eq!(browser.run(BEYOND), json!([]), "{what}");
    let found = axe.map(|axe| violations(browser, axe));
    assert!(
        found.iter().all(|it| *it == json!([])),
        "{what}: {found:#?}"
    );
}

/// axe-core, or `None` if it is not there and the test may do without.
pub fn axe(test: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/page/axe/node_modules/axe-core/axe.min.js");
    let source = std::fs::read_to_string(file);
    need(
        test,
        source.map_err(|cause| format!("axe-core is missing: run ci/install/axe. {cause}")),
    )
}

/// What axe finds wrong in what is seen: the rule, and where.
fn violations(browser: &Browser, axe: &str) -> Value {
    browser.run(axe);
    browser.run(
        "window.found = undefined;
         axe.run().then(
             it => window.found = it.violations.map(rule => [rule.id, rule.help, ...rule.nodes.map(node => `${node.target} ${node.html.slice(0, 120)}`)]),
             error => window.found = [`axe failed: ${error}`])",
    );
    browser.wait_for("what axe finds", "return window.found !== undefined");
    browser.run("return window.found")
}

#[test]
fn no_view_runs_out_of_the_screen_and_axe_finds_nothing() {
    let Some(browser) = Browser::start("no_view_runs_out_of_the_screen_and_axe_finds_nothing")
    else {
        return;
    };
    let axe = axe("no_view_runs_out_of_the_screen_and_axe_finds_nothing");
    let collector = Program::new(TOML);
    let disk = |used: f64| json!({"status": 0, "data": {"/srv/a-mount-point-with-a-long-name": {"used_p": used}}});
    let cpu = json!({"status": 0, "user": 20, "system": 1, "idle": 79});
    report(&collector, json!(1), "CPU", 30.0, 0, cpu);
    report(&collector, json!(1), "Disks", 20.0, 1, disk(50.0));
    report(&collector, json!(1), "Disks", 10.0, 2, disk(93.5));
    for look in [DESK, PHONE] {
        for scheme in ["light", "dark"] {
            browser.look(Look { scheme, ..look });
            for (name, view, ready) in VIEWS {
                // The same view anew, not as it was left.
                browser.open("about:blank");
                browser.open(&url(&collector, view));
                let is_there = format!("return document.querySelector({ready:?}) !== null");
                browser.wait_for(ready, &is_there);
                assert_usable(
                    &browser,
                    axe.as_deref(),
                    &format!("{name} at {} px, {scheme}", look.width),
                );
                picture(&browser, &format!("{name}-{}-{scheme}", look.width));
            }
        }
    }
    assert_quiet(&browser);
}

/// The count stands at the top as soon as the hosts are there, not after a pause.
#[test]
fn the_alarms_are_counted_at_once() {
    let Some(browser) = Browser::start("the_alarms_are_counted_at_once") else {
        return;
    };
    let collector = Program::new(TOML);
    let disk = json!({"status": 0, "data": {"/": {"used_p": 99.0}}});
    report(&collector, json!(1), "Disks", 10.0, 0, disk);
    browser.open(&url(&collector, "#/alarms"));
    browser.wait_for(
        "the alarm",
        "return document.querySelector('.alarms tbody tr')",
    );
    // Without its timers the page asks only when it begins.
    browser.open("about:blank");
    browser.before_each_page("window.setInterval = () => 0");
    browser.open(&url(&collector, ""));
    let count = browser.wait_for(
        "the count",
        "const it = document.getElementById('alarms'); return !it.hidden && /^\\d/.test(it.textContent) && it.textContent",
    );
    assert_eq!(count, Value::from("1 alarm"));
    assert_quiet(&browser);
}
