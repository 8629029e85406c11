//! A firmware with a loop and interrupts of its own, and mote in it. What mote adds is marked; the load of
//! everything else is then seen.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m_rt::entry;
use mote_firmware::{ClientId, Mcu, Node, Settings, turn};
use mote_lm3s6965evb as board;

/// What the application measures: an edge filter that an interrupt runs two hundred times a second.
static READINGS: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    static mut NODE: Node<Mcu> = Node::new(); // mote

    let Some(peripherals) = cortex_m::Peripherals::take() else {
        unreachable!()
    };
    let mut uart = board::start(peripherals);
    board::start_timer(200, || {
        cortex_m::asm::delay(30_000);
        READINGS.fetch_add(1, Ordering::Relaxed);
    });

    let services = [("McuLoad", "get_mcu_load", 1)]; // mote
    let mut probes = Mcu::new(&board::LOAD, &board::RAM, &board::RESET); // mote
    NODE.start(Settings::of(ClientId::Number(7)), &services, board::now()); // mote

    let mut done = 0;
    loop {
        let readings = READINGS.load(Ordering::Relaxed);
        if readings.wrapping_sub(done) >= 20 {
            done = readings;
            cortex_m::asm::delay(500_000);
        }
        turn(NODE, &mut probes, board::now(), &mut uart); // mote
        board::LOAD.sleep_unless(|| READINGS.load(Ordering::Relaxed).wrapping_sub(done) >= 20); // mote
    }
}
