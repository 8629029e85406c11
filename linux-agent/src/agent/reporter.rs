//! From a sample to a report that waits for its delivery.

use mote_core::{Envelope, Stamp, TooLarge};

use crate::delivery::Courier;
use crate::probes::{MAX_REPORT, ProbeError};
use crate::queue::Whose;
use crate::settings::ClientName;
use crate::system::clock;
use crate::system::ids::new_boot_id;

/// Encodes reports of one client and hands them to the courier.
pub struct Reporter {
    client_id: ClientName,
    boot: String,
    buffer: Vec<u8>,
    courier: Courier,
}

impl Reporter {
    /// For reports of a run that begins now.
    pub fn new(client_id: ClientName, courier: Courier) -> Self {
        Reporter {
            client_id,
            boot: new_boot_id(),
            buffer: vec![0; MAX_REPORT],
            courier,
        }
    }

    /// The id of this run of the agent.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Who takes the reports. Wake it once there are some.
    pub fn courier(&self) -> &Courier {
        &self.courier
    }

    /// The numbers are used up. Begin again from 0, as another run.
    pub fn begin_numbers_anew(&mut self) {
        self.boot = new_boot_id();
    }

    /// Queues what `encode` writes. Gives the time that the report bears, in Unix milliseconds.
    pub fn report(
        &mut self,
        service: &str,
        seq: u32,
        encode: impl FnOnce(&Envelope<'_>, &mut [u8]) -> Result<usize, ProbeError>,
    ) -> Result<u64, ProbeError> {
        let unix_ms = clock::unix_ms();
        let envelope = Envelope {
            client_id: self.client_id.id(),
            service_name: service,
            stamp: Stamp::Clock {
                unix_ms,
                boot: &self.boot,
            },
            seq,
        };
        let whose = Whose::of(&envelope.client_id, envelope.service_name);
        let length = encode(&envelope, &mut self.buffer)?;
        let report = self.buffer.get(..length).ok_or(TooLarge)?;
        self.courier
            .with_uplink(|uplink| uplink.push(report, whose, clock::uptime()));
        Ok(unix_ms)
    }
}
