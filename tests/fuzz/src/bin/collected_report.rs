//! What agents post to the collector. The input is the body, in JSON or as form fields.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::collector::{CollectedReport, MAX_BOOT_BYTES, TIME_S};
use mote_agent::protocol;
use mote_fuzz::assert_is_sentence;
use serde_json::{Map, Value, json};

fuzz_target!(|body: &[u8]| -> Corpus {
    let report = match CollectedReport::parse(body) {
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
    let again = CollectedReport::parse(text.as_bytes()).unwrap();
    assert_eq!(again.client_id, report.client_id);
    assert_eq!(again.service_name, report.service_name);
    assert_eq!(again.data.get(), report.data.get());
    assert_eq!((again.boot, again.seq), (report.boot, report.seq));
    Corpus::Keep
});
