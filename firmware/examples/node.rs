//! A node without a board: its probes are made up, its line is the terminal, and its time goes as fast as it is written.

use mote_firmware::{Board, ClientId, Context, Failed, LoadMark, Node, Settings, Status, Uptime};
use serde::Serialize;

/// A board with a probe of its own.
struct Room;

#[derive(Clone, Copy, PartialEq)]
struct Thermometer;

#[derive(Clone, Copy, Serialize)]
struct Temperature {
    status: Status,
    millicelsius: i32,
}

impl Board for Room {
    type Plugin = Thermometer;
    type Baseline = LoadMark;
    type Sample = Temperature;

    const NO_BASELINE: LoadMark = LoadMark::ZERO;

    fn plugin(name: &str) -> Option<Thermometer> {
        (name == "get_temperature").then_some(Thermometer)
    }

    fn start(&mut self, _: Thermometer, _: Uptime) -> LoadMark {
        LoadMark::ZERO
    }

    fn sample(
        &mut self,
        _: Thermometer,
        _: &mut LoadMark,
        context: &Context,
    ) -> Result<Temperature, Failed> {
        let seconds = context.now.as_millis() / 1000;
        if seconds > 10 {
            return Err(Failed("no sensor answers at its address"));
        }
        Ok(Temperature {
            status: Status::OK,
            millicelsius: 21_500 + 10 * seconds as i32,
        })
    }
}

fn main() {
    let mut node = Node::<Room>::new();
    let services = [("Room", "get_temperature", 5)];
    let settings = Settings::of(ClientId::Number(7));
    node.start(settings, &services, Uptime::from_millis(0));
    let mut acknowledged = 0;
    for millis in (0..30_000).step_by(100) {
        let now = Uptime::from_millis(millis);
        node.poll(now, &mut Room);
        loop {
            let line = node.outgoing(now);
            if line.is_empty() {
                break;
            }
            print!("{}", String::from_utf8_lossy(line));
            let is_report = line.starts_with(br#"{"client_id":7,"service_name""#);
            let length = line.len();
            node.sent(length, now);
            if is_report {
                // As a gateway does, with the number that the report has.
                let text = format!(r#"{{"ack":{acknowledged}}}"#);
                let seal = mote_firmware::mote_core::frame::seal_of(text.as_bytes());
                node.receive(text.as_bytes(), now);
                node.receive(&seal, now);
                acknowledged += 1;
            }
        }
    }
}
