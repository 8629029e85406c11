//! `mote demo`, as who tries it sees it in a real browser.

use mote_test_browser::Browser;
use mote_test_support::{DEADLINE, Running, mote, wait_for};

use serde_json::json;

use super::seen::{assert_quiet, picture};

#[test]
fn the_page_of_the_demo_is_alive() {
    let Some(browser) = Browser::start("the_page_of_the_demo_is_alive") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = mote();
    command
        .arg("demo")
        .arg("--state")
        .arg(folder.path().join("demo"));
    let demo = Running::start("demo", &mut command, folder.path());
    let address = wait_for("the address", DEADLINE, || {
        let output = demo.output();
        let (_, rest) = output.split_once("http://")?;
        let (address, _) = rest.split_once('/')?;
        Some(format!("http://{address}/"))
    });
    // So that a host that is young shows how its lines begin, the axis is in seconds.
    browser.before_each_page(
        "window.seconds = 0; const write = CanvasRenderingContext2D.prototype.fillText;
         CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
             if (/^\\d\\d:\\d\\d:\\d\\d/.test(text)) window.seconds += 1;
             return write.call(this, text, ...at);
         }",
    );
    browser.open(&address);
    browser.wait_for(
        "good news of this machine",
        "return document.getElementById('summary').className === 'summary good'",
    );
    browser.run("document.querySelector('.hosts .label a').click()");
    // A line has two points at least; that of the CPU has a figure beside it, which changes.
    let first = browser.wait_for(
        "the figures of the CPU",
        "const pane = document.querySelector('.pane'); if (pane === null) return false;
         pane.querySelector('details').open = true;
         const rows = [...pane.querySelectorAll('table:last-of-type tbody tr')];
         return rows.length >= 2 && pane.querySelector('.plot canvas') !== null && rows[0].textContent",
    );
    assert_ne!(browser.run("return window.seconds"), json!(0));
    // The address is the last that it says, while reports arrive.
    let last =
        format!("Open {address} in a browser to see all of it, as it arrives. Ctrl-C ends it.");
    let said = wait_for("the address at the end", DEADLINE, || {
        let output = demo.output();
        output.trim_end().ends_with(&last).then_some(output)
    });
    browser.wait_for(
        "another one",
        &format!("return document.querySelector('.pane table:last-of-type tbody tr').textContent !== {first}"),
    );
    // Every service that this machine can sample draws, or says why not.
    browser.run("document.querySelector('.pane details').open = false");
    let empty = browser.wait_for(
        "all charts",
        "const services = [...document.querySelectorAll('.service')];
         window.turn = ((window.turn ?? -1) + 1) % services.length;
         services[window.turn].scrollIntoView();
         const panes = [...document.querySelectorAll('.pane')];
         const open = panes.filter(it => it.querySelector('canvas') === null && ['', 'Asking…'].includes(it.querySelector('.plot').textContent));
         return open.length === 0 && panes.length",
    );
    assert!(empty.as_u64().unwrap() > 10, "{empty}");
    let reports = |output: &str| output.lines().filter(|it| it.contains('{')).count();
    assert_eq!(reports(&demo.output()), reports(&said));
    browser.run("scrollTo(0, 0)");
    picture(&browser, "demo");
    assert_quiet(&browser);
}
