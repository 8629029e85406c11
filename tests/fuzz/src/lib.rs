//! What the targets share. Each is a file in `src/bin`, with its seeds in `corpus` under the same name and, where
//! words help, a dictionary in `dictionaries`.
//!
//! Seeds are the files of `tests/fixtures`, each behind the letter of its parser, documents and lines as the README and
//! the unit tests have them, and inputs that made a target fail once.

use mote_agent::probes::MAX_REPORT;
use mote_core::{ClientId, Envelope, Stamp};
use serde::Serialize;
use serde_json::Value;

/// The envelope of every report here.
pub const ENVELOPE: Envelope<'static> = Envelope {
    client_id: ClientId::Number(1),
    service_name: "Fuzz",
    stamp: Stamp::Uptime {
        seconds: 1,
        millis: None,
        age: 0,
        boot: None,
    },
    seq: 1,
};

/// The data as a server gets it: written as a report, and read as JSON by others' code. None if it is too large.
pub fn reported(data: &impl Serialize) -> Option<Value> {
    let mut buffer = vec![0; MAX_REPORT];
    let length = ENVELOPE.encode(data, &mut buffer).ok()?;
    Some(data_of(&buffer[..length]))
}

/// The data of a report, which must be JSON.
pub fn data_of(report: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(report) {
        Ok(report) => report["data"].clone(),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(report)),
    }
}

/// An error is one sentence on one line, however it came about.
pub fn assert_is_sentence(error: &impl std::fmt::Display) {
    let error = error.to_string();
    assert!(
        !error.is_empty() && !error.contains(char::is_control),
        "{error:?}"
    );
}
