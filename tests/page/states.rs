//! The page where there is nothing to see, nobody may look, or the collector is away: each state has a sentence, and is as
//! usable as the others.

use mote_test_browser::{Browser, DESK, Look, PHONE};
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use serde_json::json;

use super::login::log_in;
use super::phone::{assert_usable, axe};
use super::seen::{assert_quiet, picture, url};

const EMPTY: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nenroll_into = \"servers\"\n\
                     [groups.servers]\ntemplates = [\"t\"]\n[templates.t.services]\nCPU = [\"get_linux_cpu\", 15]\n";

const PASSWORD: &str = "correct horse battery";

/// On a desk and on a phone, light and dark.
fn in_each_look(browser: &Browser, name: &str, axe: Option<&str>, show: impl Fn()) {
    for look in [DESK, PHONE] {
        for scheme in ["light", "dark"] {
            browser.look(Look { scheme, ..look });
            show();
            assert_usable(
                browser,
                axe,
                &format!("{name} at {} px, {scheme}", look.width),
            );
            picture(browser, &format!("{name}-{}-{scheme}", look.width));
        }
    }
}

#[test]
fn the_first_start_leads_to_adding_a_host() {
    const NAME: &str = "the_first_start_leads_to_adding_a_host";
    let Some(browser) = Browser::start(NAME) else {
        return;
    };
    let axe = axe(NAME);
    let collector = Program::new(EMPTY);
    in_each_look(&browser, "empty", axe.as_deref(), || {
        browser.open("about:blank");
        browser.open(&url(&collector, ""));
        browser.wait_for(
            "the sentence",
            "return document.querySelector('.empty:not([hidden]) a.add') !== null",
        );
    });
    // There is nothing to search, to filter or to sort, and the one thing to do is there once.
    let seen = browser.run(
        "return [...document.querySelectorAll('main a, main button, main input, main select')].filter(it => it.getClientRects().length > 0).map(it => it.textContent)",
    );
    assert_eq!(seen, json!(["Add a host"]));
    assert_eq!(
        browser.run("return document.getElementById('summary').textContent"),
        json!("No hosts yet")
    );
    browser.run("document.querySelector('.empty a.add').click()");
    browser.wait_for(
        "the form",
        "const form = document.querySelector('form'); return form && !form.hidden",
    );
    // Without alarms and without history there is a sentence too.
    in_each_look(&browser, "no-alarms", axe.as_deref(), || {
        browser.open("about:blank");
        browser.open(&url(&collector, "#/alarms"));
        browser.wait_for(
            "the sentence",
            "return document.querySelector('.alarms .empty')?.textContent === 'Nothing is wrong.'",
        );
    });
    assert_quiet(&browser);
}

#[test]
fn the_form_to_log_in_is_usable_and_a_viewer_is_told_that_there_is_nothing() {
    const NAME: &str = "the_form_to_log_in_is_usable_and_a_viewer_is_told_that_there_is_nothing";
    let Some(browser) = Browser::start(NAME) else {
        return;
    };
    let axe = axe(NAME);
    let collector = Program::new(&format!("{EMPTY}{}", user("bob", "viewer", PASSWORD)));
    let form =
        "const form = document.querySelector('form.login'); return form !== null && !form.hidden";
    in_each_look(&browser, "login", axe.as_deref(), || {
        browser.open("about:blank");
        browser.open(&url(&collector, ""));
        browser.wait_for("the form", form);
    });
    log_in(&browser, "bob", "wrong");
    browser.wait_for(
        "the refusal",
        "return document.querySelector('form.login [role=alert]').textContent",
    );
    assert_usable(&browser, axe.as_deref(), "a refusal on a phone");
    picture(&browser, "login-refused");
    log_in(&browser, "bob", PASSWORD);
    let told = browser.wait_for(
        "the sentence",
        "const it = document.querySelector('.empty:not([hidden]) h2'); return it !== null && it.parentElement.innerText",
    );
    // What he may not do is not offered.
    assert_eq!(told, json!("There are no hosts yet"));
    assert_usable(&browser, axe.as_deref(), "nothing for a viewer");
}

#[test]
fn a_collector_that_is_away_keeps_the_page_usable() {
    const NAME: &str = "a_collector_that_is_away_keeps_the_page_usable";
    let Some(browser) = Browser::start(NAME) else {
        return;
    };
    let axe = axe(NAME);
    let collector = Program::new(&format!(
        "{EMPTY}[hosts.web]\nid = 1\ngroups = [\"servers\"]\n"
    ));
    browser.open(&url(&collector, ""));
    browser.wait_for(
        "the host",
        "return document.querySelector('.hosts tbody tr') !== null",
    );
    collector.kill();
    browser.wait_for(
        "the sentence",
        "return !document.getElementById('away').hidden",
    );
    // Grey text is not judged by its contrast: that it is old is what it says.
    let axe =
        axe.map(|axe| axe + "; axe.configure({rules: [{id: 'color-contrast', enabled: false}]});");
    for look in [DESK, PHONE] {
        browser.look(look);
        assert_usable(
            &browser,
            axe.as_deref(),
            &format!("away at {} px", look.width),
        );
        picture(&browser, &format!("away-{}", look.width));
    }
}
