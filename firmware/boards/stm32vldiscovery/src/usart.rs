//! The serial port, USART1. It has no buffer of its own: queues and an interrupt a byte make up for it.

use core::cell::Cell;
use core::convert::Infallible;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::NVIC;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::spsc::{Consumer, Producer, Queue};

use crate::chip::{HZ, Interrupt, USART1_BRR, USART1_CR1, USART1_DR, USART1_SR};

const BAUD: u32 = 115_200;

const RE: u32 = 1 << 2;
const TE: u32 = 1 << 3;
const RXNEIE: u32 = 1 << 5;
const TXEIE: u32 = 1 << 7;
const UE: u32 = 1 << 13;

const ORE: u32 = 1 << 3;
const RXNE: u32 = 1 << 5;
const TXE: u32 = 1 << 7;

/// The serial port, as the loop has it.
pub struct Usart {
    received: Consumer<'static, u8>,
    to_send: Producer<'static, u8>,
}

/// The other ends of the queues, as the interrupt has them.
struct Ends {
    received: Producer<'static, u8>,
    to_send: Consumer<'static, u8>,
}

static ENDS: Mutex<Cell<Option<Ends>>> = Mutex::new(Cell::new(None));

/// Starts the port. There can be one.
pub fn start<const R: usize, const S: usize>(
    received: &'static mut Queue<u8, R>,
    to_send: &'static mut Queue<u8, S>,
) -> Usart {
    let (received_in, received) = received.split();
    let (to_send, to_send_out) = to_send.split();
    let ends = Ends {
        received: received_in,
        to_send: to_send_out,
    };
    interrupt::free(|cs| ENDS.borrow(cs).set(Some(ends)));
    // Rounded; 0.6 % too fast.
    USART1_BRR.write((HZ + BAUD / 2) / BAUD);
    USART1_CR1.write(UE | TE | RE | RXNEIE);
    Usart { received, to_send }
}

/// The port's interrupt.
pub fn interrupt() {
    interrupt::free(|cs| {
        let cell = ENDS.borrow(cs);
        if let Some(mut ends) = cell.take() {
            ends.serve();
            cell.set(Some(ends));
        }
    });
}

impl Ends {
    fn serve(&mut self) {
        if USART1_SR.read() & (RXNE | ORE) != 0 {
            // A byte for which there is no room is lost, and with it the line that it belongs to.
            let _ = self.received.enqueue(USART1_DR.read() as u8);
        }
        while USART1_SR.read() & TXE != 0 {
            match self.to_send.dequeue() {
                Some(byte) => USART1_DR.write(byte.into()),
                None => {
                    USART1_CR1.clear(TXEIE);
                    break;
                }
            }
        }
    }
}

impl ErrorType for Usart {
    type Error = Infallible;
}

impl Read for Usart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let taken = buffer.iter_mut().map_while(|place| {
            *place = self.received.dequeue()?;
            Some(())
        });
        Ok(taken.count())
    }
}

impl ReadReady for Usart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.received.ready())
    }
}

impl Write for Usart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let queued = bytes
            .iter()
            .take_while(|byte| self.to_send.enqueue(**byte).is_ok())
            .count();
        // The interrupt clears the bit.
        interrupt::free(|_| USART1_CR1.set(TXEIE));
        // The chip raises it by itself now; QEMU 7.2 does not.
        NVIC::pend(Interrupt::Usart1);
        Ok(queued)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Usart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.to_send.ready())
    }
}
