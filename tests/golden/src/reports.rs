//! Reports of every shape, each as the line that it is sent in.

use mote_core::frame::{self, SEAL};
use mote_core::{ClientId, Envelope, Failure, Stamp, Status};
use serde::Serialize;

use crate::Out;

#[derive(Serialize)]
struct Numbers {
    status: Status,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
}

#[derive(Serialize)]
struct Shapes<'a> {
    status: Status,
    text: &'a str,
    flag: bool,
    list: [u16; 3],
    nested: Failure<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe: Option<u32>,
}

/// A text with everything that JSON writes in its own way.
const ESCAPES: &str = "\" \\ / \u{8}\u{c}\n\r\t \0\u{1f}\u{7f} ü \u{2028} 🌱 </";

pub fn transcribe(out: &mut Out<'_>) {
    out.text("# reports").end();
    let plain = Envelope {
        client_id: ClientId::Number(7),
        service_name: "McuLoad",
        stamp: uptime(3600, 0, None),
        seq: 17,
    };
    let envelopes = [
        plain,
        Envelope {
            client_id: ClientId::Number(0),
            stamp: uptime(0, 0, None),
            seq: 0,
            ..plain
        },
        Envelope {
            client_id: ClientId::Number(u32::MAX),
            stamp: uptime(u32::MAX, u32::MAX, Some("ffffffff")),
            seq: u32::MAX,
            ..plain
        },
        Envelope {
            client_id: ClientId::Name("pump-3"),
            stamp: uptime(3600, 12, None),
            ..plain
        },
        Envelope {
            client_id: ClientId::Name(ESCAPES),
            service_name: ESCAPES,
            stamp: uptime(1, 0, Some(ESCAPES)),
            ..plain
        },
    ];
    for envelope in &envelopes {
        report(out, envelope, &Status::OK);
        report(out, envelope, &Failure::new("the sensor does not answer"));
    }
    report(out, &plain, &LEAST);
    report(out, &plain, &MOST);
    for maybe in [None, Some(10), Some(1_000_000_000)] {
        let nested = Failure {
            status: Status(i32::MIN),
            error: ESCAPES,
        };
        let data = Shapes {
            status: Status::OK,
            text: ESCAPES,
            flag: maybe.is_none(),
            list: [0, 99, u16::MAX],
            nested,
            maybe,
        };
        report(out, &plain, &data);
    }
    room(out, &plain);
}

const LEAST: Numbers = Numbers {
    status: Status(i32::MIN),
    i8: i8::MIN,
    i16: i16::MIN,
    i32: i32::MIN,
    i64: i64::MIN,
    u8: 0,
    u16: 0,
    u32: 0,
    u64: 0,
};

const MOST: Numbers = Numbers {
    status: Status(i32::MAX),
    i8: i8::MAX,
    i16: i16::MAX,
    i32: i32::MAX,
    i64: i64::MAX,
    u8: u8::MAX,
    u16: u16::MAX,
    u32: u32::MAX,
    u64: u64::MAX,
};

fn uptime(seconds: u32, age: u32, boot: Option<&str>) -> Stamp<'_> {
    Stamp::Uptime {
        seconds,
        millis: None,
        age,
        boot,
    }
}

fn report(out: &mut Out<'_>, envelope: &Envelope<'_>, data: &impl Serialize) {
    let mut buffer = [0; 768];
    let sealed = envelope
        .encode(data, &mut buffer)
        .and_then(|length| frame::seal(&mut buffer, length));
    match sealed {
        Ok(length) => out.bytes(buffer.get(..length).unwrap_or_default()),
        Err(_) => out.text("too large\n"),
    };
}

/// How much room a report and its seal need: one byte less is refused.
fn room(out: &mut Out<'_>, envelope: &Envelope<'_>) {
    let mut buffer = [0; 96];
    for size in 0..buffer.len() {
        let buffer = buffer.get_mut(..size).unwrap_or_default();
        let Ok(length) = envelope.encode(&Status::OK, buffer) else {
            continue;
        };
        let sealed = frame::seal(buffer, length).is_ok();
        if length == size || size == length + SEAL - 1 || size == length + SEAL {
            out.text("fits ").number(size as u64);
            out.text(if sealed { " sealed" } else { " unsealed" }).end();
        }
    }
}
