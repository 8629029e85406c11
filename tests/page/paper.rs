//! The page as it is printed: what is seen, and none of what only a screen can do.

use mote_test_browser::Browser;
use mote_test_support::collector::Program;
use serde_json::json;

use super::seen::{TWO_HOSTS, assert_quiet, report, url};

#[test]
fn what_is_seen_is_printed_without_what_only_a_screen_can_do() {
    let Some(browser) = Browser::start("what_is_seen_is_printed_without_what_only_a_screen_can_do")
    else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    let cpu = |user: u32| json!({"status": 0, "user": user, "system": 1, "idle": 99 - user});
    report(&collector, json!(1), "CPU", 60.0, 0, cpu(20));
    report(&collector, json!(1), "CPU", 30.0, 1, cpu(30));
    browser.print_look(true);
    let is_seen = |what: &str| {
        browser.run(&format!(
            "return [...document.querySelectorAll({what:?})].some(it => it.getClientRects().length > 0)"
        ))
    };
    browser.open(&url(&collector, ""));
    browser.wait_for(
        "the rows",
        "return document.querySelector('.hosts .value') !== null",
    );
    for (what, wanted) in [
        (".hosts tbody tr", true),
        ("#summary", true),
        (".tools", false),
        ("#alarms", false),
    ] {
        assert_eq!(is_seen(what), json!(wanted), "{what}");
    }
    // Rows that no window shows are on paper all the same.
    let hidden = "return [...document.querySelectorAll('.hosts tbody tr')].filter(it => getComputedStyle(it).contentVisibility !== 'visible').length";
    assert_eq!(browser.run(hidden), json!(0));
    browser.open(&url(&collector, "#/host/1?range=1h"));
    browser.wait_for(
        "a chart",
        "return document.querySelector('.plot canvas') !== null",
    );
    for (what, wanted) in [
        (".host h1", true),
        (".span", true),
        (".plot canvas", true),
        (".legend .value", true),
        (".ranges button", false),
        (".figures summary", false),
    ] {
        assert_eq!(is_seen(what), json!(wanted), "{what}");
    }
    // Dark on white, whatever the screen is: text, and what charts write.
    let colours = browser.run(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color, style.getPropertyValue('--muted')]",
    );
    assert_eq!(
        colours,
        json!(["rgb(255, 255, 255)", "rgb(27, 36, 48)", "#5a6675"])
    );
    browser.print_look(false);
    assert_quiet(&browser);
}
