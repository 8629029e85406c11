//! A real browser, Chromium without a window, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
pub use thirtyfour::Key;
use thirtyfour::prelude::WebDriverResult;
use thirtyfour::{
    ChromeCapabilities, ChromiumLikeCapabilities, LoggingPrefsLogLevel, TypingData, WebDriver,
};
use tokio::runtime::{Builder, Runtime};

use mote_test_support::{DEADLINE, Running, need, run, wait_for};

/// Browsers are large: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A browser of the test's own. Dropped, it is ended with all that it wrote.
pub struct Browser {
    /// `None` once it has ended.
    session: Option<WebDriver>,
    /// Tests are not asynchronous: each step is done when its call returns.
    runtime: Runtime,
    _driver: Running,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What the page looks like to whom.
#[derive(Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

pub const DESK: Look = Look {
    width: 1280,
    height: 900,
    scheme: "light",
};

pub const PHONE: Look = Look {
    width: 390,
    height: 844,
    scheme: "dark",
};

impl Browser {
    /// `None` if there is none on this machine and the test may be skipped.
    pub fn start(test: &str) -> Option<Browser> {
        need(test, is_there())?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", folder.path());
        let driver = Running::start("chromedriver", &mut command, folder.path());
        let port = wait_for("the port of chromedriver", DEADLINE, || {
            let output = driver.output();
            let (_, rest) = output.split_once("started successfully on port ")?;
            let (port, _) = rest.split_once('.')?;
            Some(port.to_owned())
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let driver_url = format!("http://127.0.0.1:{port}");
        let builder = WebDriver::builder(driver_url, capabilities().unwrap());
        let session = runtime.block_on(builder.client(client()).connect());
        let browser = Browser {
            session: Some(session.unwrap()),
            runtime,
            _driver: driver,
            _folder: folder,
            _turn: turn,
        };
        browser.look(DESK);
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.done(self.session().goto(url));
    }

    /// Runs a script in each page that is opened from now on, before those of the page.
    pub fn before_each_page(&self, script: &str) {
        let source = json!({ "source": script });
        self.command("Page.addScriptToEvaluateOnNewDocument", &source);
    }

    /// As the button of that name does.
    pub fn back(&self) {
        self.done(self.session().back());
    }

    /// What a function with this body returns.
    pub fn run(&self, script: &str) -> Value {
        let told = self.done(self.session().execute(script, []));
        told.json().clone()
    }

    /// Runs it until it returns something that is true to JavaScript.
    pub fn wait_for(&self, what: &str, script: &str) -> Value {
        wait_for(what, DEADLINE, || {
            let value = self.run(script);
            let is_false = [json!(null), json!(false), json!(0), json!("")].contains(&value);
            (!is_false).then_some(value)
        })
    }

    pub fn look(&self, look: Look) {
        let (width, height) = (look.width, look.height);
        self.command(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
        let scheme = json!({"name": "prefers-color-scheme", "value": look.scheme});
        self.command("Emulation.setEmulatedMedia", &json!({"features": [scheme]}));
    }

    /// From now on it is seen in the dark, as it would be printed.
    pub fn print_look(&self, is_print: bool) {
        let media = if is_print { "print" } else { "" };
        let scheme = json!({"name": "prefers-color-scheme", "value": "dark"});
        let wanted = json!({"media": media, "features": [scheme]});
        self.command("Emulation.setEmulatedMedia", &wanted);
    }

    /// Presses these keys one after another, wherever the focus is.
    pub fn press(&self, keys: impl Into<TypingData>) {
        let keys = self.session().action_chain().send_keys(keys);
        self.done(keys.perform());
    }

    /// Presses the mouse at one place, in pixels from the left and the top, and lets go at another.
    pub fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let mouse = self
            .session()
            .action_chain_with_delay(None, Some(Duration::from_millis(50)));
        let at = |(x, y): (f64, f64)| (x as i64, y as i64);
        let middle = at(((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0));
        let (from, to) = (at(from), at(to));
        let held = mouse.move_to(from.0, from.1).click_and_hold();
        let moved = held.move_to(middle.0, middle.1).move_to(to.0, to.1);
        self.done(moved.release().perform());
    }

    /// Writes what is seen to a file, as a PNG.
    pub fn picture(&self, file: &Path) {
        self.done(self.session().screenshot(file));
    }

    /// What the console said since the last call: errors of scripts, and what the page's policy forbids.
    pub fn console(&self) -> Vec<String> {
        let lines = self.done(self.session().browser_log()).into_iter();
        lines
            .map(|line| format!("{}: {}", line.level, line.message))
            .collect()
    }

    /// A command of Chromium's own (<https://chromedevtools.github.io/devtools-protocol/>).
    fn command(&self, name: &str, parameters: &Value) -> Value {
        self.done(self.session().cdp().send_raw(name, parameters))
    }

    fn session(&self) -> &WebDriver {
        self.session.as_ref().unwrap()
    }

    fn done<T>(&self, step: impl Future<Output = WebDriverResult<T>>) -> T {
        self.runtime.block_on(step).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Fails only if it is gone already.
            let _ = self.runtime.block_on(session.quit());
        }
    }
}

fn capabilities() -> WebDriverResult<ChromeCapabilities> {
    // The driver of Chromium takes it by this name only.
    let mut wanted = ChromeCapabilities::new();
    wanted.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    wanted.add_arg("--headless=new")?;
    wanted.add_arg("--disable-gpu")?;
    wanted.add_arg("--disable-dev-shm-usage")?;
    // Clicks beyond the window are lost, however large the page takes itself to be.
    wanted.add_arg("--window-size=1300,1100")?;
    // Its sandbox does without root.
    if nix::unistd::geteuid().is_root() {
        wanted.add_arg("--no-sandbox")?;
    }
    Ok(wanted)
}

/// No proxy stands between a test and its driver, whatever the environment says.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE);
    client.build().unwrap()
}

fn is_there() -> Result<(), String> {
    for program in ["chromium", "chromedriver"] {
        run(Command::new(program).arg("--version")).map_err(|cause| {
            format!(
                "This test needs a browser: install the Debian packages chromium and chromium-driver. {cause}"
            )
        })?;
    }
    Ok(())
}
