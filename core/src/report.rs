//! One report: what a client says of one service at one instant, as JSON bytes.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::json::{self, TooLarge};

/// Who reports: the number or the name that the server knows this client by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientId<'a> {
    /// A server's primary key.
    Number(u32),
    /// A name chosen by the operator.
    Name(&'a str),
}

impl Serialize for ClientId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(*self).serialize(serializer)
    }
}

/// The value of a field. Boards write all fields as this one type: each other type costs a writer of its own, of some
/// 100 bytes of flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number that is never negative.
    Number(u32),
    /// A number that may be negative.
    Signed(i32),
    /// Text.
    Text(&'a str),
}

impl<'a> From<ClientId<'a>> for Value<'a> {
    fn from(client_id: ClientId<'a>) -> Self {
        match client_id {
            ClientId::Number(number) => Value::Number(number),
            ClientId::Name(name) => Value::Text(name),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Number(number) => serializer.serialize_u32(*number),
            Value::Signed(number) => serializer.serialize_i32(*number),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// An object of names and their values. With a [`Status`] as its first field it is the data of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The first field.
    pub status: Option<Status>,
    /// The names of the others, with a space between: on a board a table of them takes as much flash as they do.
    pub names: &'static str,
    /// The values of the first of them.
    pub values: &'a [Value<'a>],
    /// The values of those that follow. A name without a value is left out.
    pub numbers: &'a [u32],
}

impl<'a> Fields<'a> {
    /// The data of a sample that did not fail.
    pub const fn ok(names: &'static str, values: &'a [Value<'a>], numbers: &'a [u32]) -> Self {
        Fields {
            status: Some(Status::OK),
            names,
            values,
            numbers,
        }
    }
}

impl Serialize for Fields<'_> {
    #[inline(never)] // there are many that call it
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Fields", 1)?;
        if let Some(status) = self.status {
            object.serialize_field("status", &Value::Signed(status.0))?;
        }
        let numbers = self.numbers.iter().copied().map(Value::Number);
        let mut names = Words(self.names);
        for value in self.values.iter().copied().chain(numbers) {
            let Some(name) = names.next() else {
                break;
            };
            object.serialize_field(name, &value)?;
        }
        object.end()
    }
}

/// Words with a space between.
#[derive(Clone, Copy, Debug)]
pub struct Words(pub &'static str);

impl Iterator for Words {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        let end = self.0.bytes().position(|byte| byte == b' ');
        let (word, rest) = self.0.split_at_checked(end.unwrap_or(self.0.len()))?;
        let mut rest = rest.chars();
        rest.next();
        self.0 = rest.as_str();
        (!word.is_empty()).then_some(word)
    }
}

/// When, and in which run of the client, a report was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp<'a> {
    /// A host, which knows the time of day and gives each of its runs an id.
    #[cfg(feature = "decimal")]
    Clock {
        /// Milliseconds since 1970-01-01 00:00 UTC; written as seconds with decimals.
        unix_ms: u64,
        /// An id of this run. It stands in JSON as it is.
        boot: &'a str,
    },
    /// A board without a clock.
    Uptime {
        /// Seconds from reset to the sample.
        seconds: u32,
        /// The same in milliseconds modulo 2³², where seconds do not tell samples apart.
        millis: Option<u32>,
        /// Seconds since the sample; written only if it is not 0, which is when the report had to wait.
        age: u32,
        /// An id of this run, where the board can tell its runs apart.
        boot: Option<&'a str>,
    },
}

/// Who reports which service of which run: everything of a report but its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The client as the server knows it.
    pub client_id: ClientId<'a>,
    /// The service as the server named it.
    pub service_name: &'a str,
    /// When it was sampled.
    pub stamp: Stamp<'a>,
    /// Counts up by one over everything this run sampled, so that a gap proves a loss.
    pub seq: u32,
}

impl Envelope<'_> {
    /// Writes the report with `data` into `buffer` and gives its length in bytes.
    ///
    /// `data` is a struct whose first field is a [`Status`]. It must hold no `Option` that is `None` without being
    /// skipped, and no number that is not finite: JSON has neither. Nor may it hold `char`, bytes, variants with
    /// fields, or types whose `Serialize` can fail: serde-json-core panics at them, or writes invalid JSON.
    pub fn encode<D: Serialize>(&self, data: &D, buffer: &mut [u8]) -> Result<usize, TooLarge> {
        let report = Report {
            envelope: self,
            data,
        };
        json::to_slice(&report, buffer)
    }
}

struct Report<'a, D> {
    envelope: &'a Envelope<'a>,
    data: &'a D,
}

impl<D: Serialize> Serialize for Report<'_, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report { envelope, data } = self;
        let mut report = serializer.serialize_struct("Report", 8)?;
        report.serialize_field("client_id", &Value::from(envelope.client_id))?;
        report.serialize_field("service_name", &Value::Text(envelope.service_name))?;
        report.serialize_field("data", data)?;
        match envelope.stamp {
            #[cfg(feature = "decimal")]
            Stamp::Clock { unix_ms, boot } => {
                // Exact to the millisecond until the year 287396.
                report.serialize_field("time", &(unix_ms as f64 / 1000.0))?;
                report.serialize_field("boot", boot)?;
            }
            Stamp::Uptime {
                seconds,
                millis,
                age,
                boot,
            } => {
                report.serialize_field("uptime", &Value::Number(seconds))?;
                if let Some(millis) = millis {
                    report.serialize_field("uptime_ms", &Value::Number(millis))?;
                }
                if age > 0 {
                    report.serialize_field("age", &Value::Number(age))?;
                }
                if let Some(boot) = boot {
                    report.serialize_field("boot", &Value::Text(boot))?;
                }
            }
        }
        report.serialize_field("seq", &Value::Number(envelope.seq))?;
        report.end()
    }
}

/// `0`: the other fields of the data are valid. Anything else: they are not, and `error` says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Status(pub i32);

impl Status {
    /// The fields are valid.
    pub const OK: Status = Status(0);
    /// The sample failed for a reason that has no number of its own.
    pub const FAILED: Status = Status(1);
}

/// The data of a sample that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// Not [`Status::OK`].
    pub status: Status,
    /// One plain sentence.
    pub error: &'a str,
}

impl<'a> Failure<'a> {
    /// A failure without a number of its own.
    pub const fn new(error: &'a str) -> Self {
        Failure {
            status: Status::FAILED,
            error,
        }
    }
}

impl Serialize for Failure<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Fields {
            status: Some(self.status),
            names: "error",
            values: &[Value::Text(self.error)],
            numbers: &[],
        };
        fields.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn written(fields: &Fields<'_>) -> std::string::String {
        serde_json::to_string(fields).unwrap()
    }

    #[test]
    fn fields_are_in_their_order() {
        let values = [Value::Signed(-7), Value::Text("so \"so\"")];
        let fields = Fields::ok("cold why many most", &values, &[0, u32::MAX]);
        let rest = r#""cold":-7,"why":"so \"so\"","many":0,"most":4294967295}"#;
        assert_eq!(written(&fields), format!(r#"{{"status":0,{rest}"#));
        let status = None;
        assert_eq!(written(&Fields { status, ..fields }), format!("{{{rest}"));
    }

    #[test]
    fn a_name_without_a_value_is_left_out_and_so_is_a_value_without_a_name() {
        let few = written(&Fields::ok("one two three", &[], &[1]));
        assert_eq!(few, r#"{"status":0,"one":1}"#);
        let many = written(&Fields::ok("one", &[Value::Number(1)], &[2, 3]));
        assert_eq!(many, few);
        let none = written(&Fields::ok("", &[Value::Number(1)], &[]));
        assert_eq!(none, r#"{"status":0}"#);
    }

    #[test]
    fn a_failure_is_its_status_and_its_sentence() {
        let failure = Failure {
            status: Status(-2),
            error: "no",
        };
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(text, r#"{"status":-2,"error":"no"}"#);
    }

    #[test]
    fn words_are_between_spaces() {
        let words = |text| Words(text).collect::<std::vec::Vec<_>>();
        assert_eq!(words("one zwölf three"), ["one", "zwölf", "three"]);
        assert_eq!(words(""), [""; 0]);
        assert_eq!(Words("none fault stack").nth(2), Some("stack"));
        assert_eq!(Words("none fault stack").nth(3), None);
    }
}
