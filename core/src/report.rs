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
        match self {
            ClientId::Number(number) => serializer.serialize_u32(*number),
            ClientId::Name(name) => serializer.serialize_str(name),
        }
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
        report.serialize_field("client_id", &envelope.client_id)?;
        report.serialize_field("service_name", envelope.service_name)?;
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
                report.serialize_field("uptime", &seconds)?;
                if let Some(millis) = millis {
                    report.serialize_field("uptime_ms", &millis)?;
                }
                if age > 0 {
                    report.serialize_field("age", &age)?;
                }
                if let Some(boot) = boot {
                    report.serialize_field("boot", boot)?;
                }
            }
        }
        report.serialize_field("seq", &envelope.seq)?;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
