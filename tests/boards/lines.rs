//! The lines of boards, taken apart and put together by another road than mote's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use mote_test_support::need;
use mote_test_support::qemu::{self, converse};
use serde_json::{Value, json};

/// Answers an image on its machine as a host does, until `done` with what the board wrote; none if the test is skipped.
pub fn talk(
    package: &str,
    target: &str,
    machine: impl Fn(&Path) -> Command,
    orders: &Value,
    done: impl Fn(&[u8]) -> bool,
) -> Option<(PathBuf, Vec<u8>)> {
    let image = need(package, qemu::image(package, target))?;
    let mut answered = 0;
    let output = converse(machine(&image), |written, line| {
        let said = messages(written);
        for message in said.iter().skip(answered) {
            if message["get"] == "services" {
                line.write_all(&sealed(orders)).unwrap();
            } else if message["seq"].is_u64() {
                line.write_all(&sealed(&json!({"ack": message["seq"]})))
                    .unwrap();
            }
        }
        answered = said.len();
        done(written)
    });
    Some((image, need(package, output)?))
}

/// The reports of a service come at equal distances.
pub fn assert_grid(reports: &[Value], interval_s: u64) {
    let uptimes: Vec<u64> = reports
        .iter()
        .map(|it| it["uptime"].as_u64().unwrap())
        .collect();
    assert!(uptimes.len() >= 3, "{uptimes:?}");
    for pair in uptimes.windows(2) {
        assert_eq!(pair[1] - pair[0], interval_s, "{uptimes:?}");
    }
}

/// A service's reports, each once, in the order of their samples.
pub fn reports(output: &[u8], service: &str) -> Vec<Value> {
    let mut reports = messages(output);
    reports.retain(|it| it["service_name"] == service);
    // The board's time runs ahead of the answers here, so it may send one again; its number tells.
    let seq = |it: &Value| it["seq"].as_u64();
    reports.sort_by_key(seq);
    reports.dedup_by_key(|it| seq(it));
    reports
}

/// The texts of all whole lines. Every one has a good seal, by another's checksum.
pub fn messages(output: &[u8]) -> Vec<Value> {
    let whole = output
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|it| it.strip_suffix(b"\n"))
        // It begins with the end of what it may have been saying before its reset.
        .filter(|it| !it.is_empty());
    let texts = whole.map(|line| {
        let (text, seal) = line.split_at(line.len() - 9);
        assert_eq!(seal, format!("*{:08X}", crc32fast::hash(text)).as_bytes());
        serde_json::from_slice(text).unwrap()
    });
    texts.collect()
}

pub fn sealed(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    format!("{text}*{:08X}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}
