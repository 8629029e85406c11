//! What boards say: the text of a sealed line, read strictly.
//!
//! ```text
//! {"client_id":7,"service_name":"McuLoad","data":{"status":0},"uptime":3600,"age":12,"seq":17}
//! {"client_id":7,"service_name":"Fast","data":{"status":0},"uptime":3600,"uptime_ms":3600250,"seq":18}
//! {"client_id":7,"get":"services","uptime":3700}
//! {"client_id":7,"refused":"interval","service":"McuLoad"}
//! ```

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::protocol::{MAX_NAME, is_text};
use crate::settings::ClientName;

/// The longest line in either direction, its seal included, in bytes.
pub const MAX_LINE: usize = 1024;

/// The longest id of a run that a board may give, in bytes.
pub const MAX_BOOT: usize = 128;

/// The longest keyword for what is wrong with a services document, in bytes.
pub const MAX_FAULT: usize = 64;

/// What a board says.
#[derive(Debug)]
pub enum BoardMessage<'a> {
    /// A sample.
    Report(BoardReport<'a>),
    /// It asks for its services document.
    Ask {
        /// Its uptime now, in seconds.
        uptime_s: Option<u32>,
    },
    /// It does not follow its services document.
    Refusal {
        /// What is wrong with it: a keyword.
        fault: Cow<'a, str>,
        /// The service that is wrong, if it is one.
        service: Option<Cow<'a, str>>,
    },
}

/// A sample of a board.
#[derive(Debug)]
pub struct BoardReport<'a> {
    /// The name of its service.
    pub service: Cow<'a, str>,
    /// The board's uptime when it was sampled, in seconds.
    pub uptime_s: u32,
    /// How much later than that second it was, in milliseconds.
    pub after_ms: u16,
    /// How long the board kept it before it sent this line, in seconds.
    pub age_s: u32,
    /// The board's own id of its run.
    pub boot: Option<Cow<'a, str>>,
    /// The report's `seq`.
    pub seq: u32,
    data: &'a RawValue,
}

/// Why a sealed line is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It claims to come from another client.
    Foreign,
    /// It is no known message.
    Unknown,
}

/// Reads the text of a sealed line that came from the board of `client`.
pub fn read<'a>(text: &'a [u8], client: &ClientName) -> Result<BoardMessage<'a>, Rejected> {
    let fields = fields(text).ok_or(Rejected::Unknown)?;
    let message = fields.message().ok_or(Rejected::Unknown)?;
    match fields.client_id == *client {
        true => Ok(message),
        false => Err(Rejected::Foreign),
    }
}

/// Writes the text of a report and, before its closing brace, `time` and, if the board gives none, `boot`.
pub fn stamp(text: &[u8], unix_ms: u64, boot: Option<&str>, out: &mut Vec<u8>) {
    let text = text.trim_ascii_end();
    out.clear();
    out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
    // Writing to memory cannot fail. The run's id is hexadecimal.
    let _ = write!(out, ",\"time\":{}.{:03}", unix_ms / 1000, unix_ms % 1000);
    if let Some(boot) = boot {
        let _ = write!(out, ",\"boot\":\"{boot}\"");
    }
    out.push(b'}');
}

impl BoardReport<'_> {
    /// A hash of what was sampled. It tells a report that comes again from another one with the same number.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.service.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(self.data.get().as_bytes());
        hasher.finish()
    }
}

/// Every known field. A field that comes twice, `null` and unknown fields are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    client_id: ClientName,
    #[serde(borrow, default, deserialize_with = "not_null")]
    service_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "not_null")]
    uptime: Option<u32>,
    /// Modulo 2³².
    #[serde(default, deserialize_with = "not_null")]
    uptime_ms: Option<u32>,
    #[serde(default, deserialize_with = "not_null")]
    age: Option<u32>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    boot: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "not_null")]
    seq: Option<u32>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    get: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    refused: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    service: Option<Cow<'a, str>>,
}

fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn fields(text: &[u8]) -> Option<Fields<'_>> {
    // serde would also take an array of the values.
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let fields = is_object.then(|| serde_json::from_slice(text));
    fields?.ok()
}

impl<'a> Fields<'a> {
    fn message(&self) -> Option<BoardMessage<'a>> {
        match self {
            Fields {
                get: Some(get),
                service_name: None,
                data: None,
                age: None,
                boot: None,
                seq: None,
                refused: None,
                service: None,
                uptime_ms: None,
                uptime,
                ..
            } => (get == "services").then_some(BoardMessage::Ask { uptime_s: *uptime }),
            Fields {
                refused: Some(fault),
                service,
                get: None,
                service_name: None,
                data: None,
                age: None,
                boot: None,
                seq: None,
                uptime: None,
                uptime_ms: None,
                ..
            } => {
                let is_good = is_text(fault, MAX_FAULT)
                    && service.as_ref().is_none_or(|it| is_text(it, MAX_NAME));
                is_good.then(|| BoardMessage::Refusal {
                    fault: fault.clone(),
                    service: service.clone(),
                })
            }
            Fields {
                get: None,
                refused: None,
                service: None,
                service_name: Some(service),
                data: Some(data),
                uptime: Some(uptime_s),
                uptime_ms,
                seq: Some(seq),
                age,
                boot,
                ..
            } => {
                // Both are of one instant.
                let second_ms = uptime_s.wrapping_mul(1000);
                let after_ms = uptime_ms.map_or(0, |it| it.wrapping_sub(second_ms));
                let is_good = is_text(service, MAX_NAME)
                    && after_ms < 1000
                    && !service.is_empty()
                    && boot.as_ref().is_none_or(|boot| is_text(boot, MAX_BOOT))
                    && is_data(data);
                is_good.then(|| {
                    BoardMessage::Report(BoardReport {
                        service: service.clone(),
                        uptime_s: *uptime_s,
                        after_ms: after_ms as u16,
                        age_s: age.unwrap_or(0),
                        boot: boot.clone(),
                        seq: *seq,
                        data,
                    })
                })
            }
            _ => None,
        }
    }
}

/// Checks for an object with an integer `status`, all of whose numbers are finite.
fn is_data(data: &RawValue) -> bool {
    let data = serde_json::from_str::<Map<String, Value>>(data.get());
    data.is_ok_and(|data| data.get("status").is_some_and(Value::is_i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str =
        r#"{"client_id":7,"service_name":"Load","data":{"status":0},"uptime":9,"seq":17}"#;

    fn said(text: &str) -> Result<String, Rejected> {
        read(text.as_bytes(), &ClientName::Number(7)).map(|message| match message {
            BoardMessage::Ask { uptime_s } => format!("ask {uptime_s:?}"),
            BoardMessage::Refusal { fault, service } => format!("refusal {fault} {service:?}"),
            BoardMessage::Report(it) => format!(
                "{} {}+{} {} {:?} {} {}",
                it.service, it.uptime_s, it.after_ms, it.age_s, it.boot, it.seq, it.data
            ),
        })
    }

    #[test]
    fn reports_and_asks_are_read() {
        for (text, message) in [
            (REPORT, r#"Load 9+0 0 None 17 {"status":0}"#),
            (
                &REPORT.replace(":9", ":9,\"uptime_ms\":9999"),
                r#"Load 9+999 0 None 17 {"status":0}"#,
            ),
            // Its milliseconds have gone through 32 bits.
            (
                &REPORT.replace(":9", ":4294968,\"uptime_ms\":705"),
                r#"Load 4294968+1 0 None 17 {"status":0}"#,
            ),
            (
                r#"{"client_id":7,"refused":"interval","service":"Load"}"#,
                r#"refusal interval Some("Load")"#,
            ),
            (
                r#"{"client_id":7,"refused":"no-services"}"#,
                "refusal no-services None",
            ),
            (
                r#" { "seq" : 1, "boot": "b", "age": 3, "uptime": 4294967295, "data": {"a": [1e3], "status": -5}, "service_name": "\u00f6\"", "client_id": 7 } "#,
                r#"ö" 4294967295+0 3 Some("b") 1 {"a": [1e3], "status": -5}"#,
            ),
            (
                r#"{"client_id":7,"get":"services","uptime":3700}"#,
                "ask Some(3700)",
            ),
            (r#"{"client_id":7,"get":"services"}"#, "ask None"),
        ] {
            assert_eq!(said(text), Ok(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_name_is_no_number() {
        let named = REPORT.replace('7', "\"7\"").replace("1\"7\"", "17");
        let name = ClientName::Name("7".to_owned());
        assert!(read(named.as_bytes(), &name).is_ok());
        assert_eq!(said(&named), Err(Rejected::Foreign));
        let refused = read(REPORT.as_bytes(), &name).map(drop);
        assert_eq!(refused, Err(Rejected::Foreign));
    }

    #[test]
    fn another_client_s_lines_are_foreign() {
        for text in [
            REPORT.replace(":7", ":8"),
            r#"{"client_id":1,"get":"services"}"#.to_owned(),
        ] {
            assert_eq!(said(&text), Err(Rejected::Foreign), "{text}");
        }
    }

    #[test]
    fn whatever_else_is_sealed_is_unknown() {
        let change = |from: &str, to: &str| {
            assert!(REPORT.contains(from), "{from}");
            REPORT.replace(from, to)
        };
        let array = r#"[7,"Load",{"status":0},9,0,"b",17]"#;
        for text in [
            String::new(),
            "{}".to_owned(),
            "boot: ok".to_owned(),
            array.to_owned(),
            format!("{REPORT}{REPORT}"),
            change(":9", ":-9"),
            change(":9", ":9.5"),
            change(":9", ":4294967296"),
            change(":9", ":null"),
            change(":9", ":9,\"uptime_ms\":10000"),
            change(":9", ":9,\"uptime_ms\":8999"),
            change(":9", ":9,\"uptime_ms\":null"),
            change(":9", ":\"9\""),
            change(":17", ":4294967296"),
            change("\"seq\"", "\"sec\""),
            change(",\"seq\":17", ""),
            change("\"seq\":17", "\"seq\":17,\"seq\":18"),
            change("\"seq\":17", "\"seq\":17,\"time\":5"),
            change("\"seq\":17", "\"seq\":17,\"boot\":null"),
            change("\"seq\":17", "\"seq\":17,\"get\":\"services\""),
            change("\"seq\":17", "\"seq\":17,\"boot\":\"\\u0000\""),
            change("\"Load\"", "\"\""),
            change("\"Load\"", "\"a\\nb\""),
            change(
                "\"seq\":17",
                &format!("\"seq\":17,\"boot\":{:?}", "b".repeat(129)),
            ),
            change("\"Load\"", &format!("{:?}", "x".repeat(201))),
            change("{\"status\":0}", "[0]"),
            change("{\"status\":0}", "{}"),
            change("{\"status\":0}", "{\"status\":0.5}"),
            change("{\"status\":0}", "{\"status\":0,\"a\":1e999}"),
            change("{\"status\":0}", "{\"status\":\"0\"}"),
            change(
                "{\"status\":0}",
                &format!(
                    "{{\"status\":0,\"a\":{0}1{1}}}",
                    "[".repeat(200),
                    "]".repeat(200)
                ),
            ),
            r#"{"client_id":7,"get":"service"}"#.to_owned(),
            r#"{"client_id":7,"get":"services","seq":1}"#.to_owned(),
            r#"{"client_id":-7,"get":"services"}"#.to_owned(),
            r#"{"get":"services"}"#.to_owned(),
        ] {
            assert_eq!(said(&text), Err(Rejected::Unknown), "{text}");
        }
        let not_text = change("Load", "Lo\u{1}d")
            .replace('\u{1}', "x")
            .into_bytes();
        let not_text: Vec<u8> = not_text
            .iter()
            .map(|it| if *it == b'x' { 0xff } else { *it })
            .collect();
        let read = read(&not_text, &ClientName::Number(7)).map(drop);
        assert_eq!(read, Err(Rejected::Unknown));
    }

    #[test]
    fn a_stamp_goes_before_the_closing_brace() {
        let mut out = b"old".to_vec();
        stamp(b"{\"seq\":1} ", 1_795_339_484_086, Some("5d1f"), &mut out);
        assert_eq!(out, br#"{"seq":1,"time":1795339484.086,"boot":"5d1f"}"#);
        stamp(b"{\"boot\":\"b\"}", 5, None, &mut out);
        assert_eq!(out, br#"{"boot":"b","time":0.005}"#);
    }

    #[test]
    fn the_digest_is_of_service_and_data() {
        let digest = |text: &str| match read(text.as_bytes(), &ClientName::Number(7)) {
            Ok(BoardMessage::Report(report)) => report.digest(),
            other => panic!("{other:?}"),
        };
        let same = REPORT.replace(":9", ":9,\"age\":5");
        assert_eq!(digest(REPORT), digest(&same));
        for (from, to) in [("Load", "Loaf"), (":0}", ":1}")] {
            assert_ne!(digest(REPORT), digest(&REPORT.replace(from, to)));
        }
    }
}
