//! Sensors on an I²C bus, as probes over `embedded_hal::i2c::I2c`: of whatever chip, shared by
//! `embedded-hal-bus` or not. All of them are integers from end to end.
//!
//! A sensor that does not answer, or answers wrongly, is a failed sample with its reason. One that
//! holds the bus is found out where the bus has a deadline: see [`TimedI2c`].

mod bus;
mod climate;
mod failure;
mod supply;

pub use bus::{TimedError, TimedI2c};
pub use climate::{Climate, ClimateSample};
pub use supply::{Supply, SupplySample};
