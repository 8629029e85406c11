//! Logging in and out, in a real browser.

use mote_test_browser::{Browser, PHONE};
use mote_test_support::collector::Program;
use mote_test_support::users::user;
use serde_json::json;

use super::seen::{picture, url};

const PASSWORD: &str = "correct horse battery";

fn collector() -> Program {
    Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\n{}{}",
        user("ada", "admin", PASSWORD),
        user("bob", "viewer", PASSWORD)
    ))
}

const FORM: &str =
    "const form = document.querySelector('form.login'); return form !== null && !form.hidden";
const ROWS: &str = "return document.querySelectorAll('.hosts tbody tr').length";

pub fn log_in(browser: &Browser, name: &str, password: &str) {
    browser.wait_for("the form", FORM);
    browser.run(&format!(
        "document.getElementById('user').value = {name:?};
         document.getElementById('password').value = {password:?};
         document.querySelector('form.login').requestSubmit()"
    ));
}

/// What the console said, but for the refusals that a browser reports by itself.
fn surprises(browser: &Browser) -> Vec<String> {
    let console = browser.console().into_iter();
    console
        .filter(|line| !line.contains("the server responded with a status of 4"))
        .collect()
}

#[test]
fn who_logs_in_sees_the_hosts_until_they_log_out() {
    let Some(browser) = Browser::start("who_logs_in_sees_the_hosts_until_they_log_out") else {
        return;
    };
    let collector = collector();
    browser.open(&url(&collector, "#/host/1"));
    browser.wait_for("the form", FORM);
    assert_eq!(
        browser.run("return document.activeElement.id"),
        json!("user")
    );
    picture(&browser, "login");
    assert_eq!(surprises(&browser), Vec::<String>::new());
    browser.console();

    log_in(&browser, "ada", "wrong");
    let told = browser.wait_for(
        "the sentence",
        "return document.querySelector('form.login [role=alert]').textContent",
    );
    assert_eq!(
        told,
        json!("The collector says: the name or the password is wrong.")
    );
    assert_eq!(
        browser.run("return document.body.innerText.includes('web')"),
        json!(false)
    );

    log_in(&browser, "ada", PASSWORD);
    // The view that the address asked for.
    browser.wait_for(
        "the host",
        "const name = document.querySelector('.host h1'); return name && name.textContent === 'web'",
    );
    assert_eq!(
        browser.run("return document.querySelector('#who span').textContent"),
        json!("ada")
    );
    // Scripts do not see the token.
    assert_eq!(browser.run("return document.cookie"), json!(""));
    browser.open(&url(&collector, "?again#/"));
    browser.wait_for("the hosts, without another form", ROWS);

    browser.run("document.querySelector('#who button').click()");
    browser.wait_for("the form again", FORM);
    assert_eq!(
        browser.run("return document.body.innerText.includes('web')"),
        json!(false)
    );
    browser.back();
    browser.wait_for("the form still", FORM);
    assert_eq!(browser.run(ROWS), json!(0));
    assert_eq!(surprises(&browser), Vec::<String>::new());
}

#[test]
fn a_session_that_ends_elsewhere_shows_the_form() {
    let Some(browser) = Browser::start("a_session_that_ends_elsewhere_shows_the_form") else {
        return;
    };
    let collector = collector();
    browser.look(PHONE);
    browser.open(&url(&collector, ""));
    log_in(&browser, "bob", PASSWORD);
    browser.wait_for("the hosts", ROWS);
    assert_eq!(
        browser.run("return document.querySelector('#who span').textContent"),
        json!("bob (viewer)")
    );
    let width = browser.run("return document.documentElement.scrollWidth");
    assert!(width.as_u64() <= Some(390), "{width}");
    picture(&browser, "hosts-viewer-phone");
    browser.run("fetch('api/logout', {method: 'POST'})");
    browser.wait_for("the form", FORM);
    assert_eq!(
        browser.run("return document.body.innerText.includes('web')"),
        json!(false)
    );
    assert_eq!(surprises(&browser), Vec::<String>::new());
}

#[test]
fn who_may_not_look_and_has_no_password_is_told_why() {
    let Some(browser) = Browser::start("who_may_not_look_and_has_no_password_is_told_why") else {
        return;
    };
    // As behind a proxy that trusts nobody yet.
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\ntrusted_proxies = [\"127.0.0.1\"]\n",
    );
    for view in ["", "#/enter/0123456789"] {
        browser.open(&url(&collector, view));
        let told = browser.wait_for(
            "the sentence",
            "const why = document.querySelector('#main .empty'); return why && !why.textContent.startsWith('Asking') && why.textContent",
        );
        let begins = match view {
            "" => "The collector says: only this machine itself may look",
            _ => "The collector says: the link was used",
        };
        assert!(told.as_str().unwrap().starts_with(begins), "{told}");
        assert_eq!(
            browser.run("return location.href.includes('0123456789')"),
            json!(false)
        );
        browser.open("about:blank");
    }
}
