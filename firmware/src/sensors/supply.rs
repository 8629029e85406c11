//! `get_supply`: what a board is fed with, by a TI INA219 in its supply.

use embedded_hal::i2c::I2c;
use ina219::SyncIna219;
use ina219::address::Address;
use ina219::calibration::UnCalibrated;
use ina219::errors::{BusVoltageReadError, ShuntVoltageReadError};
use mote_core::{Fields, Value};
use serde::ser::{Serialize, Serializer};

use super::failure::failed;
use crate::board::Failed;

/// The sensor on its bus, as it is when it gets its power: 32 V and 320 mV at most, 12 bits, measuring all the time.
pub struct Supply<B> {
    sensor: SyncIna219<B, UnCalibrated>,
    shunt_milliohms: u32,
}

/// The data of `get_supply`: `millivolts` behind the shunt, and `milliamperes` through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupplySample {
    /// In steps of 4.
    pub millivolts: u16,
    /// Negative if the current flows back.
    pub milliamperes: i32,
}

impl<B: I2c> Supply<B> {
    /// The sensor at 0x40, which is its address with both pins at ground, over a shunt of so many thousandths of an
    /// ohm: 100 on most modules.
    pub const fn new(bus: B, shunt_milliohms: u32) -> Self {
        use ina219::address::Pin::Gnd;
        Self::at(bus, Address::from_pins(Gnd, Gnd), shunt_milliohms)
    }

    /// The same at another address.
    pub const fn at(bus: B, address: Address, shunt_milliohms: u32) -> Self {
        Supply {
            sensor: SyncIna219::new_unchecked(bus, address, UnCalibrated),
            shunt_milliohms: if shunt_milliohms == 0 {
                1
            } else {
                shunt_milliohms
            },
        }
    }

    /// Reads what the sensor has measured last.
    pub fn sample(&mut self) -> Result<SupplySample, Failed> {
        const OUT_OF_RANGE: Failed = Failed("what the sensor said is out of its range");
        let bus = self.sensor.bus_voltage().map_err(|error| match error {
            BusVoltageReadError::I2cError(error) => failed(&error),
            BusVoltageReadError::BusVoltageOutOfRange { .. } => OUT_OF_RANGE,
        })?;
        let shunt = self.sensor.shunt_voltage().map_err(|error| match error {
            ShuntVoltageReadError::I2cError(error) => failed(&error),
            ShuntVoltageReadError::ShuntVoltageOutOfRange { .. } => OUT_OF_RANGE,
        })?;
        // At most 320 000 µV, so this fits; and µV / mΩ is mA.
        let shunt_milliohms = i32::try_from(self.shunt_milliohms).unwrap_or(i32::MAX);
        Ok(SupplySample {
            millivolts: bus.voltage_mv(),
            milliamperes: shunt.shunt_voltage_uv() / shunt_milliohms,
        })
    }
}

impl Serialize for SupplySample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = [
            Value::Number(self.millivolts.into()),
            Value::Signed(self.milliamperes),
        ];
        Fields::ok("millivolts milliamperes", &values, &[]).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;

    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

    fn register(register: u8, value: u16) -> Transaction {
        Transaction::write_read(0x40, vec![register], value.to_be_bytes().to_vec())
    }

    fn sample(expected: &[Transaction], shunt_milliohms: u32) -> Result<SupplySample, Failed> {
        let mut bus = Mock::new(expected);
        let sample = Supply::new(bus.clone(), shunt_milliohms).sample();
        bus.done();
        sample
    }

    #[test]
    fn it_is_what_the_data_sheet_says() {
        // The example of the data sheet (INA219, 8.5.1, 8.6.3.2): 11.98 V and 20 mV over 2 mΩ.
        let read = [register(2, 0x5D98), register(1, 0x07D0)];
        let expected = SupplySample {
            millivolts: 11_980,
            milliamperes: 10_000,
        };
        assert_eq!(sample(&read, 2), Ok(expected));
        assert_eq!(
            serde_json::to_string(&expected).unwrap(),
            r#"{"status":0,"millivolts":11980,"milliamperes":10000}"#
        );
        // −20 mV over the 100 mΩ of a module.
        let back = [register(2, 0x2710), register(1, 0xF830)];
        let back = sample(&back, 100).unwrap();
        assert_eq!((back.millivolts, back.milliamperes), (5000, -200));
        // Two conversions make a sample: a shunt of nothing is one of the least.
        assert!(sample(&read, 0).is_ok());
    }

    #[test]
    fn a_sensor_that_is_absent_or_wrong_is_a_failed_sample() {
        let absent = Err(Failed("no sensor answers at its address"));
        assert_eq!(sample(&[register(2, 0).with_error(NACK)], 100), absent);
        let gone = [register(2, 0x5D98), register(1, 0).with_error(NACK)];
        assert_eq!(sample(&gone, 100), absent);
        // A bus that nobody pulls low reads ones.
        let out_of_range = Err(Failed("what the sensor said is out of its range"));
        assert_eq!(sample(&[register(2, 0xFFFF)], 100), out_of_range);
        let far = [register(2, 0x5D98), register(1, 0x7FFF)];
        assert_eq!(sample(&far, 100), out_of_range);
    }
}
