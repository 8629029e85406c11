//! The serial port, UART0. It sends from no buffer of its own: queues and an interrupt a byte make up for it.

use core::cell::Cell;
use core::convert::Infallible;

use cortex_m::interrupt::{self, Mutex};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::spsc::{Consumer, Producer, Queue};

use crate::chip::{
    RXD_PIN, TXD_PIN, UART_BAUDRATE, UART_ENABLE, UART_INTENSET, UART_PSELRXD, UART_PSELTXD,
    UART_RXD, UART_RXDRDY, UART_TASKS_STARTRX, UART_TASKS_STARTTX, UART_TXD, UART_TXDRDY,
};

/// The serial port, as the loop has it.
pub struct Uart {
    received: Consumer<'static, u8>,
    to_send: Producer<'static, u8>,
}

/// The other ends of the queues, as the interrupt has them.
struct Ends {
    received: Producer<'static, u8>,
    to_send: Consumer<'static, u8>,
    /// A byte is on its way, and its end will interrupt.
    sending: bool,
}

static ENDS: Mutex<Cell<Option<Ends>>> = Mutex::new(Cell::new(None));

/// Starts the port at 115200 baud. There can be one.
pub fn start<const R: usize, const S: usize>(
    received: &'static mut Queue<u8, R>,
    to_send: &'static mut Queue<u8, S>,
) -> Uart {
    const ENABLED: u32 = 4;
    const BAUD_115200: u32 = 0x01D7_E000;
    const RXDRDY: u32 = 1 << 2;
    const TXDRDY: u32 = 1 << 7;
    let (received_in, received) = received.split();
    let (to_send, to_send_out) = to_send.split();
    let ends = Ends {
        received: received_in,
        to_send: to_send_out,
        sending: false,
    };
    interrupt::free(|cs| ENDS.borrow(cs).set(Some(ends)));
    UART_PSELTXD.write(TXD_PIN);
    UART_PSELRXD.write(RXD_PIN);
    UART_BAUDRATE.write(BAUD_115200);
    UART_ENABLE.write(ENABLED);
    UART_INTENSET.write(RXDRDY | TXDRDY);
    UART_TASKS_STARTTX.write(1);
    UART_TASKS_STARTRX.write(1);
    Uart { received, to_send }
}

/// The port's interrupt.
pub fn interrupt() {
    with_ends(|ends| {
        // The event goes before the byte: one that comes meanwhile is another event.
        while UART_RXDRDY.read() != 0 {
            UART_RXDRDY.write(0);
            // A byte for which there is no room is lost, and with it the line that it belongs to.
            let _ = ends.received.enqueue(UART_RXD.read() as u8);
        }
        if UART_TXDRDY.read() != 0 {
            UART_TXDRDY.write(0);
            ends.sending = false;
            ends.send();
        }
    });
}

fn with_ends(f: impl FnOnce(&mut Ends)) {
    interrupt::free(|cs| {
        let cell = ENDS.borrow(cs);
        if let Some(mut ends) = cell.take() {
            f(&mut ends);
            cell.set(Some(ends));
        }
    });
}

impl Ends {
    fn send(&mut self) {
        if !self.sending
            && let Some(byte) = self.to_send.dequeue()
        {
            self.sending = true;
            UART_TXD.write(byte.into());
        }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let taken = buffer.iter_mut().map_while(|place| {
            *place = self.received.dequeue()?;
            Some(())
        });
        Ok(taken.count())
    }
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.received.ready())
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let queued = bytes
            .iter()
            .take_while(|byte| self.to_send.enqueue(**byte).is_ok())
            .count();
        with_ends(Ends::send);
        Ok(queued)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.to_send.ready())
    }
}
