//! Charts, in a real browser: the range that they show, and what they write.

use mote_test_browser::{Browser, DESK, PHONE};
use mote_test_support::collector::Program;
use mote_test_support::{DEADLINE, wait_for};
use serde_json::json;

use super::seen::{TWO_HOSTS, assert_quiet, now, report, url};

#[test]
fn a_range_is_dragged_open_and_left_by_back() {
    let Some(browser) = Browser::start("a_range_is_dragged_open_and_left_by_back") else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    for seq in 0..10 {
        let data = json!({"status": 0, "user": 20 + seq, "system": 1, "idle": 79 - seq});
        report(
            &collector,
            json!(1),
            "CPU",
            3000.0 - 300.0 * seq as f64,
            seq,
            data,
        );
    }
    browser.open(&url(&collector, "#/host/1?range=1h"));
    let area = browser.wait_for(
        "a chart",
        "const over = document.querySelector('.u-over'); if (!over) return false; over.scrollIntoView({block: 'center'});
         const it = over.getBoundingClientRect(); return it.width > 0 && [it.x, it.y, it.width, it.height]",
    );
    let part = |index: usize| area[index].as_f64().unwrap();
    let (left, middle, width) = (part(0), part(1) + part(3) / 2.0, part(2));
    browser.drag((left + width * 0.25, middle), (left + width * 0.75, middle));
    let hash = browser.wait_for(
        "a range in the address",
        "return location.hash.includes('from=') && location.hash",
    );
    let number = |name: &str| -> f64 {
        let hash = hash.as_str().unwrap();
        let (_, rest) = hash.split_once(&format!("{name}=")).unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    };
    let (from, to) = (number("from"), number("to"));
    // Half of the hour, less a pixel on each side.
    assert!((to - from - 1800.0).abs() < 20.0, "{from} to {to}");
    assert!((now() - to - 900.0).abs() < 200.0, "{to}");
    browser.wait_for(
        "the range above the charts",
        "return !document.querySelector('.span').textContent.includes('live')",
    );
    browser.run("document.querySelector('.figures summary').click()");
    wait_for("the figures of this range", DEADLINE, || {
        let (asked, shown) = (asked(&browser, "CPU")?, shown(&browser));
        let is_of_range = asked.contains(&format!("from={from}&to={to}&"));
        let of_api = figures(&collector, &asked, "user");
        (is_of_range && of_api.len() >= 4 && shown == of_api).then_some(())
    });
    browser.back();
    browser.wait_for("the hour", "return location.hash === '#/host/1?range=1h' && document.querySelector('.span').textContent.includes('live')");
    assert_quiet(&browser);
}

/// What the page asked last of a service's history, as path and query.
fn asked(browser: &Browser, service: &str) -> Option<String> {
    let urls = browser.run("return performance.getEntriesByType('resource').map(it => it.name)");
    let urls = urls.as_array().unwrap().iter().rev();
    let wanted = format!("service={service}&");
    let mut of_service = urls.filter_map(|it| it.as_str().unwrap().split_once("/api/series?"));
    let (_, query) = of_service.find(|(_, query)| query.contains(&wanted))?;
    Some(format!("/api/series?{query}"))
}

/// The second column of the open table of each time.
fn shown(browser: &Browser) -> Vec<String> {
    let cells = browser.run(
        "return [...document.querySelectorAll('.figures table:nth-of-type(2) tbody tr')].map(it => it.children[2].textContent)",
    );
    let cells = cells.as_array().unwrap().iter();
    cells.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// A field's shares by the API, the newest first, as the page writes them.
fn figures(collector: &Program, path: &str, field: &str) -> Vec<String> {
    let answer = collector.get(path, "").json();
    let mut columns = answer["columns"].as_array().unwrap().iter();
    let column = columns.find(|it| it["field"] == field).unwrap();
    let figures = column["avg"].as_array().unwrap().iter().rev();
    figures
        .filter_map(|it| it.as_f64())
        .map(|it| format!("{it:.1} %"))
        .collect()
}

/// When there is something to draw, in seconds before now.
const AGO: f64 = 2850.0;

/// What charts write lies within them: labels of axes, and letters of what happened.
#[test]
fn no_label_of_a_chart_is_cut_off() {
    let Some(browser) = Browser::start("no_label_of_a_chart_is_cut_off") else {
        return;
    };
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n\
         [templates.t.services]\nNet = [\"get_network_info\", 3600]\nHealth = [\"get_agent_health\", 0.5]\n",
    );
    // However long the test takes, it looks at this time.
    let began = now();
    for (seq, rate) in [(0, 0), (1, 1_040_000_000)] {
        let ago = AGO + 10.0 - 20.0 * f64::from(seq);
        let items =
            json!({"eth0": {"t_in": rate, "t_out": rate, "packets_in": rate, "packets_out": rate}});
        report(
            &collector,
            json!(1),
            "Net",
            ago,
            2 * seq as u64,
            json!({"status": 0, "data": items}),
        );
        let health = json!({"status": 0, "cpu_p": 12.5, "rss_kib": 1_030_000 + rate, "uplink_latency_ms": rate});
        report(
            &collector,
            json!(1),
            "Health",
            ago,
            2 * seq as u64 + 1,
            health,
        );
    }
    browser.before_each_page(
        "window.cut = []; window.written = 0;
         const write = CanvasRenderingContext2D.prototype.fillText;
         CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
             const width = this.measureText(text).width;
             const left = {right: x - width, end: x - width, center: x - width / 2}[this.textAlign] ?? x;
             const at = this.getTransform();
             const [from, to] = [left * at.a + at.e, (left + width) * at.a + at.e];
             window.written += 1;
             if (at.b === 0 && (from < -0.5 || to > this.canvas.width + 0.5)) window.cut.push([text, from, to, this.canvas.width]);
             write.call(this, text, x, y);
         }",
    );
    for look in [DESK, PHONE] {
        browser.look(look);
        browser.open("about:blank");
        browser.open(&url(&collector, "#/host/1"));
        browser.wait_for(
            "the host",
            "return document.querySelector('.ranges button') !== null",
        );
        // Of each length, with labels at several distances from the edge.
        for length in [60.0, 3600.0, 86_400.0, 2_600_000.0] {
            for moment in 0..6 {
                let to = began - AGO + length * (0.4 + f64::from(moment) / 61.0);
                browser.run(&format!(
                    "window.written = 0; location.hash = '#/host/1?from={:.1}&to={to:.1}'",
                    to - length
                ));
                browser.wait_for(
                    "this time",
                    "return window.written > 0 && document.querySelector('.plot canvas') !== null",
                );
            }
        }
        assert_eq!(browser.run("return window.cut"), json!([]));
    }
    // An interval below a second is what it is.
    let about = browser
        .run("return [...document.querySelectorAll('.service .about')].map(it => it.textContent)");
    assert!(
        about
            .as_array()
            .unwrap()
            .contains(&json!("get_agent_health, every 0.5 s")),
        "{about}"
    );
    assert_quiet(&browser);
}

/// Which disk fills up when, from the line of the time that is looked at.
#[test]
fn a_disk_that_fills_says_when_it_is_full() {
    let Some(browser) = Browser::start("a_disk_that_fills_says_when_it_is_full") else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    // Six per cent an hour, 80 % now: full in three hours and twenty minutes.
    for seq in 0..11 {
        let hours = 5.0 - 0.5 * seq as f64;
        let items = json!({"/": {"used_p": 40.0}, "/srv": {"used_p": 80.0 - 6.0 * hours}, "/old": {"used_p": 30.0 + hours}});
        let data = json!({"status": 0, "data": items});
        report(&collector, json!(1), "Disks", 3600.0 * hours, seq, data);
    }
    let told = |hash: &str| {
        browser.open("about:blank");
        browser.open(&url(&collector, hash));
        browser.wait_for(
            "the chart",
            "return document.querySelector('.forecast:not([hidden])')?.closest('.pane').querySelector('.plot canvas')",
        );
        browser.run("return document.querySelector('.forecast:not([hidden])').textContent")
    };
    let six = told("#/host/1?range=6h");
    // The bins of the history shift a figure by a minute or two.
    assert!(
        ["/srv is full in 3 h 1", "/srv is full in 3 h 2"]
            .iter()
            .any(|it| six.as_str().unwrap().starts_with(it)),
        "{six}"
    );
    // Of ten minutes nobody knows.
    assert_eq!(told("#/host/1?range=10m"), json!(""));
    assert_quiet(&browser);
}
