//! `get_climate`: temperature and humidity of the air, by a Sensirion SHTC3, SHTC1 or SHTW2.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use mote_core::{Fields, Value};
use serde::ser::{Serialize, Serializer};
use shtcx::{PowerMode, ShtCx, sensor_class::ShtGeneric};

use super::failure::failed;
use crate::board::Failed;

/// The sensor on its bus.
pub struct Climate<B, D> {
    sensor: ShtCx<ShtGeneric, B>,
    delay: D,
}

/// The data of `get_climate`: `millicelsius`, and `humidity_permille` relative to saturation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClimateSample {
    /// Thousandths of a degree Celsius.
    pub millicelsius: i32,
    /// Thousandths of what the air could hold.
    pub humidity_permille: u16,
}

/// What these sensors have in common.
const ADDRESS: u8 = 0x70;

impl<B: I2c, D: DelayNs> Climate<B, D> {
    /// The sensor at the address that all of these have. `delay` is best a [`Sleeper`](crate::Sleeper).
    pub fn new(bus: B, delay: D) -> Self {
        Climate {
            sensor: shtcx::generic(bus, ADDRESS),
            delay,
        }
    }

    /// Measures: it takes a millisecond beside two short transfers, since the sensor measures in its fast mode
    /// (repeatable to 0.1 °C).
    pub fn sample(&mut self) -> Result<ClimateSample, Failed> {
        let measured = self.sensor.measure(PowerMode::LowPower, &mut self.delay);
        let measured = measured.map_err(|error| match error {
            shtcx::Error::I2c(error) => failed(&error),
            shtcx::Error::Crc => Failed("what the sensor said is damaged"),
        })?;
        Ok(ClimateSample {
            millicelsius: measured.temperature.as_millidegrees_celsius(),
            // It is never negative, and below 1000.
            humidity_permille: (measured.humidity.as_millipercent() / 100) as u16,
        })
    }
}

impl Serialize for ClimateSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = [Value::Signed(self.millicelsius)];
        let numbers = [self.humidity_permille.into()];
        Fields::ok("millicelsius humidity_permille", &values, &numbers).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::CheckedDelay;
    use embedded_hal_mock::eh1::delay::Transaction as Wait;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;

    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    /// The example of the data sheet (SHTC3, 5.11): 23.73 °C and 62.9 %.
    const ANSWER: [u8; 6] = [0x64, 0x8B, 0xC7, 0xA1, 0x33, 0x1C];

    fn sample(expected: &[Transaction], waits: &[Wait]) -> Result<ClimateSample, Failed> {
        let mut bus = Mock::new(expected);
        let mut delay = CheckedDelay::new(waits);
        let sample = Climate::new(bus.clone(), delay.clone()).sample();
        bus.done();
        delay.done();
        sample
    }

    fn measure() -> Transaction {
        Transaction::write(0x70, vec![0x60, 0x9C])
    }

    #[test]
    fn it_is_what_the_data_sheet_says() {
        let wait = Wait::delay_us(940);
        let sample = sample(
            &[measure(), Transaction::read(0x70, ANSWER.to_vec())],
            &[wait],
        );
        let expected = ClimateSample {
            millicelsius: 23_730,
            humidity_permille: 629,
        };
        assert_eq!(sample, Ok(expected));
        assert_eq!(
            serde_json::to_string(&expected).unwrap(),
            r#"{"status":0,"millicelsius":23730,"humidity_permille":629}"#
        );
    }

    #[test]
    fn a_sensor_that_is_absent_late_or_wrong_is_a_failed_sample() {
        let absent = sample(&[measure().with_error(NACK)], &[]);
        assert_eq!(absent, Err(Failed("no sensor answers at its address")));

        let wait = Wait::delay_us(940);
        let late = [
            measure(),
            Transaction::read(0x70, vec![0; 6]).with_error(NACK),
        ];
        assert_eq!(sample(&late, core::slice::from_ref(&wait)), absent);

        for byte in 0..6 {
            let mut answer = ANSWER;
            answer[byte] ^= 0x10;
            let wrong = [measure(), Transaction::read(0x70, answer.to_vec())];
            let damaged = Failed("what the sensor said is damaged");
            assert_eq!(sample(&wrong, core::slice::from_ref(&wait)), Err(damaged));
        }
    }
}
