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
use mote_firmware::{Node, Settings};
use mote_pico::{CLIENT_ID, ChipThermometer, LOAD, Pico, SERVICES, now};

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut SEND: [u8; 64] = [0; 64];
    static mut RECEIVE: [u8; 64] = [0; 64];
    static mut EXECUTOR: Option<Executor> = None;

    let p = embassy_rp::init(Default::default());
    let board = Pico::new(p.WATCHDOG, p.ADC, p.ADC_TEMP_SENSOR);
    let config = Config::default();
    let uart = BufferedUart::new(p.UART0, p.PIN_0, p.PIN_1, Irqs, SEND, RECEIVE, config);
    let (tx, rx) = uart.split();
    EXECUTOR.insert(Executor::new()).run(&LOAD, |spawner| {
        if let Ok(task) = mote(board, rx, tx) {
            spawner.spawn(task);
        }
    })
}

#[embassy_executor::task]
async fn mote(mut board: Pico<ChipThermometer>, rx: BufferedUartRx, tx: BufferedUartTx) -> ! {
    let mut node: Node<_> = Node::new(Settings::of(CLIENT_ID), &SERVICES, now());
    mote_firmware::run(&mut node, &mut board, now, Delay, rx, tx).await
}
