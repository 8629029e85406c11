//! The whole way: an image of the Raspberry Pi Pico in its emulator, a serial line, the real agent, a real collector.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use super::bench::{Collector, Wire, board, of_board};
use mote_test_support::qemu::image_named;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, wait_for};

/// How much faster the board's time passes.
const SPEED: u32 = 8;

#[test]
fn an_emulated_board_is_watched_like_a_host() {
    let site = Site::new("");
    let collector = Collector::new(site.folder());
    let collector =
        collector.ordering("McuLoad = [\"get_mcu_load\", 2]\nAlive = [\"host_alive_check\", 2]");
    let wire = Wire::new(&site, "pico");
    let settings = server_settings(collector.url(), "");
    site.write_settings(&format!("{settings}\n{}", board(&wire, 7)));
    site.start();
    let image = image_named("mote-pico", "thumbv6m-none-eabi", "example").unwrap();
    let pico = Pico::start(&wire, &image, &[]);

    // It asks, follows, and reports its load, which changes.
    let reports = wait_for("a changing load", DEADLINE, || {
        let reports = of_service(&collector.reports(7), "McuLoad");
        let load = |it: &Value| it["data"]["load_permille"].as_u64();
        let least = reports.iter().filter_map(load).min()?;
        let most = reports.iter().filter_map(load).max()?;
        (reports.len() >= 20 && most - least >= 30).then_some(reports)
    });
    assert!(reports.iter().all(|it| it["client_id"] == 7));
    let reports = of_service(&collector.reports(7), "Alive");
    assert_eq!(steps(&reports[5..15]), [2; 9]);

    // Another interval on the server is another rhythm on the board once it asks again.
    let collector =
        collector.ordering("McuLoad = [\"get_mcu_load\", 3]\nAlive = [\"host_alive_check\", 3]");
    wait_for("a new rhythm", DEADLINE, || {
        let reports = of_service(&collector.reports(7), "Alive");
        let last = reports.len().checked_sub(6)?;
        (steps(&reports[last..]) == [3; 5]).then_some(())
    });

    // Cut for half of what the ring holds, nothing is lost.
    pico.cut_for_s(24);
    let gaps = wait_for_backlog(&collector, &site, 24);
    assert_eq!(gaps, 0);

    // Cut for twice of what it holds, what did not fit is counted, by the agent and by the board.
    pico.cut_for_s(96);
    let gaps = wait_for_backlog(&collector, &site, 96);
    let reports = of_service(&collector.reports(7), "Alive");
    let dropped = reports.last().unwrap()["data"]["dropped"].as_u64().unwrap();
    // A report whose acknowledgement alone was cut off is no gap to the agent.
    assert!(
        gaps > 10 && (gaps..gaps + 8).contains(&dropped),
        "{dropped} dropped, {gaps} gaps"
    );

    // It refuses orders that it cannot follow, and goes on as before.
    let nine = (0..9).map(|it| format!("S{it} = [\"get_mcu_load\", 1]\n"));
    let collector = collector.ordering(&nine.collect::<String>());
    site.wait_for_status("the refusal", |status| {
        let error = of_board(status, 7)["services_error"].as_str()?.to_owned();
        error.contains("too-many of service \"S8\"").then_some(())
    });
    let before = collector.reports(7).len();
    let reports = collector.wait_for(7, before + 6);
    assert!(reports.iter().all(|it| it["service_name"] != "S0"));
}

/// Waits until what was sampled in a cut of so many seconds of the board, and some more, has come but for what the
/// agent counts as gaps, and gives how many those are. What is fresh comes before what waited.
fn wait_for_backlog(collector: &Collector, site: &Site, cut_s: u64) -> u64 {
    let seqs = || -> BTreeSet<u64> {
        let reports = collector.reports(7);
        reports.iter().filter_map(|it| it["seq"].as_u64()).collect()
    };
    // Two services every three seconds.
    let end = seqs().last().unwrap() + 2 * cut_s / 3 + 12;
    wait_for("the backlog", DEADLINE, || {
        let gaps = of_board(&site.status(), 7)["gaps"].as_u64()?;
        let seqs = seqs();
        let last = *seqs.last()?;
        (last >= end && last + 1 - seqs.len() as u64 == gaps).then_some(gaps)
    })
}

/// In the order in which they were sampled.
fn of_service(reports: &[Value], name: &str) -> Vec<Value> {
    let of_service = reports.iter().filter(|it| it["service_name"] == name);
    let mut of_service: Vec<Value> = of_service.cloned().collect();
    of_service.sort_by_key(|it| it["seq"].as_u64());
    of_service
}

/// Seconds of the board between each report of its uptime and the next.
fn steps(reports: &[Value]) -> Vec<u64> {
    let uptimes: Vec<u64> = reports
        .iter()
        .filter_map(|it| it["data"]["uptime"].as_u64())
        .collect();
    uptimes
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect()
}

/// The emulator, its serial port wired to a pseudo-terminal.
pub struct Pico {
    emulator: Child,
    connected: Arc<AtomicBool>,
    /// The board's uptime in seconds, as it last said.
    uptime_s: Arc<AtomicU64>,
}

impl Pico {
    /// An image with its port `--uart` at the wire, and what else the emulator is told.
    pub fn start(wire: &Wire, image: &Path, options: &[&str]) -> Pico {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut emulator = Command::new("node")
            .arg(root.join("tests/boards/emulator/pico.mjs"))
            .arg(image)
            .args(["--speed", &SPEED.to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let connected = Arc::new(AtomicBool::new(true));
        let uptime_s = Arc::new(AtomicU64::new(0));
        let relay = |from, to, uptime_s| {
            let connected = Arc::clone(&connected);
            thread::spawn(move || pass(from, to, &connected, uptime_s));
        };
        relay(
            Box::new(emulator.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(wire.board_end()) as Box<dyn Write + Send>,
            Some(Arc::clone(&uptime_s)),
        );
        relay(
            Box::new(wire.board_end()),
            Box::new(emulator.stdin.take().unwrap()),
            None,
        );
        Pico {
            emulator,
            connected,
            uptime_s,
        }
    }

    /// What is said in either direction in so many seconds of the board is gone.
    fn cut_for_s(&self, seconds: u32) {
        self.connected.store(false, Ordering::SeqCst);
        // By its own clock, which stands still while this machine has other things to do.
        let end = self.uptime_s.load(Ordering::SeqCst) + u64::from(seconds);
        wait_for("the end of the cut", DEADLINE, || {
            (self.uptime_s.load(Ordering::SeqCst) >= end).then_some(())
        });
        self.connected.store(true, Ordering::SeqCst);
    }
}

impl Drop for Pico {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

fn pass(
    mut from: impl Read,
    mut to: impl Write,
    connected: &AtomicBool,
    uptime_s: Option<Arc<AtomicU64>>,
) {
    let mut piece = [0; 1024];
    let mut line = String::new();
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if let Some(uptime_s) = &uptime_s {
            line.push_str(&String::from_utf8_lossy(&piece[..count]));
            while let Some((first, rest)) = line.split_once('\n') {
                if let Some(uptime) = said_uptime(first) {
                    uptime_s.fetch_max(uptime, Ordering::SeqCst);
                }
                line = rest.to_owned();
            }
        }
        if connected.load(Ordering::SeqCst) && to.write_all(&piece[..count]).is_err() {
            return;
        }
    }
}

fn said_uptime(line: &str) -> Option<u64> {
    let (text, _) = line.rsplit_once('*')?;
    let message: Value = serde_json::from_str(text).ok()?;
    message["uptime"].as_u64()
}
