//! The gateway's side of the serial line, with a script: what it is to acknowledge and to answer.

use mote_core::frame;
use serde_json::Value;

use super::emulator::Emulator;

/// A gateway at the line of an emulated board.
pub struct Gateway {
    /// The board.
    pub board: Emulator,
    /// Reports are acknowledged.
    pub acknowledges: bool,
    /// What a question for orders is answered with.
    pub services: Option<&'static str>,
    /// The reports as they came, the repeated ones too.
    pub reports: Vec<Report>,
    /// When orders were asked for, in simulated milliseconds.
    pub asked_ms: Vec<f64>,
    /// Other messages: refusals.
    pub others: Vec<Value>,
    /// All lines as they came.
    pub lines: Vec<String>,
}

/// One report.
#[derive(Clone, Debug)]
pub struct Report {
    /// When its last byte came, in simulated milliseconds.
    pub at_ms: f64,
    /// As the board says.
    pub service: String,
    /// As the board says.
    pub seq: u64,
    /// Seconds since reset.
    pub uptime: u64,
    /// Seconds from the sample to its sending.
    pub age: u64,
    /// As the board says.
    pub data: Value,
}

impl Gateway {
    /// Acknowledges everything and has no orders; `None` if the test is skipped.
    pub fn start(image: &str) -> Option<Gateway> {
        Some(Gateway {
            board: Emulator::start(image)?,
            acknowledges: true,
            services: None,
            reports: Vec::new(),
            asked_ms: Vec::new(),
            others: Vec::new(),
            lines: Vec::new(),
        })
    }

    /// Goes on for so many simulated seconds.
    pub fn run_s(&mut self, seconds: f64) {
        let end_ms = self.board.now_ms + seconds * 1000.0;
        while self.board.now_ms < end_ms {
            for line in self.board.run_ms(end_ms - self.board.now_ms) {
                self.take(&line);
            }
        }
    }

    /// Sends a message, sealed.
    pub fn send(&mut self, text: &str) {
        let mut line = [text.as_bytes(), &[0; frame::SEAL]].concat();
        frame::seal(&mut line, text.len()).unwrap();
        self.board.send(&line);
    }

    /// The reports of one service, each once, in the order of their samples.
    pub fn of(&self, service: &str) -> Vec<&Report> {
        let mut reports: Vec<&Report> = self
            .reports
            .iter()
            .filter(|report| report.service == service)
            .collect();
        reports.sort_by_key(|report| report.seq);
        reports.dedup_by_key(|report| report.seq);
        reports
    }

    /// The uptimes of the samples of one service.
    pub fn uptimes(&self, service: &str) -> Vec<u64> {
        self.of(service).iter().map(|it| it.uptime).collect()
    }

    /// The numbers of all reports, each once, in order.
    pub fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.reports.iter().map(|it| it.seq).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn take(&mut self, line: &str) {
        self.lines.push(line.to_owned());
        let Some(text) = frame::open(line.trim_end().as_bytes()) else {
            // The board cuts a line that nobody reads, and sends it again.
            return;
        };
        let message: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(message["client_id"], 7, "{line}");
        if message["get"] == "services" {
            self.asked_ms.push(self.board.now_ms);
            if let Some(services) = self.services {
                self.send(services);
            }
        } else if let Some(service) = message["service_name"].as_str() {
            let report = Report {
                at_ms: self.board.now_ms,
                service: service.to_owned(),
                seq: message["seq"].as_u64().unwrap(),
                uptime: message["uptime"].as_u64().unwrap(),
                age: message.get("age").map_or(0, |age| age.as_u64().unwrap()),
                data: message["data"].clone(),
            };
            if self.acknowledges {
                self.send(&format!(r#"{{"ack":{}}}"#, report.seq));
            }
            self.reports.push(report);
        } else {
            self.others.push(message);
        }
    }
}
