//! Failures of a bus, in words.

use embedded_hal::i2c::{Error, ErrorKind, NoAcknowledgeSource};

use crate::board::Failed;

/// Why a sensor could not be read.
pub(super) fn failed(error: &impl Error) -> Failed {
    Failed(match error.kind() {
        ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data) => {
            "the sensor did not acknowledge what it was told"
        }
        ErrorKind::NoAcknowledge(_) => "no sensor answers at its address",
        ErrorKind::ArbitrationLoss => "another master took the bus",
        ErrorKind::Bus | ErrorKind::Overrun => "the bus to the sensor is disturbed",
        _ => "the bus to the sensor stands still",
    })
}
