//! Reports on UART0, 115200 baud: GP0 sends, GP1 receives.

#![no_std]
#![no_main]

use embassy_rp::bind_interrupts;
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{
    BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx, Config,
};
use embassy_time::Delay;
use mote_firmware::embassy::Executor;
use mote_firmware::{ClientId, Node, Settings};
use mote_pico::{ChipThermometer, LOAD, Pico, SERVICES, heartbeat, identity, now};

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

type Board = Pico<ChipThermometer>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut SEND: [u8; 64] = [0; 64];
    static mut RECEIVE: [u8; 64] = [0; 64];
    static mut NODE: Node<Board> = Node::new();
    static mut EXECUTOR: Option<Executor> = None;

    let p = embassy_rp::init(Default::default());
    let board = Pico::new(p.WATCHDOG, p.ADC, p.ADC_TEMP_SENSOR);
    let client_id = identity(p.FLASH).client_id;
    let config = Config::default();
    let uart = BufferedUart::new(p.UART0, p.PIN_0, p.PIN_1, Irqs, SEND, RECEIVE, config);
    let (tx, rx) = uart.split();
    EXECUTOR.insert(Executor::new()).run(&LOAD, |spawner| {
        if let (Ok(mote), Ok(heartbeat)) =
            (mote(NODE, board, client_id, rx, tx), heartbeat(p.PIN_25))
        {
            spawner.spawn(mote);
            spawner.spawn(heartbeat);
        }
    })
}

#[embassy_executor::task]
async fn mote(
    node: &'static mut Node<Board>,
    mut board: Board,
    client_id: ClientId<'static>,
    rx: BufferedUartRx,
    tx: BufferedUartTx,
) -> ! {
    node.start(Settings::of(client_id), &SERVICES, now());
    mote_firmware::run(node, &mut board, now, Delay, rx, tx).await
}
