//! The services document as a board gets it: without white space, nothing but the services, on one sealed line.

use mote_core::{Config, ConfigError, frame};
use serde::ser::{Serialize, SerializeMap, Serializer};
use thiserror::Error;

use super::line::MAX_LINE;
use crate::protocol::{MAX_NAME, MAX_SERVICES};

/// Why a document is not sent to a board. It displays as the end of a sentence.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DocumentError {
    /// It is no services document.
    #[error("is not passed on: {0}")]
    Invalid(Box<ConfigError<MAX_NAME>>),
    /// The line would have this many bytes.
    #[error(
        "takes a line of {0} bytes, more than the {MAX_LINE} that a board reads; give it fewer services or shorter names"
    )]
    TooLarge(usize),
}

/// The line that carries what `document` orders.
pub fn line(document: &[u8]) -> Result<Vec<u8>, DocumentError> {
    // Read in place: by value it would take much stack.
    let mut config = Box::new(BoardConfig::new());
    config
        .read(document, |name| Box::from(name))
        .map_err(|error| DocumentError::Invalid(Box::new(error)))?;
    // Names and numbers can always be written.
    let mut line = serde_json::to_vec(&Compact(&config)).unwrap_or_default();
    line.extend_from_slice(&frame::seal_of(&line));
    match line.len() {
        0..=MAX_LINE => Ok(line),
        length => Err(DocumentError::TooLarge(length)),
    }
}

type BoardConfig = Config<Box<str>, MAX_SERVICES, MAX_NAME>;

struct Compact<'a>(&'a BoardConfig);

struct Services<'a>(&'a BoardConfig);

/// In seconds, as an integer where it is one: a line has little room.
struct Seconds(u32);

impl Serialize for Compact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("services", &Services(self.0))?;
        map.end()
    }
}

impl Serialize for Services<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let services = self.0.services();
        let mut map = serializer.serialize_map(Some(services.len()))?;
        for it in services {
            let interval = Seconds(it.interval.as_millis());
            map.serialize_entry(it.name.as_str(), &(&it.plugin, interval))?;
        }
        map.end()
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1000 {
            0 => serializer.serialize_u32(self.0 / 1000),
            _ => serializer.serialize_f64(f64::from(self.0) / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str) -> Result<String, String> {
        let line = line(document.as_bytes()).map_err(|error| error.to_string())?;
        let text = frame::open(line.strip_suffix(b"\n").unwrap()).unwrap();
        Ok(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn nothing_but_the_services_is_left_in_their_order() {
        assert_eq!(
            text(
                r#" {"id": 7, "services": { "McuRam": ["get_mcu_ram", 60.0, "echo"],
                    "Mc\u00f6\"": ["get_mcu_load" , 5], "B": ["x", 0.25] }, "more": [{}] } "#
            )
            .unwrap(),
            r#"{"services":{"McuRam":["get_mcu_ram",60],"Mcö\"":["get_mcu_load",5],"B":["x",0.25]}}"#
        );
        assert_eq!(text(r#"{"services": {}}"#).unwrap(), r#"{"services":{}}"#);
    }

    #[test]
    fn what_is_no_document_is_not_passed_on() {
        assert_eq!(
            text("<html>").unwrap_err(),
            "is not passed on: not a services document in JSON"
        );
        assert_eq!(
            text(r#"{"services": {"A": ["p", 0]}}"#).unwrap_err(),
            "is not passed on: service \"A\": the interval must be a number from 0.1 s to 604800 s"
        );
    }

    #[test]
    fn a_line_has_its_limit() {
        // {"services":{"…":["p",1]}} and the seal take 35 bytes, each name after the first 13 and its length.
        let document = |last: usize| {
            let names = [
                "a".repeat(200),
                "b".repeat(200),
                "c".repeat(200),
                "d".repeat(200),
                "e".repeat(last),
            ];
            let services: Vec<_> = names
                .iter()
                .map(|name| format!("\"{name}\":[\"p\",1]"))
                .collect();
            format!("{{\"services\":{{{}}}}}", services.join(","))
        };
        let fits = 1024 - document(0).len() - frame::SEAL;
        assert_eq!(line(document(fits).as_bytes()).unwrap().len(), 1024);
        let error = line(document(fits + 1).as_bytes());
        assert_eq!(error, Err(DocumentError::TooLarge(1025)));
    }
}
