//! `get_temperature`: the sensor of the chip (RP2040 datasheet, 4.9.5), as an example of a board's own probe.
//!
//! ```text
//! T = 27 °C − (V − 0.706 V) / 1.721 mV/°C,   V = count / 4096 · 3.3 V
//! ```
//!
//! The sensor is not calibrated: the datasheet expects several degrees of error, most of it from the
//! reference voltage.

use mote_firmware::{Fields, Value};
use serde::ser::{Serialize, Serializer};

/// A converter that is connected to the sensor. There is no such trait in `embedded-hal` 1.0.
pub trait Thermometer {
    /// One conversion: the voltage in 1/4096 of the reference; none if it failed.
    fn raw(&mut self) -> Option<u16>;
}

/// The data of `get_temperature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temperature {
    /// Thousandths of a degree Celsius.
    pub millicelsius: i32,
}

impl Temperature {
    /// What a conversion means, exact to a thousandth of a degree.
    pub const fn of(raw: u16) -> Self {
        let count = if raw < COUNTS { raw } else { COUNTS - 1 };
        Temperature {
            millicelsius: (AT_ZERO - count as i32 * PER_COUNT) / 1000,
        }
    }
}

impl Serialize for Temperature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = [Value::Signed(self.millicelsius)];
        Fields::ok("millicelsius", &values, &[]).serialize(serializer)
    }
}

const COUNTS: u16 = 4096;

/// The formula in millionths of a degree: both numbers and their sums fit 32 bits.
const AT_ZERO: i32 = (27_000_000 + 706_000_000_000_i64 / 1721) as i32;
const PER_COUNT: i32 = (3_300_000_000_000_i64 / 4096 / 1721) as i32;
