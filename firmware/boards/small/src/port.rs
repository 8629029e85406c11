//! A serial port without buffers of its own: queues and an interrupt a byte make up for them.

use core::cell::Cell;
use core::convert::Infallible;

use cortex_m::interrupt::{self, Mutex};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::spsc::{Consumer, Producer, Queue};

/// The serial port, as the loop has it.
pub struct Port {
    received: Consumer<'static, u8>,
    to_send: Producer<'static, u8>,
    start_sending: fn(),
}

/// The other ends of the queues, as the interrupt has them.
pub struct Ends {
    received: Producer<'static, u8>,
    to_send: Consumer<'static, u8>,
}

static ENDS: Mutex<Cell<Option<Ends>>> = Mutex::new(Cell::new(None));

impl Port {
    /// The port between these queues; there can be one. `start_sending` is called when there is something to send.
    pub fn new<const R: usize, const S: usize>(
        received: &'static mut Queue<u8, R>,
        to_send: &'static mut Queue<u8, S>,
        start_sending: fn(),
    ) -> Self {
        let (received_in, received) = received.split();
        let (to_send, to_send_out) = to_send.split();
        let ends = Ends {
            received: received_in,
            to_send: to_send_out,
        };
        interrupt::free(|cs| ENDS.borrow(cs).set(Some(ends)));
        Port {
            received,
            to_send,
            start_sending,
        }
    }
}

/// Gives the interrupt, or `start_sending`, its ends of the queues, with interrupts masked.
pub fn with_ends(serve: impl FnOnce(&mut Ends)) {
    interrupt::free(|cs| {
        let cell = ENDS.borrow(cs);
        if let Some(mut ends) = cell.take() {
            serve(&mut ends);
            cell.set(Some(ends));
        }
    });
}

impl Ends {
    /// A byte has come. Without room for it it is lost, and with it the line that it belongs to.
    pub fn came(&mut self, byte: u8) {
        let _ = self.received.enqueue(byte);
    }

    /// The next byte to send.
    pub fn next_to_send(&mut self) -> Option<u8> {
        self.to_send.dequeue()
    }
}

impl ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let taken = buffer.iter_mut().map_while(|place| {
            *place = self.received.dequeue()?;
            Some(())
        });
        Ok(taken.count())
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.received.ready())
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let queued = bytes
            .iter()
            .take_while(|byte| self.to_send.enqueue(**byte).is_ok())
            .count();
        (self.start_sending)();
        Ok(queued)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Port {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.to_send.ready())
    }
}
