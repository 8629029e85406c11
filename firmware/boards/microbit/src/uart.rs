//! The serial port, UART0.

use core::sync::atomic::{AtomicBool, Ordering};

use heapless::spsc::Queue;
use mote_small_board::{Ends, Port, with_ends};

use crate::chip::{
    RXD_PIN, TXD_PIN, UART_BAUDRATE, UART_ENABLE, UART_INTENSET, UART_PSELRXD, UART_PSELTXD,
    UART_RXD, UART_RXDRDY, UART_TASKS_STARTRX, UART_TASKS_STARTTX, UART_TXD, UART_TXDRDY,
};

/// A byte is on its way, and its end will interrupt. Only who has the [`Ends`] looks.
static SENDING: AtomicBool = AtomicBool::new(false);

/// Starts the port at 115200 baud. There can be one.
pub fn start<const R: usize, const S: usize>(
    received: &'static mut Queue<u8, R>,
    to_send: &'static mut Queue<u8, S>,
) -> Port {
    const ENABLED: u32 = 4;
    const BAUD_115200: u32 = 0x01D7_E000;
    const RXDRDY: u32 = 1 << 2;
    const TXDRDY: u32 = 1 << 7;
    let port = Port::new(received, to_send, || with_ends(send));
    UART_PSELTXD.write(TXD_PIN);
    UART_PSELRXD.write(RXD_PIN);
    UART_BAUDRATE.write(BAUD_115200);
    UART_ENABLE.write(ENABLED);
    UART_INTENSET.write(RXDRDY | TXDRDY);
    UART_TASKS_STARTTX.write(1);
    UART_TASKS_STARTRX.write(1);
    port
}

/// The port's interrupt.
pub fn interrupt() {
    with_ends(|ends| {
        // The event goes before the byte: one that comes meanwhile is another event.
        while UART_RXDRDY.read() != 0 {
            UART_RXDRDY.write(0);
            ends.came(UART_RXD.read() as u8);
        }
        if UART_TXDRDY.read() != 0 {
            UART_TXDRDY.write(0);
            SENDING.store(false, Ordering::Relaxed);
            send(ends);
        }
    });
}

fn send(ends: &mut Ends) {
    if !SENDING.load(Ordering::Relaxed)
        && let Some(byte) = ends.next_to_send()
    {
        SENDING.store(true, Ordering::Relaxed);
        UART_TXD.write(byte.into());
    }
}
