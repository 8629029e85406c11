//! A probe on this machine, sampled as the agent does it.

use std::time::{Duration, Instant};

use mote_agent::probes::{Context, MAX_REPORT, Probe, Roots, Sampler};
use mote_core::{ClientId, Envelope, Stamp};
use serde_json::Value;

/// A probe at work.
pub struct Bench {
    sampler: Box<dyn Sampler>,
    context: Context,
}

impl Bench {
    /// Opens the probe of this name, which takes its baseline.
    pub fn open(name: &str) -> Self {
        Bench::on(&Roots::default(), name)
    }

    /// The same on other files than this machine's own.
    pub fn on(roots: &Roots, name: &str) -> Self {
        let mut context = Context::new();
        let probe = Probe::by_name(name).expect("a probe of this name");
        let sampler = probe.open(roots, &mut context).expect("an open probe");
        Bench { sampler, context }
    }

    /// The data of one report.
    pub fn sample(&mut self) -> Value {
        self.sample_over().0
    }

    /// The same, and how long ago the sample before was taken, which is what rates are over.
    pub fn sample_over(&mut self) -> (Value, Duration) {
        let envelope = Envelope {
            client_id: ClientId::Number(1),
            service_name: "Service",
            stamp: Stamp::Uptime {
                seconds: 0,
                millis: None,
                age: 0,
                boot: None,
            },
            seq: 0,
        };
        let before = std::mem::replace(&mut self.context.now, Instant::now());
        let mut buffer = vec![0; MAX_REPORT];
        let length = self
            .sampler
            .report(&mut self.context, &envelope, &mut buffer)
            .expect("a sample");
        let mut report: Value = serde_json::from_slice(&buffer[..length]).expect("JSON");
        (report["data"].take(), self.context.now - before)
    }
}
