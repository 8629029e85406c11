//! The first serial port, driven by interrupts, 115200 baud.

use core::cell::RefCell;
use core::convert::Infallible;

use cortex_m::interrupt::Mutex;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::Deque;
use mote_firmware::take_received;

use crate::registers::uart0::{
    CTL, DR, FBRD, FR, IBRD, ICR, IM, LCRH, RTIM, RXFE, RXIM, TXFF, TXIM,
};

/// What came and was not read yet. A byte more than it holds is lost, and with it the line that it belongs to.
static RECEIVED: Mutex<RefCell<Deque<u8, 128>>> = Mutex::new(RefCell::new(Deque::new()));

/// The serial port; there is one.
pub struct Uart(());

impl Uart {
    pub(crate) fn start() -> Self {
        const FIFO: u32 = 1 << 4;
        const EIGHT_BITS: u32 = 3 << 5;
        // 12.5 MHz / (16 × 115200) = 6 + 50/64
        IBRD.write(6);
        FBRD.write(50);
        LCRH.write(FIFO | EIGHT_BITS);
        IM.write(RXIM | RTIM);
        CTL.write(1 << 9 | 1 << 8 | 1);
        Uart(())
    }
}

pub(crate) fn interrupt() {
    // Room to send only has to wake the loop.
    IM.clear(TXIM);
    cortex_m::interrupt::free(|cs| {
        let mut received = RECEIVED.borrow(cs).borrow_mut();
        take_received(
            || ICR.write(RXIM | RTIM | TXIM),
            || (FR.read() & RXFE == 0).then(|| DR.read() as u8),
            |byte| {
                let _ = received.push_back(byte);
            },
        );
    });
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        cortex_m::interrupt::free(|cs| {
            let mut received = RECEIVED.borrow(cs).borrow_mut();
            let taken = buffer.iter_mut().map_while(|place| {
                *place = received.pop_front()?;
                Some(())
            });
            Ok(taken.count())
        })
    }
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(cortex_m::interrupt::free(|cs| {
            !RECEIVED.borrow(cs).borrow().is_empty()
        }))
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let written = bytes.iter().take_while(|byte| {
            let room = FR.read() & TXFF == 0;
            if room {
                DR.write(u32::from(**byte));
            }
            room
        });
        let written = written.count();
        if written < bytes.len() {
            cortex_m::interrupt::free(|_| IM.set(TXIM));
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(FR.read() & TXFF == 0)
    }
}
