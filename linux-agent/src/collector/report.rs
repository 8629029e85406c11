//! A report as it arrives: a JSON body or form fields, from agents of this and of older kinds.

use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer};
use serde_json::Map;
use serde_json::error::Category;
use serde_json::value::{RawValue, Value};
use thiserror::Error;

use crate::client_name::ClientName;
use crate::protocol::{MAX_NAME, is_text};

/// Longest boot id, in bytes.
pub const MAX_BOOT_BYTES: usize = 128;

/// A run numbers its reports below this. At a thousand a second that is 34 years, so what is beyond was never counted, and
/// would make as many reports seem lost.
pub const SEQ_END: i64 = 1 << 40;

/// Times of samples, in seconds since 1970-01-01 00:00 UTC, up to the end of the year 9999: later dates are not
/// written alike everywhere.
pub const TIME_S: RangeInclusive<f64> = 0.0..=253_402_300_799.0;

/// A valid report.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Who sent it. Not checked yet to be one of the hosts.
    #[serde(deserialize_with = "plain")]
    pub client_id: ClientName,
    /// Of which service: 1 to [`MAX_NAME`] bytes, as agents have it.
    pub service_name: String,
    /// A JSON object, as it was sent: numbers keep their digits, fields their order.
    pub data: Box<RawValue>,
    /// When it was sampled; within [`TIME_S`].
    pub time: Option<f64>,
    /// When it was sampled, in seconds since the client started.
    pub uptime: Option<f64>,
    /// The client's run, at most [`MAX_BOOT_BYTES`] bytes.
    pub boot: Option<String>,
    /// Its number in that run; below [`SEQ_END`].
    pub seq: Option<i64>,
    /// Why there is no data: what `data` has under this name.
    #[serde(skip)]
    pub error: Option<String>,
}

/// Why a body is no report: one sentence for the sender.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Report {
    /// Reads a body: what begins with `{` is one JSON object, anything else form fields, `data` being the object as JSON
    /// text. Clients of the family send JSON under any type, or under none. Fields that it does not know are left out.
    pub fn parse(body: &[u8]) -> Result<Report, Invalid> {
        // A derived reader would also take an array of the values.
        let mut report: Report = if is_object(body) {
            serde_json::from_slice(body).map_err(|cause| fault(body, &cause))?
        } else {
            from_form(body)?
        };
        report.error = report.check()?;
        Ok(report)
    }

    /// Gives the `error` in its data.
    fn check(&self) -> Result<Option<String>, Invalid> {
        if self.service_name.is_empty() || !is_text(&self.service_name, MAX_NAME) {
            return Err(Invalid(format!(
                "service_name is not a text of 1 to {MAX_NAME} bytes without control \
                 characters"
            )));
        }
        let is_boot = |boot| is_text(boot, MAX_BOOT_BYTES);
        if !self.boot.as_deref().is_none_or(is_boot) {
            return Err(Invalid(format!(
                "boot is not a text of at most {MAX_BOOT_BYTES} bytes without control characters"
            )));
        }
        if !self.time.is_none_or(|time| TIME_S.contains(&time)) {
            return Err(Invalid(format!(
                "time is not within {} to {} s since 1970-01-01 00:00 UTC",
                TIME_S.start(),
                TIME_S.end()
            )));
        }
        if !self.uptime.is_none_or(f64::is_finite) {
            return Err(Invalid("uptime is not a finite number".to_owned()));
        }
        if !self.seq.is_none_or(|seq| (0..SEQ_END).contains(&seq)) {
            return Err(Invalid(format!(
                "seq is not within 0 to {}; number the reports of a run from 0",
                SEQ_END - 1
            )));
        }
        super::data::check(&self.data).map_err(|cause| match cause.classify() {
            Category::Data => Invalid(format!("data is no JSON object; {SUCH_AS}")),
            _ => not_json("data", &cause),
        })
    }
}

#[derive(Deserialize)]
struct FormFields {
    #[serde(deserialize_with = "plain")]
    client_id: ClientName,
    service_name: String,
    data: String,
    time: Option<f64>,
    uptime: Option<f64>,
    boot: Option<String>,
    seq: Option<i64>,
}

/// Here `7` and `"7"` are one client: a form and the path of a URL cannot tell them apart.
fn plain<'de, D: Deserializer<'de>>(from: D) -> Result<ClientName, D::Error> {
    let client = ClientName::deserialize(from)?;
    Ok(ClientName::from_text(&client.to_string()))
}

fn from_form(body: &[u8]) -> Result<Report, Invalid> {
    let fields: FormFields = serde_urlencoded::from_bytes(body).map_err(|_| form_fault(body))?;
    let data = RawValue::from_string(fields.data).map_err(|cause| not_json("data", &cause))?;
    Ok(Report {
        client_id: fields.client_id,
        service_name: fields.service_name,
        data,
        time: fields.time,
        uptime: fields.uptime,
        boot: fields.boot,
        seq: fields.seq,
        error: None,
    })
}

/// What the parser's error means to whoever wrote the body.
fn fault(body: &[u8], cause: &serde_json::Error) -> Invalid {
    if cause.classify() != Category::Data {
        return not_json("the body", cause);
    }
    let fields = serde_json::from_slice(body).ok();
    wrong_field(&fields.unwrap_or_default())
}

fn wrong_field(fields: &Map<String, Value>) -> Invalid {
    let mut checks = FIELDS.iter();
    let wrong =
        checks.find(|(name, _, is_right)| !is_right(fields.get(*name).unwrap_or(&Value::Null)));
    Invalid(match wrong {
        Some((name, what, _)) => format!("{name} is not {what}; {SUCH_AS}"),
        None => format!("the body is no report; {SUCH_AS}"),
    })
}

/// The same of form fields, whose parser names none.
fn form_fault(body: &[u8]) -> Invalid {
    let mut fields = Map::new();
    for (name, text) in form_urlencoded::parse(body) {
        if !FIELDS.iter().any(|(known, ..)| *known == name) {
            continue;
        }
        let number = || {
            let whole = text.parse::<i64>().ok().map(Value::from);
            whole.or_else(|| {
                Some(Value::from(
                    text.parse().ok().filter(|it: &f64| it.is_finite())?,
                ))
            })
        };
        let value = match &*name {
            // What JSON it is, is looked at later.
            "data" => Some(Value::Object(Map::new())),
            "time" | "uptime" | "seq" => number(),
            _ => None,
        };
        let value = value.unwrap_or_else(|| Value::from(&*text));
        if fields.insert(name.to_string(), value).is_some() {
            return Invalid(format!("{name} stands there more than once; send it once"));
        }
    }
    if fields.is_empty() {
        return Invalid(format!(
            "the body is neither a report as a JSON object nor one as form fields; {SUCH_AS}"
        ));
    }
    wrong_field(&fields)
}

/// For whoever sends another.
const SUCH_AS: &str =
    "send such as {\"client_id\": 1, \"service_name\": \"CPU\", \"data\": {\"user\": 1.5}}";

/// What each field has to be; what may be left out may be null.
type Check = (&'static str, &'static str, fn(&Value) -> bool);

const FIELDS: [Check; 7] = [
    ("client_id", "a whole number below 2^32 or a name", |it| {
        ClientName::deserialize(it).is_ok()
    }),
    ("service_name", "a text", Value::is_string),
    ("data", "a JSON object", Value::is_object),
    ("time", "a number", |it| it.is_number() || it.is_null()),
    ("uptime", "a number", |it| it.is_number() || it.is_null()),
    ("boot", "a text", |it| it.is_string() || it.is_null()),
    ("seq", "a whole number", |it| it.is_i64() || it.is_null()),
];

fn not_json(what: &str, cause: &serde_json::Error) -> Invalid {
    let (line, column) = (cause.line(), cause.column());
    Invalid(match cause.classify() {
        Category::Eof => format!("{what} ends within its JSON; send all of it"),
        _ => format!(
            "{what} is no JSON at line {line}, column {column}; write it with a JSON library"
        ),
    })
}

/// Whether a JSON text is an object, if it is a JSON text.
pub fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

#[cfg(test)]
mod tests;
