//! The alarms as a person sees them, in a real browser.

use mote_test_browser::{Browser, DESK, PHONE};
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use mote_test_support::{DEADLINE, wait_for};
use serde_json::json;

use super::login::log_in;
use super::seen::{assert_quiet, picture, report, url};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    templates = ["t"]
    [templates.t.services]
    Disks = ["get_filesystem", 3600]
    [templates.t.alarms.disk_full]
    service = "Disks"
    field = "used_p"
    item = "*"
    above = 90
    severity = "critical"
"#;

/// The texts of the cells of each row below a heading; without one, of the first table.
const ROWS: &str = "const rows = place => [...place.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.innerText.trim()));
    const places = [...document.querySelectorAll('.alarms table')].map(rows);";

#[test]
fn an_alarm_is_seen_silenced_and_over() {
    let Some(browser) = Browser::start("an_alarm_is_seen_silenced_and_over") else {
        return;
    };
    let collector = Program::new(TOML);
    let disk = |used: f64| json!({"status": 0, "data": {"/<b>home": {"used_p": used}}});
    report(&collector, json!(1), "Disks", 20.0, 0, disk(50.0));
    report(&collector, json!(1), "Disks", 10.0, 1, disk(93.5));
    browser.open(&url(&collector, "#/alarms"));
    let rows = browser.wait_for(
        "the alarm",
        &format!("{ROWS} return places.length > 0 && places[0]"),
    );
    let cell = |index: usize| rows[0][index].as_str().unwrap();
    assert_eq!((cell(0), cell(1)), ("web", "disk_full /<b>home"));
    assert_eq!(cell(5), "93.5 against 90");
    assert!(
        cell(2).contains("critical") && cell(7).contains("nobody"),
        "{rows}"
    );
    browser.wait_for(
        "the count at the top",
        "return document.getElementById('alarms').textContent === '1 alarm'",
    );
    let summary = browser.wait_for(
        "the sentence",
        "const it = document.getElementById('summary'); return it.textContent.includes('since') && [it.textContent, it.className]",
    );
    let sentence = summary[0].as_str().unwrap();
    assert!(
        sentence.starts_with("1 host reporting, 1 alarm: web disk_full /<b>home since "),
        "{sentence}"
    );
    assert_eq!(summary[1], json!("summary bad"));
    picture(&browser, "alarms");

    // The button in the row fills the form.
    browser.run(
        "[...document.querySelectorAll('.alarms td button')][0].click();
         document.getElementById('silence-why').value = 'being <i>mended';
         document.querySelector('.alarms form').requestSubmit()",
    );
    let silenced = browser.wait_for(
        "the silence",
        "const item = document.querySelector('.silences li'); return item !== null && item.innerText",
    );
    let silenced = silenced.as_str().unwrap();
    assert!(
        silenced.starts_with("disk_full of web, until") && silenced.contains("being <i>mended"),
        "{silenced}"
    );
    browser.wait_for(
        "the word in the row",
        &format!("{ROWS} return places[0][0][2].includes('silenced until')"),
    );
    browser.run("document.querySelector('.silences button').click()");
    browser.wait_for(
        "its end",
        "return document.querySelector('.silences') === null",
    );

    report(&collector, json!(1), "Disks", 1.0, 2, disk(40.0));
    browser.wait_for(
        "nothing wrong",
        "return document.querySelector('.alarms .empty')?.textContent === 'Nothing is wrong.'",
    );
    let over = browser.wait_for(
        "what is over",
        &format!("{ROWS} return places.length === 1 && places[0]"),
    );
    assert!(over[0][2].as_str().unwrap().contains("cleared"), "{over}");
    assert_quiet(&browser);

    // On the host's page it is an event.
    browser.open(&url(&collector, "#/host/1?range=1h"));
    let events = browser.wait_for(
        "the events",
        "const items = [...document.querySelectorAll('.events li')].map(it => it.innerText); return items.length > 1 && items.join('\\n')",
    );
    assert!(
        events
            .as_str()
            .unwrap()
            .contains("Alarm: disk_full /<b>home: Disks used_p of /<b>home is 93.5"),
        "{events}"
    );
    assert_quiet(&browser);
}

#[test]
fn a_viewer_sees_alarms_and_may_not_silence() {
    let Some(browser) = Browser::start("a_viewer_sees_alarms_and_may_not_silence") else {
        return;
    };
    let password = "correct horse battery";
    let collector = Program::new(&format!("{TOML}{}", user("bob", "viewer", password)));
    let disk = json!({"status": 0, "data": {"/home": {"used_p": 99.0}}});
    report(&collector, json!(1), "Disks", 10.0, 0, disk);
    browser.open(&url(&collector, "#/alarms"));
    log_in(&browser, "bob", password);
    browser.wait_for("the alarm", &format!("{ROWS} return places.length > 0"));
    let controls = "return [...document.querySelectorAll('.alarms button:not(.quiet), .alarms form')].filter(it => it.getClientRects().length > 0).length";
    assert_eq!(browser.run(controls), json!(0));
    // Nor by hand.
    let status = |method: &str, path: &str| {
        browser.run(&format!(
            "const call = new XMLHttpRequest(); call.open({method:?}, {path:?}, false);
             call.setRequestHeader('Content-Type', 'application/json');
             call.send(JSON.stringify({{client_id: '1', for_s: 60, reason: 'x'}})); return call.status"
        ))
    };
    assert_eq!(status("POST", "api/silences"), json!(403));
    assert_eq!(status("DELETE", "api/silences/1"), json!(403));
    let silences = browser.run(
        "const call = new XMLHttpRequest(); call.open('GET', 'api/alarms', false); call.send(); return JSON.parse(call.response).silences",
    );
    assert_eq!(silences, json!([]));
}

/// What is over is read on for, and all that is shown is saved.
#[test]
fn alarms_that_are_over_are_read_on_for_and_saved() {
    let Some(browser) = Browser::start("alarms_that_are_over_are_read_on_for_and_saved") else {
        return;
    };
    let collector = Program::new(TOML);
    for (seq, used) in [(0, 99.0), (1, 40.0), (2, 98.0), (3, 30.0)] {
        let disk = json!({"status": 0, "data": {"/home": {"used_p": used}}});
        report(&collector, json!(1), "Disks", 10.0 - seq as f64, seq, disk);
        let over = (seq as usize).div_ceil(2);
        wait_for("the alarm and its end", DEADLINE, || {
            let alarms = collector.get("/api/alarms", "").json();
            let count = |list: &str| alarms[list].as_array().unwrap().len();
            let is_active = count("active") == (seq as usize + 1) % 2;
            (is_active && count("history") == over).then_some(())
        });
    }
    // Pages of one, which otherwise would take a hundred alarms.
    browser.before_each_page(
        "const ask = window.fetch;
         const inOnes = to => to.startsWith('api/alarms') && !to.includes('limit=');
         window.fetch = (to, how) => ask(inOnes(to) ? `${to}${to.includes('?') ? '&' : '?'}limit=1` : to, how);
         URL.createObjectURL = blob => { blob.text().then(it => { window.saved = it }); return '#' };
         HTMLAnchorElement.prototype.click = () => {};",
    );
    browser.open(&url(&collector, "#/alarms"));
    let rows = |count: usize| {
        let words =
            format!("return document.querySelectorAll('.alarms tbody tr').length === {count}");
        browser.wait_for("the rows", &words);
    };
    let more = "const more = [...document.querySelectorAll('.alarms button')].find(it => it.textContent === 'Show earlier ones');";
    rows(1);
    browser.run(&format!("{more} more.click()"));
    rows(2);
    // There may be more behind a full page.
    browser.run(&format!("{more} more.click()"));
    browser.wait_for("the end", &format!("{more} return more === undefined"));
    rows(2);
    browser.run(
        "[...document.querySelectorAll('.alarms button')].find(it => it.textContent === 'CSV').click()",
    );
    let saved = browser.wait_for("the file", "return window.saved");
    let lines: Vec<&str> = saved.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 3, "{saved}");
    assert!(
        lines[1].starts_with("web,disk_full,/home,cleared,"),
        "{saved}"
    );
    assert_quiet(&browser);
}

#[test]
fn the_alarms_fit_a_phone() {
    let Some(browser) = Browser::start("the_alarms_fit_a_phone") else {
        return;
    };
    let collector = Program::new(TOML);
    let disk = json!({"status": 0, "data": {"/home": {"used_p": 99.0}}});
    report(&collector, json!(1), "Disks", 10.0, 0, disk);
    for look in [PHONE, DESK] {
        browser.look(look);
        browser.open(&url(&collector, "#/alarms"));
        browser.wait_for("the alarm", &format!("{ROWS} return places.length > 0"));
        let over = browser.run(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
        );
        // The gutter of the scroll bar is no content.
        assert!(over.as_f64().unwrap() <= 0.0, "{over}");
    }
    assert_quiet(&browser);
}
