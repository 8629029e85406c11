//! What agents post to the collector. The input is the body, in JSON or as form fields.
#![no_main]

// The parser alone: the library has it only together with the collector, and so with SQLite.
#[path = "../../../../linux-agent/src/collector/data.rs"]
mod data;
#[allow(dead_code)]
#[path = "../../../../linux-agent/src/collector/report.rs"]
mod report;

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::{client_name, protocol};
use mote_fuzz::assert_is_sentence;
use report::{MAX_BOOT_BYTES, Report, TIME_S};
use serde_json::{Map, Value, json};

fuzz_target!(|body: &[u8]| -> Corpus {
    let report = match Report::parse(body) {
        Ok(report) => report,
        Err(error) => {
            assert_is_sentence(&error);
            return Corpus::Keep;
        }
    };
    assert!((1..=protocol::MAX_NAME).contains(&report.service_name.len()));
    assert!(report.time.is_none_or(|it| TIME_S.contains(&it)));
    assert!(
        report
            .boot
            .as_ref()
            .is_none_or(|it| it.len() <= MAX_BOOT_BYTES)
    );
    assert!(report.seq.is_none_or(|it| it >= 0));
    serde_json::from_str::<Map<String, Value>>(report.data.get()).unwrap();
    // Written anew it is taken again, and says the same.
    let text = json!({
        "client_id": report.client_id,
        "service_name": report.service_name,
        "data": Value::Null,
        "boot": report.boot,
        "seq": report.seq,
    });
    let data = format!("\"data\":{}", report.data.get());
    let text = text.to_string().replacen("\"data\":null", &data, 1);
    let again = Report::parse(text.as_bytes()).unwrap();
    assert_eq!(again.client_id, report.client_id);
    assert_eq!(again.service_name, report.service_name);
    assert_eq!(again.data.get(), report.data.get());
    assert_eq!((again.boot, again.seq), (report.boot, report.seq));
    Corpus::Keep
});
