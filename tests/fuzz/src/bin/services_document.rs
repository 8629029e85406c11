//! What a server orders. The input is the document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_agent::gateway::document;
use mote_agent::orders;
use mote_agent::protocol::{MAX_NAME, MAX_SERVICES};
use mote_core::{Config, Interval, frame};
use mote_fuzz::assert_is_sentence;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let allowed = ["own".to_owned()];
    let small = Config::<(), 8, 31>::parse(text, |_| ());
    let orders = match orders::parse(text, &allowed) {
        Ok(orders) => orders,
        Err(error) => {
            assert_is_sentence(&error);
            assert!(small.is_err(), "a board takes what a host does not");
            return;
        }
    };
    assert!(orders.services().len() <= MAX_SERVICES);
    let mut again = Vec::new();
    for it in orders.services() {
        assert!((1..=MAX_NAME).contains(&it.name.len()));
        assert!((1..=MAX_NAME).contains(&it.plugin.name().len()));
        assert!((Interval::MIN..=Interval::MAX).contains(&it.interval));
        let name = serde_json::to_string(it.name.as_str()).unwrap();
        let order = (
            it.plugin.name(),
            f64::from(it.interval.as_millis()) / 1000.0,
        );
        again.push(format!("{name}:{}", serde_json::to_string(&order).unwrap()));
    }
    // Written anew, whole and as a board gets it, it says the same.
    let again = format!("{{\"services\":{{{}}}}}", again.join(","));
    assert_eq!(
        orders::parse(again.as_bytes(), &allowed).as_ref(),
        Ok(&orders)
    );
    if let Ok(line) = document::line(text) {
        let line = frame::open(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(orders::parse(line, &allowed).as_ref(), Ok(&orders));
    }
    // Another reader of JSON sees the same services.
    if let Ok(Value::Object(document)) = serde_json::from_slice(text) {
        let services = document["services"].as_object().unwrap();
        assert_eq!(services.len(), orders.services().len());
        for it in orders.services() {
            assert_eq!(services[it.name.as_str()][0], it.plugin.name());
        }
    }
});
