//! The serial port, USART1.

use cortex_m::interrupt;
use cortex_m::peripheral::NVIC;
use heapless::spsc::Queue;
use mote_small_board::{Port, with_ends};

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

/// Starts the port. There can be one.
pub fn start<const R: usize, const S: usize>(
    received: &'static mut Queue<u8, R>,
    to_send: &'static mut Queue<u8, S>,
) -> Port {
    let port = Port::new(received, to_send, start_sending);
    // Rounded; 0.6 % too fast.
    USART1_BRR.write((HZ + BAUD / 2) / BAUD);
    USART1_CR1.write(UE | TE | RE | RXNEIE);
    port
}

fn start_sending() {
    // The interrupt clears the bit.
    interrupt::free(|_| USART1_CR1.set(TXEIE));
    // The chip raises it by itself now; QEMU 7.2 does not.
    NVIC::pend(Interrupt::Usart1);
}

/// The port's interrupt.
pub fn interrupt() {
    with_ends(|ends| {
        if USART1_SR.read() & (RXNE | ORE) != 0 {
            ends.came(USART1_DR.read() as u8);
        }
        while USART1_SR.read() & TXE != 0 {
            match ends.next_to_send() {
                Some(byte) => USART1_DR.write(byte.into()),
                None => {
                    USART1_CR1.clear(TXEIE);
                    break;
                }
            }
        }
    });
}
