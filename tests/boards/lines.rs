//! The lines of boards, taken apart and put together by another road than mote's own.

use serde_json::Value;

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
