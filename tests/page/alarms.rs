//! The alarms as a person sees them, in a real browser.

use mote_test_browser::{Browser, DESK, PHONE};
use mote_test_support::collector::Program;
use serde_json::json;

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
        "const it = document.getElementById('summary'); return it.textContent !== '' && [it.textContent, it.className]",
    );
    assert_eq!(summary, json!(["1 host reporting, 1 alarm", "summary bad"]));
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
