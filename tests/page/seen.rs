//! What a person sees, in a real browser. Each test ends with a console that said nothing: no error of a script, and
//! nothing that the page's policy forbids.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use mote_test_browser::{Browser, DESK, PHONE};
use mote_test_support::collector::Program;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

pub fn url(collector: &Program, view: &str) -> String {
    format!("http://{}/{view}", collector.address)
}

/// A report that was sampled so many seconds ago.
pub fn report(collector: &Program, id: Value, service: &str, ago: f64, seq: u64, data: Value) {
    let body = json!({
        "client_id": id, "service_name": service, "time": now() - ago, "boot": "b", "seq": seq, "data": data,
    });
    assert_eq!(collector.report("", &body).status, 200);
}

/// Fails the test if the console said anything.
pub fn assert_quiet(browser: &Browser) {
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Keeps what is seen, for people to look at.
pub fn picture(browser: &Browser, name: &str) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    browser.picture(&folder.join(format!("{name}.png")));
}

/// The texts of the cells of each row, by the name of the host.
pub const ROWS: &str = "const rows = [...document.querySelectorAll('.hosts tbody tr')].map(row => [
    row.querySelector('.label a').textContent, [...row.children].map(cell => cell.innerText.replaceAll('\\n', ' '))]);
    return rows.length > 0 && rows";

pub const TWO_HOSTS: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    [hosts.web]
    id = 1
    templates = ["linux"]
    reports_for = ["pump"]
    [hosts.pump]
    templates = ["board"]
    [hosts.idle]
    templates = ["linux"]
    [templates.linux.services]
    CPU = ["get_linux_cpu", 3600]
    Memory = ["get_memory_info", 3600]
    Disks = ["get_filesystem", 3600]
    Heat = ["get_temperature", 3600]
    Alive = ["host_alive_check", 3600]
    [templates.board.services]
    Load = ["get_mcu_load", 3600]
"#;

#[test]
fn the_values_that_are_shown_are_those_that_are_stored() {
    let Some(browser) = Browser::start("the_values_that_are_shown_are_those_that_are_stored")
    else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    let cpu = |idle: f64| json!({"status": 0, "user": 99.5 - idle, "nice": 0, "system": 0.5, "iowait": 0, "steal": 0, "idle": idle});
    let stored = [(400.0, 91.3), (300.0, 40.5), (200.0, 77.6), (100.0, 62.0)];
    for (seq, (ago, idle)) in stored.into_iter().enumerate() {
        report(&collector, json!(1), "CPU", ago, seq as u64, cpu(idle));
    }
    report(
        &collector,
        json!(1),
        "Memory",
        5.0,
        10,
        json!({"status": 0, "MemTotal": 4096, "MemUsage": 1024, "MemUsage_p": 25.04}),
    );
    let disks =
        json!({"/": {"used_p": 12.5}, "/full": {"used_p": 96.4}, "/half": {"used_p": 50.0}});
    report(
        &collector,
        json!(1),
        "Disks",
        5.0,
        11,
        json!({"status": 0, "data": disks}),
    );
    report(
        &collector,
        json!(1),
        "Heat",
        5.0,
        12,
        json!({"status": 0, "data": {"a": {"celsius": 41.0}, "b": {"celsius": 55.0}}}),
    );
    report(
        &collector,
        json!("pump"),
        "Load",
        5.0,
        0,
        json!({"status": 0, "load_permille": 123}),
    );
    let alive = json!({"status": 0, "uptime": 3 * 86_400 + 4 * 3600});
    report(&collector, json!(1), "Alive", 5.0, 13, alive);

    browser.open(&url(&collector, ""));
    let rows = browser.wait_for("the rows", ROWS);
    let row = |name: &str| {
        let found = rows.as_array().unwrap().iter().find(|it| it[0] == name);
        found.unwrap_or_else(|| panic!("{rows}"))[1].clone()
    };
    let cells = |name: &str| {
        let row = row(name);
        let cells = row.as_array().unwrap().iter();
        cells
            .map(|it| it.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let web = cells("web");
    assert_eq!(web[0], "reporting");
    assert_eq!(web[2..6], ["38 %", "25 %", "96 % /full", "55 °C b"]);
    assert_eq!(web[6], "3 d 4 h");
    let pump = cells("pump");
    assert!(pump[1].contains("via web"), "{pump:?}");
    assert_eq!(pump[2..6], ["12 %", "–", "–", "–"]);
    assert_eq!(cells("idle")[0], "never reported");
    let order: Vec<&Value> = rows.as_array().unwrap().iter().map(|it| &it[0]).collect();
    // The problem first, the board below its gateway.
    assert_eq!(order, ["idle", "web", "pump"]);
    picture(&browser, "hosts");

    browser.open(&url(&collector, "#/host/1?range=1h"));
    browser.wait_for(
        "a chart of the CPU",
        "return document.querySelector('.service .plot canvas') !== null",
    );
    let table = browser.wait_for(
        "the figures of the CPU",
        "const pane = document.querySelector('.pane'); pane.querySelector('details').open = true;
         const rows = [...pane.querySelectorAll('table:last-of-type tbody tr')];
         return rows.length > 0 && rows.map(row => [...row.querySelectorAll('td')].map(it => it.textContent))",
    );
    let busy: Vec<String> = stored
        .iter()
        .rev()
        .map(|(_, idle)| format!("{:.1} %", 100.0 - idle))
        .collect();
    let shown: Vec<&str> = table
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[0].as_str().unwrap())
        .collect();
    assert_eq!(shown, busy);
    let disks = browser.wait_for(
        "the disks, the fullest first",
        "const service = [...document.querySelectorAll('.service')].find(it => it.querySelector('h3').textContent === 'Disks');
         service.scrollIntoView();
         const entries = [...service.querySelector('.legend').querySelectorAll('button')];
         return entries.length === 3 && entries.map(it => it.textContent)",
    );
    assert_eq!(disks, json!(["/full96.4 %", "/half50.0 %", "/12.5 %"]));
    picture(&browser, "host");
    assert_quiet(&browser);
}

#[test]
fn a_script_in_a_name_does_not_run() {
    let Some(browser) = Browser::start("a_script_in_a_name_does_not_run") else {
        return;
    };
    const EVIL: &str = "<img src=x onerror=window.hit=1>";
    let collector = Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.{EVIL:?}]\nid = {EVIL:?}\ntemplates = [{EVIL:?}]\n\
         [templates.{EVIL:?}.services]\n{EVIL:?} = [{EVIL:?}, 3600]\nconstructor = [\"__proto__\", 3600]\n\
         Disks = [\"get_filesystem\", 3600]\nFails = [\"toString\", 3600]\n"
    ));
    let id = || json!(EVIL);
    report(
        &collector,
        id(),
        EVIL,
        1.0,
        0,
        json!({"status": 0, EVIL: 7, "text": EVIL, "__proto__": 5}),
    );
    report(
        &collector,
        id(),
        "constructor",
        1.0,
        1,
        json!({"status": 0, "valueOf": 1, "data": {EVIL: {"constructor": 3}}}),
    );
    report(
        &collector,
        id(),
        "Disks",
        1.0,
        2,
        json!({"status": 0, "data": {EVIL: {"used_p": 5.0}, "__proto__": {"used_p": 9.0}}}),
    );
    report(
        &collector,
        id(),
        "Fails",
        1.0,
        3,
        json!({"status": 1, "error": EVIL}),
    );
    for view in ["", "#/host/%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E"] {
        browser.open(&url(&collector, view));
        browser.wait_for(
            "the name, as it is written",
            "const main = document.getElementById('main').innerText;
             return main.includes('<img src=x onerror=window.hit=1>') &&
                    (main.includes('Fails fails: <img src=x') || document.querySelectorAll('.plot canvas').length >= 2)",
        );
        browser.run("for (const it of document.querySelectorAll('details')) it.open = true");
        let found = browser
            .run("return [window.hit ?? null, document.querySelectorAll('#main img').length]");
        assert_eq!(found, json!([null, 0]), "{view}");
    }
    assert_quiet(&browser);
}

#[test]
fn a_collector_that_is_away_is_said_with_the_age_of_what_is_seen() {
    let Some(browser) =
        Browser::start("a_collector_that_is_away_is_said_with_the_age_of_what_is_seen")
    else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    browser.open(&url(&collector, ""));
    browser.wait_for("the rows", ROWS);
    assert_quiet(&browser);
    // Whoever takes its place has its port.
    let settings = TWO_HOSTS.replace("127.0.0.1:0", &collector.address.to_string());
    let folder = collector.kill();
    let told = browser.wait_for(
        "a sentence",
        "const away = document.getElementById('away'); return !away.hidden && away.textContent",
    );
    let told = told.as_str().unwrap();
    assert!(
        told.starts_with("The collector cannot be reached. What you see is "),
        "{told}"
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.hosts tbody tr').length"),
        3
    );
    std::fs::write(folder.path().join("server.toml"), settings).unwrap();
    let collector = Program::start(folder);
    browser.wait_for(
        "its return",
        "return document.getElementById('away').hidden",
    );
    // What the browser says itself of connections that were refused.
    let console = browser.console();
    assert!(
        console.iter().all(|line| line.contains("net::ERR_")),
        "{console:?}"
    );
    collector.signal(Signal::SIGTERM);
}

#[test]
fn it_fits_a_phone_and_the_dark() {
    let Some(browser) = Browser::start("it_fits_a_phone_and_the_dark") else {
        return;
    };
    let collector = Program::new(TWO_HOSTS);
    report(
        &collector,
        json!(1),
        "CPU",
        5.0,
        0,
        json!({"status": 0, "user": 20, "system": 1, "idle": 79}),
    );
    for (look, name) in [(DESK, "desk"), (PHONE, "phone")] {
        browser.look(look);
        for (view, ready) in [("", ".hosts tbody tr"), ("#/host/1", ".plot canvas")] {
            browser.open(&url(&collector, view));
            browser.wait_for(
                ready,
                &format!("return document.querySelector({ready:?}) !== null"),
            );
            // `innerWidth` grows with what does not fit.
            let width = browser.run("return document.documentElement.scrollWidth");
            assert!(
                width.as_u64() <= Some(u64::from(look.width)),
                "{name} {view}: {width}"
            );
            picture(
                &browser,
                &format!("{}-{name}", if view.is_empty() { "hosts" } else { "host" }),
            );
        }
    }
    let back = browser.run("return getComputedStyle(document.body).backgroundColor");
    let parts: Vec<u32> = back
        .as_str()
        .unwrap()
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok())
        .collect();
    assert!(parts.iter().take(3).sum::<u32>() < 150, "{back}");
    assert_quiet(&browser);
}
