//! Sensors on an I²C bus, as probes over `embedded_hal::i2c::I2c`: of whatever chip, shared by
//! `embedded-hal-bus` or not. All of them are integers from end to end.
//!
//! A sensor that does not answer, or answers wrongly, is a failed sample with its reason. One that
//! holds the bus is found out where the bus has a deadline: see [`TimedI2c`].

mod bus;
mod climate;
mod supply;

pub use bus::{TimedError, TimedI2c};
pub use climate::{Climate, ClimateSample};
pub use supply::{Supply, SupplySample};

use embedded_hal::i2c::{Error, ErrorKind, NoAcknowledgeSource};

use crate::board::Failed;

/// Why a sensor could not be read.
fn failed(error: &impl Error) -> Failed {
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
