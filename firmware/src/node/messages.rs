//! What a node says and hears, as JSON.

use mote_core::frame::{self, SEAL};
use mote_core::json::{self, Reader};
use mote_core::{
    ClientId, ConfigError, Envelope, Failure, Fields, Service, Stamp, TooLarge, Uptime, Value,
};
use serde::Serialize;

use crate::board::seconds;
use crate::ring::Record;

/// The largest age of a report, in seconds.
const AGE_ROOM: usize = r#","age":4294967295"#.len();

/// The number of `{"ack": number}`.
pub fn acknowledged(text: &[u8]) -> Option<u32> {
    let mut json = Reader::new(text);
    json.open(b'{').ok()?;
    while let Some(key) = json.next_key().ok()? {
        if key == "ack" {
            return str::from_utf8(json.scalar()).ok()?.parse().ok();
        }
        json.skip().ok()?;
    }
    None
}

/// Asks for the services document.
pub fn ask(client_id: ClientId<'_>, now: Uptime, buffer: &mut [u8]) -> Result<usize, TooLarge> {
    let ask = Fields {
        status: None,
        names: "client_id get uptime",
        values: &[client_id.into(), Value::Text("services")],
        numbers: &[seconds(now)],
    };
    sealed(&ask, buffer)
}

/// Says why orders were refused.
pub fn refusal<const NAME: usize>(
    client_id: ClientId<'_>,
    refused: &ConfigError<NAME>,
    buffer: &mut [u8],
) -> Result<usize, TooLarge> {
    let service = refused.service.as_deref();
    let values = [
        client_id.into(),
        Value::Text(refused.fault.keyword()),
        Value::Text(service.unwrap_or_default()),
    ];
    let refusal = Fields {
        status: None,
        names: "client_id refused service",
        values: match service {
            Some(_) => &values[..],
            None => &values[..2],
        },
        numbers: &[],
    };
    sealed(&refusal, buffer)
}

/// Reports a sample.
pub fn report<S: Serialize, P, const NAME: usize>(
    client_id: ClientId<'_>,
    service: &Service<P, NAME>,
    record: &Record<S>,
    now: Uptime,
    buffer: &mut [u8],
) -> Result<usize, TooLarge> {
    let age = seconds(now).wrapping_sub(record.uptime_s);
    let uptime_ms = record.uptime_s.wrapping_mul(1000);
    let envelope = Envelope {
        client_id,
        service_name: &service.name,
        stamp: Stamp::Uptime {
            seconds: record.uptime_s,
            // Seconds do not tell apart what is sampled several times in one.
            millis: (!service.interval.as_millis().is_multiple_of(1000))
                .then_some(uptime_ms.wrapping_add(record.after_ms.into())),
            age,
            boot: None,
        },
        seq: record.seq,
    };
    // What fits now must still fit when it is sent again: a failure in its place would be another report with the
    // same number.
    let age_length = age
        .checked_ilog10()
        .map_or(0, |power| AGE_ROOM - 9 + power as usize);
    let room = buffer.len().saturating_sub(SEAL + AGE_ROOM - age_length);
    let room = buffer.get_mut(..room).unwrap_or_default();
    let data = match &record.sample {
        Ok(sample) => Data::Sample(sample),
        Err(failed) => Data::Failed(Failure::new(failed.0)),
    };
    let length = match envelope.encode(&data, room) {
        Ok(length) => length,
        Err(TooLarge) => {
            let data = Data::<S>::Failed(Failure::new("the report is larger than a line"));
            envelope.encode(&data, room)?
        }
    };
    frame::seal(buffer, length)
}

/// One type, so that there is one writer of reports.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a, S> {
    Sample(&'a S),
    Failed(Failure<'a>),
}

fn sealed(message: &Fields<'_>, buffer: &mut [u8]) -> Result<usize, TooLarge> {
    let length = json::to_slice(message, buffer)?;
    frame::seal(buffer, length)
}
