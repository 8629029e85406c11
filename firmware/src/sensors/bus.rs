//! An asynchronous bus as a blocking one.

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, Operation};

use crate::sleeper::Sleeper;

/// An I²C bus whose driver is asynchronous, for drivers of sensors that block: a transfer is slept through,
/// and ends with an error if it takes longer than a limit, as one does whose sensor holds the clock.
pub struct TimedI2c<B> {
    bus: B,
    sleeper: Sleeper,
    limit_ms: u32,
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedError<E> {
    /// As the bus says.
    Bus(E),
    /// It took too long.
    Late,
}

impl<B: embedded_hal_async::i2c::I2c> TimedI2c<B> {
    /// A transfer on `bus` takes at most `limit_ms`: 100 bytes at 100 kHz take 9 ms.
    pub const fn new(bus: B, sleeper: Sleeper, limit_ms: u32) -> Self {
        TimedI2c {
            bus,
            sleeper,
            limit_ms,
        }
    }
}

impl<E: Error> Error for TimedError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            TimedError::Bus(error) => error.kind(),
            TimedError::Late => ErrorKind::Other,
        }
    }
}

impl<B: embedded_hal_async::i2c::I2c> ErrorType for TimedI2c<B> {
    type Error = TimedError<B::Error>;
}

impl<B: embedded_hal_async::i2c::I2c> I2c for TimedI2c<B> {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), Self::Error> {
        let transfer = self.bus.transaction(address, operations);
        let done = self.sleeper.block_on(transfer, self.limit_ms);
        done.ok_or(TimedError::Late)?.map_err(TimedError::Bus)
    }
}
