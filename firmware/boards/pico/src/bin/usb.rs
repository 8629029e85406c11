//! Reports on a serial port over the board's USB socket.

#![no_std]
#![no_main]

use embassy_rp::bind_interrupts;
use embassy_rp::peripherals::USB;
use embassy_rp::usb::InterruptHandler;
use embassy_time::Delay;
use mote_firmware::embassy::Executor;
use mote_firmware::{ClientId, Node, Settings};
use mote_pico::usb::{self, Buffers, Device, UsbReader, UsbWriter};
use mote_pico::{ChipThermometer, Identity, LOAD, Pico, SERVICES, heartbeat, identity, now};

bind_interrupts!(struct Irqs {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

type Board = Pico<ChipThermometer>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut BUFFERS: Buffers = Buffers::new();
    static mut NODE: Node<Board> = Node::new();
    static mut EXECUTOR: Option<Executor> = None;

    let p = embassy_rp::init(Default::default());
    let board = Pico::new(p.WATCHDOG, p.ADC, p.ADC_TEMP_SENSOR);
    let Identity { client_id, serial } = identity(p.FLASH);
    let (device, rx, tx) = usb::port(p.USB, Irqs, BUFFERS, serial);
    EXECUTOR.insert(Executor::new()).run(&LOAD, |spawner| {
        if let (Ok(port), Ok(mote), Ok(heartbeat)) = (
            serve(device),
            mote(NODE, board, client_id, rx, tx),
            heartbeat(p.PIN_25),
        ) {
            spawner.spawn(port);
            spawner.spawn(mote);
            spawner.spawn(heartbeat);
        }
    })
}

#[embassy_executor::task]
async fn serve(mut device: Device) -> ! {
    device.run().await
}

#[embassy_executor::task]
async fn mote(
    node: &'static mut Node<Board>,
    mut board: Board,
    client_id: ClientId<'static>,
    rx: UsbReader,
    tx: UsbWriter,
) -> ! {
    node.start(Settings::of(client_id), &SERVICES, now());
    mote_firmware::run(node, &mut board, now, Delay, rx, tx).await
}
