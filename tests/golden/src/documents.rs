//! Services documents: what is read from good ones, and how bad ones are refused.

use mote_core::{Config, Name};

use crate::Out;

/// One document a line.
const DOCUMENTS: &[u8] = include_bytes!("../documents.txt");

/// What cannot stand in a file of text: bytes that are no UTF-8, a zero at the end, a mark of byte order.
const BYTES: [(&str, &[u8]); 3] = [
    ("no UTF-8", b"{\"services\":{\"A\xFF\":[\"p\",1]}}"),
    ("a zero", b"{\"services\":{\"A\":[\"p\",1]}}\0"),
    ("a mark", b"\xEF\xBB\xBF{\"services\":{}}"),
];

/// As large as a board's by default.
pub type Orders = Config<Name<23>, 8, 23>;

pub fn transcribe(out: &mut Out<'_>) {
    out.text(
        "# documents: name, plugin and interval in milliseconds of each service, or the refusal",
    )
    .end();
    let documents = DOCUMENTS
        .strip_suffix(b"\n")
        .unwrap_or(DOCUMENTS)
        .split(|byte| *byte == b'\n');
    for document in documents {
        out.text("< ").bytes(document).end();
        result(out, document);
    }
    for (name, document) in BYTES {
        out.text("< ").text(name).end();
        result(out, document);
    }
}

fn result(out: &mut Out<'_>, document: &[u8]) {
    match parse(document) {
        Ok(orders) => {
            for service in orders.services() {
                out.text(&service.name).text(" | ").text(&service.plugin);
                let interval_ms = service.interval.as_millis();
                out.text(" | ").number(interval_ms.into()).end();
            }
            out.text("taken").end();
        }
        Err(error) => {
            out.text("refused: ").text(error.fault.keyword());
            if let Some(name) = &error.service {
                out.text(" of ").text(name);
            }
            out.end();
        }
    }
}

pub fn parse(document: &[u8]) -> Result<Orders, mote_core::ConfigError<23>> {
    // A plugin's name is no longer than a service's.
    Orders::parse(document, |plugin| plugin.parse().unwrap_or_default())
}
