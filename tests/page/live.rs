//! What changes is seen as it changes, in a real browser.

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use mote_test_support::site::Site;
use serde_json::json;

use super::seen::{ROWS, TWO_HOSTS, assert_quiet, picture, report, url};

/// Writes down each event that the page hears: its number, and which memory is shown once the page has heard it.
const WRITE_DOWN: &str = "window.heard = []; window.Plain = window.EventSource;
    window.EventSource = class extends window.Plain {
        addEventListener(name, does) {
            super.addEventListener(name, event => {
                does(event);
                const shown = [...document.querySelectorAll('.hosts .memory .value')].map(it => it.textContent);
                if (name === 'hosts') window.heard.push({number: Number(event.lastEventId.split('-')[1]), shown});
            });
        }
    };";

/// The collector looks at its hosts once a second, and tells what is new at once. So what is stored is on the screen
/// within two seconds, if it is drawn with the first event of the second look at the latest.
#[test]
fn what_is_stored_is_drawn_with_the_second_look_at_the_latest() {
    let Some(browser) =
        Browser::start("what_is_stored_is_drawn_with_the_second_look_at_the_latest")
    else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    browser.before_each_page(WRITE_DOWN);
    browser.open(&url(&collector, ""));
    browser.wait_for("the rows", ROWS);
    let memory = json!({"status": 0, "MemUsage_p": 42.0});
    report(&collector, json!(1), "Memory", 0.0, 0, memory);
    // Stored. Whoever begins to listen is told which look was the last.
    browser.run(
        "const stream = new window.Plain('api/live');
         stream.addEventListener('hosts', event => { window.last = event.lastEventId; stream.close(); })",
    );
    let last = browser.wait_for("the last look", "return window.last?.split('-')[1]");
    let last: u64 = last.as_str().unwrap().parse().unwrap();
    let drawn = browser.wait_for(
        "the value",
        "return window.heard.find(it => it.shown.includes('42 %'))?.number",
    );
    // The one that was under way may have passed this host already.
    assert!(drawn.as_u64().unwrap() <= last + 2, "{drawn} after {last}");
    assert_quiet(&browser);
}

#[test]
fn what_changes_is_seen_without_asking() {
    let Some(browser) = Browser::start("what_changes_is_seen_without_asking") else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    browser.open(&url(&collector, ""));
    browser.wait_for("the rows", ROWS);
    let memory = |seq: u64, used: f64| {
        let data = json!({"status": 0, "MemUsage_p": used});
        report(&collector, json!(1), "Memory", 0.0, seq, data);
        let seen = format!(
            "return [...document.querySelectorAll('.hosts .memory .value')].some(it => it.textContent === '{used} %')"
        );
        browser.wait_for("the value", &seen);
    };
    memory(0, 42.0);
    // It was told, and did not ask.
    let asked = "return performance.getEntriesByType('resource').filter(it => it.name.endsWith('api/hosts')).length";
    assert_eq!(browser.run(asked), json!(0));
    memory(1, 43.0);
    // Where there is no stream, the page asks now and then.
    browser.run(
        "window.EventSource = class { addEventListener(name, does) { if (name === 'error') setTimeout(does) } close() {} };
         document.dispatchEvent(new Event('visibilitychange'))",
    );
    memory(2, 44.0);
    assert_ne!(browser.run(asked), json!(0));
    assert_quiet(&browser);
}

#[test]
fn a_host_that_is_refused_says_so() {
    let Some(browser) = Browser::start("a_host_that_is_refused_says_so") else {
        return;
    };
    let collector = Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntoken_sha256 = \"{}\"\ntemplates = [\"t\"]\n\
         [templates.t.services]\nLoad = [\"get_linux_load\", 15]\n",
        "0".repeat(64)
    ));
    browser.open(&url(&collector, ""));
    browser.wait_for("the rows", ROWS);
    assert_eq!(collector.services("1", "another-token").status, 401);
    browser.wait_for(
        "why",
        "return document.querySelector('.hosts .why').textContent.startsWith('Refused: it has no valid token, last at ')",
    );
    assert_quiet(&browser);
}

#[test]
fn a_host_that_stops_is_shown_as_silent_with_its_alarm() {
    let Some(browser) = Browser::start("a_host_that_stops_is_shown_as_silent_with_its_alarm")
    else {
        return;
    };
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nalarm_grace = \"0s\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n\
         [templates.t.services]\nLoad = [\"get_linux_load\", 0.5]\n",
    );
    let site = Site::new(&format!(
        "[server]\nurl = \"http://{}\"\n",
        collector.address
    ));
    let mut agent = site.run_until_up();
    browser.open(&url(&collector, ""));
    let state = "return document.querySelector('.hosts tbody .badge')?.textContent";
    let is = |words: &str| format!("{state}.startsWith({words:?})");
    browser.wait_for("the host", &is("reporting"));
    assert!(agent.terminate().success());
    browser.wait_for("its silence", &is("silent since "));
    let summary = browser.run("return document.getElementById('summary').textContent");
    assert!(
        summary
            .as_str()
            .unwrap()
            .starts_with("1 of 1 host with a problem: web silent since "),
        "{summary}"
    );
    let why = "const why = document.querySelector('.hosts .why').textContent; return";
    let nothing = "Nothing is heard of it: its agent, its network or the host itself is down";
    browser.wait_for("why", &format!("{why} why === {nothing:?}"));
    // An agent that asks and reports nothing is another matter.
    assert_eq!(collector.services("1", "").status, 200);
    browser.wait_for(
        "that it asked",
        &format!("{why} why.startsWith('No report comes, but it asked for its orders at ')"),
    );
    browser.wait_for(
        "the number of alarms",
        "const it = document.getElementById('alarms'); return it.textContent === '1 alarm' && it.className === 'bad'",
    );
    picture(&browser, "silent");
    browser.run("location.hash = '#/alarms'");
    let alarm = browser.wait_for(
        "its alarm",
        "const row = document.querySelector('.alarms tbody tr'); return row !== null && [...row.children].map(it => it.innerText)",
    );
    assert_eq!((&alarm[0], &alarm[1]), (&json!("web"), &json!("late")));
    assert!(alarm[2].as_str().unwrap().contains("critical"), "{alarm}");
    assert!(
        alarm[6]
            .as_str()
            .unwrap()
            .starts_with("nothing comes any more"),
        "{alarm}"
    );
    browser.run("location.hash = '#/'");
    let _again = site.run_until_up();
    browser.wait_for("its return", &is("reporting"));
    browser.wait_for(
        "nothing but good news",
        "const it = document.getElementById('summary'); return it.textContent === '1 host, all reporting' && it.className === 'summary good'",
    );
    browser.wait_for(
        "no alarm",
        "return document.getElementById('alarms').textContent === 'Alarms'",
    );
    assert_quiet(&browser);
}

/// The sentence at the top is never green beside an alarm, and says which one it is.
#[test]
fn an_alarm_is_at_the_top_as_soon_as_it_is_told() {
    let Some(browser) = Browser::start("an_alarm_is_at_the_top_as_soon_as_it_is_told") else {
        return;
    };
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n\
         [templates.t.services]\nDisks = [\"get_filesystem\", 3600]\n[templates.t.alarms.disk_full]\n\
         service = \"Disks\"\nfield = \"used_p\"\nitem = \"*\"\nabove = 90\n",
    );
    let disk = |used: f64| json!({"status": 0, "data": {"/srv": {"used_p": used}}});
    report(&collector, json!(1), "Disks", 20.0, 0, disk(50.0));
    // Without timers it has only what it is told.
    browser.before_each_page("window.setInterval = () => 0");
    browser.open(&url(&collector, ""));
    let top = "const it = document.getElementById('summary'); return";
    browser.wait_for(
        "good news",
        &format!("{top} it.className === 'summary good'"),
    );
    browser.run(
        "window.green = 0;
         const watch = () => {
             const [one, other] = ['summary', 'alarms'].map(id => document.getElementById(id));
             if (one.className.includes('good') && other.textContent !== 'Alarms') window.green += 1;
         };
         new MutationObserver(watch).observe(document.querySelector('.top'), {subtree: true, childList: true, attributes: true})",
    );
    report(&collector, json!(1), "Disks", 10.0, 1, disk(93.5));
    browser.wait_for(
        "the alarm at the top",
        &format!("{top} it.textContent.startsWith('1 host reporting, 1 alarm: web disk_full /srv since ')"),
    );
    let why = browser.wait_for(
        "the alarm of the host",
        "return document.querySelector('.hosts .why').textContent",
    );
    assert!(
        why.as_str()
            .unwrap()
            .starts_with("Alarm disk_full /srv since "),
        "{why}"
    );
    report(&collector, json!(1), "Disks", 1.0, 2, disk(40.0));
    browser.wait_for(
        "good news again",
        &format!("{top} it.textContent === '1 host, all reporting'"),
    );
    assert_eq!(browser.run("return window.green"), json!(0));
    assert_eq!(
        browser.run("return document.querySelector('.hosts .why').textContent"),
        json!("")
    );
    assert_quiet(&browser);
}
