//! A Raspberry Pi Pico in the emulator, whose time passes only when the test says so.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use mote_test_support::qemu;
use mote_test_support::{need, run};

/// The emulator. It is killed when this is dropped.
pub struct Emulator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Simulated milliseconds since power came.
    pub now_ms: f64,
    /// How often the watchdog has reset the board.
    pub resets: u32,
    /// When the lamp on the board was lit.
    pub blinks_ms: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    ms: f64,
    lines: Vec<String>,
    resets: u32,
    blinks: Vec<f64>,
}

impl Emulator {
    /// Starts the image, `uart`, `usb`, `example` or `crash`; `None` if the test is skipped.
    pub fn start(image: &str) -> Option<Emulator> {
        let program = need_emulator()?;
        let image_path = need_image(image)?;
        let link = if image == "usb" { "--usb" } else { "--uart" };
        let mut child = Command::new("node")
            .arg(program)
            .arg(image_path)
            .args([link, "--lock-step"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Emulator {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            now_ms: 0.0,
            resets: 0,
            blinks_ms: Vec::new(),
        })
    }

    /// Runs for at most so long, and not beyond the end of a line from the board; gives what lines there are.
    pub fn run_ms(&mut self, ms: f64) -> Vec<String> {
        self.command(&json!({ "run_ms": ms }))
    }

    /// Sends bytes to the board, at its baud rate.
    pub fn send(&mut self, line: &[u8]) {
        self.command(&json!({ "send": str::from_utf8(line).unwrap() }));
    }

    /// The temperature of the chip from now on.
    pub fn set_celsius(&mut self, celsius: f64) {
        self.command(&json!({ "celsius": celsius }));
    }

    /// Changes what a sensor on the bus measures, or how it fails.
    pub fn sensor(&mut self, change: Value) {
        self.command(&json!({ "sensor": change }));
    }

    /// The main program does nothing any more; interrupts come.
    pub fn hang(&mut self) {
        self.command(&json!({ "hang": true }));
    }

    /// Takes the power and gives it again; RAM may or may not keep what it has meanwhile.
    pub fn power(&mut self, ram_kept: bool) {
        self.command(&json!({ "power": ram_kept }));
    }

    /// `plug`, `unplug`, `open` or `close`.
    pub fn usb(&mut self, what: &str) {
        self.command(&json!({ "usb": what }));
    }

    fn command(&mut self, command: &Value) -> Vec<String> {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Answer = serde_json::from_str(&line).unwrap();
        self.now_ms = answer.ms;
        self.resets = answer.resets;
        self.blinks_ms.extend(answer.blinks);
        answer.lines
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of an image; `None` if the test is skipped.
pub fn need_image(name: &str) -> Option<PathBuf> {
    let package = match name {
        "example" => "mote-pico-example",
        _ => "mote-pico",
    };
    let image = qemu::image_named(package, "thumbv6m-none-eabi", name);
    need("pico", image)
}

fn need_emulator() -> Option<PathBuf> {
    let folder = root().join("tests/boards/emulator");
    let found = match run(Command::new("node").arg("--version")) {
        Ok(_) if folder.join("node_modules/rp2040js").exists() => Ok(folder.join("pico.mjs")),
        _ => Err("The emulator of the Pico is missing: run ci/install/emulator".to_owned()),
    };
    need("pico", found)
}

/// The folder of the whole project.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
