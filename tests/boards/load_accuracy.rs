//! What a board says of its load, against the load that it was given: the image of the lm3s6965evb in QEMU, where
//! an instruction takes 8 ns, so that the truth is a number of instructions and no clock.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mote_test_support::elf::Elf;
use mote_test_support::qemu::image_named;
use serde_json::Value;

/// Half a percentage point.
pub const TOLERANCE_PERMILLE: u64 = 5;

/// What is put on, in thousandths, by the thread and by an interrupt.
pub const LOADS: [(u64, u64); 11] = [
    (0, 0),
    (10, 0),
    (0, 10),
    (123, 0),
    (0, 300),
    (250, 300),
    (500, 0),
    (0, 700),
    (495, 494),
    (985, 0),
    (0, 985),
];

#[test]
fn load_is_what_was_put_on() {
    for (thread, interrupt) in LOADS {
        let arguments = [
            format!("thread={thread}"),
            format!("interrupt={interrupt}"),
            "seconds=6".into(),
        ];
        let loads = loads(&arguments);
        // The first window begins at some point of the work's period.
        assert!(loads.len() >= 4, "{loads:?}");
        for load in &loads[1..] {
            let truth = thread + interrupt;
            assert!(
                load.abs_diff(truth) <= TOLERANCE_PERMILLE,
                "{load} for {thread} + {interrupt}"
            );
        }
    }
}

#[test]
fn a_wait_of_a_driver_is_no_load() {
    // Three samples a second wait for 200 ms each; interrupts come meanwhile and count.
    for interrupt in [0, 300] {
        let arguments = [
            format!("interrupt={interrupt}"),
            "wait=200".into(),
            "seconds=9".into(),
        ];
        let loads = loads(&arguments);
        assert!(loads.len() >= 4, "{loads:?}");
        for load in &loads[1..] {
            assert!(
                load.abs_diff(interrupt) <= TOLERANCE_PERMILLE,
                "{loads:?} for {interrupt}"
            );
        }
    }
}

fn loads(arguments: &[String]) -> Vec<u64> {
    let reports = reports(&run(arguments), "McuLoad");
    let loads = reports
        .iter()
        .filter_map(|report| report["data"]["load_permille"].as_u64());
    loads.collect()
}

#[test]
fn a_run_repeats_to_the_byte() {
    let arguments = ["thread=250", "interrupt=300", "seconds=40"].map(String::from);
    let first = run(&arguments);
    assert_eq!(first, run(&arguments));
    // More samples than the ring holds were never acknowledged.
    let last = reports(&first, "Alive").pop().unwrap();
    let sampled_before = last["seq"].as_u64().unwrap();
    assert!(sampled_before > 100);
    assert_eq!(last["data"]["dropped"], sampled_before - 32);
}

/// Which the image finds out itself, in an interrupt above SysTick's priority.
#[test]
fn the_clock_is_right_from_any_priority() {
    let mut board = qemu("clock", &[]);
    let status = board.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn ram_is_what_the_image_says() {
    let image = Elf::read(image("load").as_ref());
    let output = run(&["seconds=3".into()]);
    let ram = reports(&output, "McuRam").pop().unwrap();
    let number = |name: &str| ram["data"][name].as_u64().unwrap();
    assert_eq!(number("total"), 65536);
    // The data that the image loads into RAM or wants zeroed there, up to where the stack may come.
    let in_ram = image
        .allocated(0x2000_0000..0x2001_0000)
        .next_multiple_of(4);
    assert_eq!(number("static"), in_ram as u64);
    assert_eq!(
        number("stack_peak") + number("stack_free"),
        8 * 1024,
        "as memory.x says"
    );
    assert!((256..4096).contains(&number("stack_peak")), "{ram}");
}

#[test]
fn a_probe_that_hangs_ends_in_a_reset() {
    let mut board = qemu("load", &["hang=7".into()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(board.stdout.take().unwrap()).lines();
    let starts =
        |line: &String| line.starts_with(r#"{"client_id":7,"get":"services","uptime":0}*"#);
    // Only a reset begins anew; without one there is nothing more to read, ever, and no end.
    let until_second_start = lines.map_while(Result::ok).scan(0, |boots, line| {
        *boots += u32::from(starts(&line));
        (*boots < 2).then_some(line)
    });
    let samples = until_second_start
        .filter(|line| line.contains("seq"))
        .count();
    board.kill().unwrap();
    board.wait().unwrap();
    assert!(samples >= 7, "{samples}");
}

#[test]
fn a_crash_is_reported_by_the_next_boot() {
    for (kind, cause) in [
        ("null", "fault"),
        ("overflow", "stack"),
        ("panic", "panic"),
        ("hang", "watchdog"),
    ] {
        let mut command = qemu("load", &[format!("{kind}=9")]);
        let mut board = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(board.0.stdout.take().unwrap()).lines();
        // Each boot crashes anew, so they come for ever.
        let mut crashes = lines.map_while(Result::ok).filter_map(|line| {
            let is_first = line.contains(r#""service_name":"Crash""#) && !line.contains("age");
            is_first.then(|| reports(&line, "Crash").remove(0)["data"].clone())
        });
        let first = crashes.next().unwrap();
        assert_eq!(
            first,
            serde_json::json!({"status": 0, "cause": "none", "resets": 0})
        );
        for resets in 1..=2 {
            let data = crashes.next().unwrap();
            assert_eq!(
                (&data["cause"], &data["resets"]),
                (&cause.into(), &resets.into()),
                "{data}"
            );
            assert_eq!(data["uptime"], 3, "{data}");
            assert_ne!(data["stack1"], 0, "{data}");
            if kind == "null" {
                // It ran on at 0, from there.
                assert_eq!(data["pc"], 0, "{data}");
                let place = place_of(data["lr"].as_u64().unwrap());
                assert!(place.contains("call_null"), "{data}: {place}");
            }
        }
    }
}

/// Ends with the test, also if that fails: it would run for ever.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `mote crash` says of an address.
fn place_of(address: u64) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mote"))
        .args(["crash", "--elf", &image("load"), &format!("{address:#x}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the board until it stops by itself and gives what it sent.
fn run(arguments: &[String]) -> String {
    let output = qemu("load", arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn qemu(bin: &str, arguments: &[String]) -> Command {
    let arguments = arguments.iter().map(|it| format!(",arg={it}"));
    let semihosting = format!(
        "enable=on,target=native,arg={bin}{}",
        arguments.collect::<String>()
    );
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-icount", "shift=3,sleep=off"])
        .args(["-semihosting-config", &semihosting, "-kernel", &image(bin)])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    qemu
}

fn image(bin: &str) -> String {
    let image = image_named("mote-lm3s6965evb", "thumbv7m-none-eabi", bin);
    image.unwrap().display().to_string()
}

/// A service's reports that were sent when they were sampled.
fn reports(output: &str, service: &str) -> Vec<Value> {
    let reports = output.lines().filter_map(|line| {
        let (text, seal) = line.rsplit_once('*')?;
        assert_eq!(seal, format!("{:08X}", crc32fast::hash(text.as_bytes())));
        let report: Value = serde_json::from_str(text).unwrap();
        let fresh = report["service_name"] == service && report["age"].is_null();
        fresh.then_some(report)
    });
    reports.collect()
}
