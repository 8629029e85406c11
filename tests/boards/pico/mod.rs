//! The images of the Raspberry Pi Pico, as they are flashed, in an emulator: the test is the gateway at their line,
//! and simulated time passes when it says so.

mod crash;
mod emulator;
mod gateway;
mod sensors;
mod tasks;
mod uf2;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use emulator::{need_image, root};
use gateway::Gateway;
use mote_test_support::elf::Elf;
use mote_test_support::qemu::pico_of_own_id;
use mote_test_support::{need, run};

const FAST: &str = r#"{"services":{"McuLoad":["get_mcu_load",1],"Alive":["host_alive_check",10]}}"#;

/// Over UART and over USB alike.
fn both(test: impl Fn(Gateway, &str)) {
    for image in ["uart", "usb"] {
        if let Some(gateway) = Gateway::start(image) {
            test(gateway, image);
        }
    }
}

/// Each sample is one interval after the one before.
fn assert_steady(gateway: &Gateway, service: &str, interval_s: u64, at_least: usize) {
    let uptimes = gateway.uptimes(service);
    assert!(uptimes.len() >= at_least, "{service}: {uptimes:?}");
    let grid = (uptimes[0]..).step_by(interval_s as usize);
    let expected: Vec<u64> = grid.take(uptimes.len()).collect();
    assert_eq!(uptimes, expected, "{service}");
}

/// No number is missing.
fn assert_complete(gateway: &Gateway) {
    let numbers = gateway.numbers();
    let expected: Vec<u64> = (0..numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn without_orders_it_samples_by_default() {
    both(|mut gateway, image| {
        gateway.board.set_celsius(41.0);
        gateway.run_s(190.0);
        assert_complete(&gateway);
        assert_steady(&gateway, "McuLoad", 5, 36);
        assert_steady(&gateway, "McuRam", 60, 3);
        assert_steady(&gateway, "Alive", 60, 3);
        assert_steady(&gateway, "Temperature", 30, 6);
        // Acknowledged at once, so nothing came twice or late.
        assert_eq!(gateway.reports.len(), gateway.numbers().len());
        assert!(gateway.reports.iter().all(|it| it.age == 0));
        // At the start, and again with growing pauses.
        assert!(gateway.asked_ms[0] < 1000.0);
        assert!(
            (4..=8).contains(&gateway.asked_ms.len()),
            "{:?}",
            gateway.asked_ms
        );

        let ram = &gateway.of("McuRam")[2].data;
        let elf = Elf::read(&need_image(image).unwrap());
        assert_eq!(ram["status"], 0);
        assert_eq!(ram["total"], 264 * 1024);
        let linked = elf.allocated(0x2000_0000..0x2004_2000);
        let static_bytes = ram["static"].as_u64().unwrap() as usize;
        assert_eq!(static_bytes, linked.next_multiple_of(4));
        let peak = ram["stack_peak"].as_u64().unwrap() as usize;
        assert!((500..8192).contains(&peak), "{peak}");
        assert_eq!(ram["stack_free"], 16 * 1024 - peak);

        let uptime = gateway.of("Alive")[1].uptime;
        let alive = json!({"status": 0, "uptime": uptime, "reset_cause": "power-on", "reset_bits": 256,
            "watchdog_resets": 0, "dropped": 0});
        assert_eq!(gateway.of("Alive")[1].data, alive);

        // A step of the converter is 0.468 °C.
        let millicelsius = &gateway.of("Temperature")[0].data["millicelsius"];
        assert!(
            (40_765..=41_235).contains(&millicelsius.as_i64().unwrap()),
            "{millicelsius}"
        );

        // It sleeps but for a few thousandths.
        let load = &gateway.of("McuLoad")[20].data;
        assert!(load["load_permille"].as_u64().unwrap() < 10, "{load}");
        assert!(load["wakeups"].as_u64().unwrap() > 4, "{load}");
    });
}

#[test]
fn orders_change_its_rhythm_and_bad_ones_do_not() {
    both(|mut gateway, _| {
        gateway.run_s(3.0);
        gateway.send(r#"{"services":{"McuLoad":["get_mcu_load",2],"Chip":["get_temperature",0.5],"No":["get_pressure",9]}}"#);
        gateway.run_s(30.0);
        let before = gateway.uptimes("McuLoad").len();
        assert_steady(&gateway, "McuLoad", 2, 13);
        assert!(gateway.of("Chip").len() >= 55);
        // What it had before and has no more: the default's reports end.
        assert!(gateway.uptimes("Alive").len() <= 1);
        // A plugin that it does not have is told once.
        let no: Vec<_> = gateway.of("No").iter().map(|it| it.data.clone()).collect();
        assert_eq!(
            no,
            [json!({"status": 1, "error": "this board has no such plugin"})]
        );

        gateway.send(r#"{"services":{"McuLoad":["get_mcu_load",0]}}"#);
        // No orders, so not refused either.
        gateway.send(r#"{"service":{}}"#);
        gateway.board.send(b"{\"services\":{}}*00000000\n");
        gateway.run_s(20.0);
        let refused = json!({"client_id": 7, "refused": "interval", "service": "McuLoad"});
        assert_eq!(gateway.others, [refused]);
        assert_steady(&gateway, "McuLoad", 2, before + 10);
        assert_complete(&gateway);
    });
}

#[test]
fn what_is_not_acknowledged_waits_and_what_does_not_fit_is_counted() {
    both(|mut gateway, _| {
        gateway.services = Some(FAST);
        gateway.run_s(15.0);

        // Short enough for the ring: everything comes.
        gateway.acknowledges = false;
        let first = gateway.reports.len();
        gateway.run_s(20.0);
        let unheard = &gateway.reports[first..];
        let oldest = unheard.iter().map(|it| it.seq).min().unwrap();
        let again: Vec<_> = unheard.iter().filter(|it| it.seq == oldest).collect();
        // After 1, 2, 4 and 8 s, each time with its age.
        assert_eq!(again.len(), 5, "{again:?}");
        for report in &unheard[1..] {
            let sent_s = report.uptime + report.age;
            assert!(
                sent_s.abs_diff((report.at_ms / 1000.0) as u64) <= 1,
                "{report:?}"
            );
        }
        assert!(again[4].age >= 15, "{again:?}");
        let newest = unheard.iter().map(|it| it.seq).max().unwrap();
        gateway.acknowledges = true;
        gateway.run_s(10.0);
        assert_complete(&gateway);
        let repeated = gateway
            .reports
            .iter()
            .filter(|it| it.age > 0 && it.seq == newest);
        assert_eq!(
            repeated.count(),
            1,
            "once an acknowledgement comes, the rest goes again"
        );

        // Too long: 32 stay, the oldest go.
        gateway.acknowledges = false;
        let start = gateway.reports.len();
        gateway.run_s(60.0);
        let sampled = gateway.reports[start..]
            .iter()
            .map(|it| it.seq)
            .max()
            .unwrap();
        let lost = gateway.reports.split_off(start);
        gateway.acknowledges = true;
        gateway.run_s(25.0);
        let numbers = gateway.numbers();
        let gaps = (0..=sampled).filter(|seq| !numbers.contains(seq)).count() as u64;
        let first_lost = lost.iter().map(|it| it.seq).min().unwrap();
        assert!(gaps > 25, "{gaps} of {}", sampled - first_lost);
        assert!(
            (sampled - first_lost + 1 - gaps).abs_diff(32) <= 2,
            "{gaps}"
        );
        let alive = gateway.of("Alive");
        assert_eq!(alive.last().unwrap().data["dropped"], gaps);
    });
}

#[test]
fn load_shows_what_an_application_does() {
    let Some(mut gateway) = Gateway::start("example") else {
        return;
    };
    gateway.services = Some(r#"{"services":{"McuLoad":["get_mcu_load",1]}}"#);
    gateway.run_s(27.0);
    // Interrupts take 5 ‰ all the time.
    for (uptimes, applied_permille) in [(4..=9, 5), (12..=19, 5 + 20), (22..=26, 5 + 40)] {
        let loads: Vec<u64> = gateway
            .of("McuLoad")
            .iter()
            .filter(|it| uptimes.contains(&it.uptime))
            .map(|it| it.data["load_permille"].as_u64().unwrap())
            .collect();
        assert!(loads.len() >= 4, "{loads:?}");
        // What the firmware itself takes, entering and leaving interrupts above all, comes on top.
        let expected = applied_permille..=applied_permille + 5;
        assert!(
            loads.iter().all(|it| expected.contains(it)),
            "{applied_permille}: {loads:?}"
        );
    }
}

/// More comes than the board can look at, and nothing of it is for it: lines that look sealed, too.
#[test]
fn a_flood_from_the_host_stops_no_report() {
    let Some(mut gateway) = Gateway::start("usb") else {
        return;
    };
    gateway.services = Some(FAST);
    gateway.run_s(5.0);
    let line = format!("{}*0BAD5EA1\n", "flood ".repeat(9));
    // As much as USB carries.
    let tenth_of_a_second = line.repeat(120_000 / line.len());
    let before = gateway.uptimes("McuLoad").len();
    for _ in 0..25 {
        gateway.board.send(tenth_of_a_second.as_bytes());
        gateway.run_s(0.1);
    }
    let after = gateway.uptimes("McuLoad").len();
    assert!(after >= before + 2, "{before} and {after}");
    // It has not looked at all of it yet.
    gateway.run_s(3.0);
    assert_complete(&gateway);
    assert_steady(&gateway, "McuLoad", 1, before + 5);
    assert_eq!(gateway.board.resets, 0);
}

#[test]
fn the_watchdog_bites_when_the_schedule_stands_still() {
    let Some(mut gateway) = Gateway::start("uart") else {
        return;
    };
    gateway.services = Some(FAST);
    for resets in 1..=2 {
        gateway.run_s(20.0);
        gateway.board.hang();
        gateway.run_s(7.0);
        assert_eq!(gateway.board.resets, resets - 1);
        gateway.reports.clear();
        gateway.run_s(15.0);
        assert_eq!(gateway.board.resets, resets);
        let alive = &gateway.of("Alive")[0].data;
        assert_eq!(alive["reset_cause"], "watchdog+power-on");
        assert_eq!(alive["reset_bits"], 0x101);
        assert_eq!(alive["watchdog_resets"], resets);
        assert!(alive["uptime"].as_u64().unwrap() < 15);
        assert_complete(&gateway);
    }
}

#[test]
fn a_usb_port_that_is_closed_or_gone_loses_nothing_that_fits() {
    let Some(mut gateway) = Gateway::start("usb") else {
        return;
    };
    gateway.services = Some(FAST);
    gateway.run_s(15.0);
    for (away, back) in [("close", "open"), ("unplug", "plug")] {
        let before = gateway.reports.len();
        gateway.board.usb(away);
        gateway.run_s(20.0);
        assert_eq!(gateway.reports.len(), before, "{away}");
        gateway.board.usb(back);
        gateway.run_s(12.0);
        assert_complete(&gateway);
        assert_steady(&gateway, "McuLoad", 1, before);
        for report in &gateway.reports[before..] {
            let sent_s = report.uptime + report.age;
            assert!(
                sent_s.abs_diff((report.at_ms / 1000.0) as u64) <= 1,
                "{report:?}"
            );
        }
    }
}

/// Six hours, or as many as `MOTE_PICO_HOURS` says.
#[test]
fn it_does_not_drift() {
    let Some(mut gateway) = Gateway::start("uart") else {
        return;
    };
    let hours = std::env::var("MOTE_PICO_HOURS").map_or(6, |hours| hours.parse().unwrap());
    for _ in 0..hours {
        gateway.run_s(3600.0);
        gateway.lines.clear();
    }
    assert_complete(&gateway);
    assert_steady(&gateway, "McuLoad", 5, hours * 720 - 2);
    assert_steady(&gateway, "Temperature", 30, hours * 120 - 2);
    // The end of a line lies where it lay in the first one, but for a digit more here and there.
    let loads = gateway.of("McuLoad");
    let first_ms = loads[0].at_ms;
    for (index, report) in loads.iter().enumerate() {
        let drift_ms = report.at_ms - first_ms - index as f64 * 5000.0;
        // Samples of the same instant are sent one after the other.
        assert!(
            (-2.0..60.0).contains(&drift_ms),
            "{drift_ms} ms at {report:?}"
        );
    }
}

#[test]
fn another_program_reads_the_frames() {
    let folder = TempDir::new().unwrap();
    both(|mut gateway, _| {
        gateway.services = Some(FAST);
        gateway.run_s(40.0);
        let lines = folder.path().join("lines");
        fs::write(&lines, gateway.lines.concat()).unwrap();
        let script = r"
import json, sys, zlib
reports = 0
for line in open(sys.argv[1], 'rb'):
    if line == b'\n':
        continue
    text, crc = line[:-10], line[-9:-1]
    assert line[-10:-9] == b'*' and int(crc, 16) == zlib.crc32(text), line
    reports += 'service_name' in json.loads(text)
print(reports)
";
        let arguments = ["-c", script, lines.to_str().unwrap()];
        let counted = run(Command::new("python3").args(arguments)).unwrap();
        assert_eq!(counted.trim(), gateway.reports.len().to_string());
    });
}

#[test]
fn an_image_without_a_client_id_takes_the_flash_chips() {
    let Some(image) = need("pico", pico_of_own_id("uart")) else {
        return;
    };
    for id in ["e66138528335a72f", "0123456789abcdef"] {
        let mut board = Command::new("node")
            .arg(root().join("tests/boards/emulator/pico.mjs"))
            .arg(&image)
            .args(["--fast", "--seconds", "1", "--unique-id", id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It would end with its input.
        let _input = board.stdin.take();
        let output = board.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = format!(r#"{{"client_id":"pico-{id}","get":"services","uptime":0}}*"#);
        assert!(text.contains(&expected), "{text}");
    }
}
