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
            TimedError::Late => ErrorKind::Bus,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadMeter;
    use core::cell::Cell;
    use embedded_hal::i2c::NoAcknowledgeSource;
    use std::boxed::Box;
    use std::future::{pending, poll_fn};
    use std::task::Poll;

    std::thread_local! {
        /// Each look at it takes a tick of a microsecond; each test runs in a thread, and so has a counter, of its own.
        static COUNTER: Cell<u32> = const { Cell::new(0) };
    }

    /// Answers each byte that is read with its address, or fails, after so many polls; `None` is never.
    struct Bus {
        polls: Option<u32>,
        error: Option<ErrorKind>,
    }

    impl ErrorType for Bus {
        type Error = ErrorKind;
    }

    impl embedded_hal_async::i2c::I2c for Bus {
        async fn transaction(
            &mut self,
            address: u8,
            operations: &mut [Operation<'_>],
        ) -> Result<(), ErrorKind> {
            let Some(mut polls) = self.polls else {
                return pending().await;
            };
            poll_fn(|_| {
                polls -= 1;
                if polls == 0 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            for operation in operations {
                if let Operation::Read(bytes) = operation {
                    bytes.fill(address);
                }
            }
            self.error.map_or(Ok(()), Err)
        }
    }

    fn now() -> u32 {
        COUNTER.set(COUNTER.get() + 1);
        COUNTER.get()
    }

    fn read(
        polls: Option<u32>,
        error: Option<ErrorKind>,
    ) -> Result<[u8; 2], TimedError<ErrorKind>> {
        let meter: &'static LoadMeter = Box::leak(Box::new(LoadMeter::new(now)));
        let sleeper = Sleeper::with_alarm(meter, 1000, |_| {});
        let mut bytes = [0; 2];
        let mut bus = TimedI2c::new(Bus { polls, error }, sleeper, 20);
        bus.read(0x40, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn a_transfer_that_has_to_wait_comes_to_its_end() {
        for polls in [1, 2, 50] {
            assert_eq!(read(Some(polls), None), Ok([0x40; 2]), "{polls}");
        }
    }

    #[test]
    fn what_the_bus_says_is_handed_on() {
        let kind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data);
        let error = read(Some(3), Some(kind)).unwrap_err();
        assert_eq!(error, TimedError::Bus(kind));
        assert_eq!(error.kind(), kind);
    }

    #[test]
    fn a_transfer_without_an_end_takes_its_limit_and_no_more() {
        let start = now();
        let error = read(None, None).unwrap_err();
        let took_us = now() - start;
        assert_eq!((error, error.kind()), (TimedError::Late, ErrorKind::Bus));
        assert!((20_000..20_010).contains(&took_us), "{took_us}");
    }
}
