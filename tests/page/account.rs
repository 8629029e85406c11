//! What a host's page says of reports that never came.

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use rusqlite::Connection;
use serde_json::json;

use super::seen::{TWO_HOSTS, assert_quiet, now, report, url};

#[test]
fn reports_that_never_came_are_red_only_as_long_as_their_alarm() {
    let name = "reports_that_never_came_are_red_only_as_long_as_their_alarm";
    let Some(browser) = Browser::start(name) else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    for seq in [0, 5] {
        report(
            &collector,
            json!(1),
            "Alive",
            1.0,
            seq,
            json!({"status": 0}),
        );
    }
    browser.open(&url(&collector, "#/host/1"));
    let wait_for = |class: &str, words: &str| {
        let script = format!(
            "const all = [...document.querySelectorAll('#main p')];
             const it = all.find(it => it.textContent.startsWith('2 numbered reports came.'));
             return it && it.className === '{class}' && it.textContent.includes('{words}')"
        );
        browser.wait_for(words, &script);
    };
    // They may be on their way still.
    wait_for("", "4 reports never came.");
    let database = Connection::open(collector.folder.path().join("reports.db")).unwrap();
    let fired_ms = (now() * 1000.0) as i64;
    database
        .execute(
            "INSERT INTO alarms (id, name, client, item, severity, began_ms, fired_ms, text, told)
             VALUES (900, 'lost', '1', '', 'warning', ?1, ?1, '', '')",
            [fired_ms],
        )
        .unwrap();
    wait_for("error", "4 reports never came: lost since ");
    database
        .execute("UPDATE alarms SET ended_ms = ?1 WHERE id = 900", [fired_ms])
        .unwrap();
    wait_for("", "4 reports never came (the last loss was told ");
    assert_quiet(&browser);
}
