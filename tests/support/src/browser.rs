//! A real browser, Chromium without a window, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::{DEADLINE, Running, need, run, wait_for};

/// Browsers are large: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A browser of the test's own. Dropped, it is ended with all that it wrote.
pub struct Browser {
    /// The address of the session at the driver.
    session: String,
    agent: Agent,
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
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .proxy(None)
            .build()
            .new_agent();
        let driver_url = format!("http://127.0.0.1:{port}/session");
        let mut arguments = vec![
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            // Clicks beyond the window are lost, however large the page takes itself to be.
            "--window-size=1300,1100",
        ];
        // Its sandbox does without root.
        if nix::unistd::geteuid().is_root() {
            arguments.push("--no-sandbox");
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let told = post(&agent, &driver_url, &wanted);
        let session = format!("{driver_url}/{}", told["sessionId"].as_str().unwrap());
        let browser = Browser {
            session,
            agent,
            _driver: driver,
            _folder: folder,
            _turn: turn,
        };
        browser.look(DESK);
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Runs a script in each page that is opened from now on, before those of the page.
    pub fn before_each_page(&self, script: &str) {
        let source = json!({ "source": script });
        self.command("Page.addScriptToEvaluateOnNewDocument", &source);
    }

    /// As the button of that name does.
    pub fn back(&self) {
        self.post("back", &json!({}));
    }

    /// What a function with this body returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []}))
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

    /// Presses the mouse at one place, in pixels from the left and the top, and lets go at another.
    pub fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let at = |(x, y): (f64, f64)| json!({"type": "pointerMove", "x": x as i64, "y": y as i64, "duration": 50});
        let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        let steps = json!([
            at(from),
            {"type": "pointerDown", "button": 0},
            at(middle),
            at(to),
            {"type": "pointerUp", "button": 0},
        ]);
        let mouse = json!({"type": "pointer", "id": "mouse", "actions": steps});
        self.post("actions", &json!({"actions": [mouse]}));
    }

    /// Writes what is seen to a file, as a PNG.
    pub fn picture(&self, file: &Path) {
        let told = self.command("Page.captureScreenshot", &json!({"format": "png"}));
        let png = STANDARD.decode(told["data"].as_str().unwrap()).unwrap();
        fs::write(file, png).unwrap();
    }

    /// What the console said since the last call: errors of scripts, and what the page's policy forbids.
    pub fn console(&self) -> Vec<String> {
        let lines = self.post("se/log", &json!({"type": "browser"}));
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| format!("{}: {}", line["level"], line["message"]))
            .collect()
    }

    fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post(
            "goog/cdp/execute",
            &json!({"cmd": name, "params": parameters}),
        )
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        post(&self.agent, &format!("{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Fails only if it is gone already.
        let _ = self.agent.delete(&self.session).call();
    }
}

fn post(agent: &Agent, url: &str, body: &Value) -> Value {
    let request = agent.post(url).header("Content-Type", "application/json");
    let mut answer = request.send(body.to_string()).unwrap();
    let text = answer
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .unwrap();
    let mut told: Value = serde_json::from_str(&text).unwrap();
    assert!(answer.status().is_success(), "{url}: {text}");
    told["value"].take()
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
