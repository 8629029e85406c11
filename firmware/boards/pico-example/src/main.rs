//! An application with work of its own, as mote is taken into it: what `uart.rs` in `boards/pico` does, and beside it a task and
//! a timer interrupt whose load is then seen, and two sensors on I2C0 (GP4 is SDA, GP5 is SCL), which `board.rs` makes
//! probes of. The lines marked `mote`, and the one at the head of its task, are all
//! that it costs; the executor is mote's in place of embassy's own.

#![no_std]
#![no_main]

mod board;

use core::cell::RefCell;

use embassy_rp::i2c::{self, I2c};
use embassy_rp::interrupt::InterruptExt;
use embassy_rp::peripherals::{I2C0, UART0};
use embassy_rp::uart::{
    BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx, Config,
};
use embassy_rp::{bind_interrupts, interrupt, pac};
use embassy_time::{Delay, Duration, Ticker};
use mote_firmware::{ClientId, Interval, Node, Settings, embassy::Executor, sensors::TimedI2c}; // mote
use mote_pico::{LOAD, Pico, SERVICES, heartbeat, identity, now, sleeper}; // mote

use board::{Bus, Equipped};

/// The interrupt takes half a hundredth of the time.
const INTERRUPT_EVERY_US: u32 = 10_000;
const INTERRUPT_WORK_US: u32 = 50;

/// The task takes these shares of each [`TASK_EVERY_MS`], and another one after each [`PHASE_S`].
const TASK_EVERY_MS: u32 = 10;
const TASK_WORK_US: [u32; 3] = [0, 200, 400];
const PHASE_S: u32 = 10;

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
    I2C0_IRQ => i2c::InterruptHandler<I2C0>;
});

/// A transfer of a sensor takes two.
const BUS_LIMIT_MS: u32 = 20;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut SEND: [u8; 64] = [0; 64];
    static mut RECEIVE: [u8; 64] = [0; 64];
    static mut NODE: Node<Equipped> = Node::new(); // mote
    static mut EXECUTOR: Option<Executor> = None;
    static mut BUS: Option<Bus> = None;

    let p = embassy_rp::init(Default::default());
    let pico = Pico::new(p.WATCHDOG, p.ADC, p.ADC_TEMP_SENSOR); // mote
    let i2c = I2c::new_async(p.I2C0, p.PIN_5, p.PIN_4, Irqs, i2c::Config::default());
    let bus = BUS.insert(RefCell::new(TimedI2c::new(i2c, sleeper(), BUS_LIMIT_MS))); // mote
    let board = Equipped::new(pico, bus, sleeper()); // mote
    let client_id = identity(p.FLASH).client_id; // mote
    let config = Config::default();
    let uart = BufferedUart::new(p.UART0, p.PIN_0, p.PIN_1, Irqs, SEND, RECEIVE, config);
    let (tx, rx) = uart.split();
    start_interrupts();
    mote_firmware::tasks::name("mote work heartbeat"); // mote
    EXECUTOR.insert(Executor::new()).run(&LOAD, |spawner| {
        if let (Ok(work), Ok(mote), Ok(heartbeat)) = (
            work(),
            mote(NODE, board, client_id, rx, tx),
            heartbeat(p.PIN_25),
        ) {
            spawner.spawn(mote); // mote
            spawner.spawn(work);
            spawner.spawn(heartbeat); // mote
        }
    })
}

#[embassy_executor::task] // mote
async fn mote(
    node: &'static mut Node<Equipped>,
    mut board: Equipped,
    client_id: ClientId<'static>,
    rx: BufferedUartRx,
    tx: BufferedUartTx,
) -> ! {
    let settings = Settings {
        refresh: Interval::from_secs(30).unwrap_or(Interval::MAX), // it asks for its orders more often
        ..Settings::of(client_id)
    };
    node.start(settings, &SERVICES, now()); // mote
    mote_firmware::run(node, &mut board, now, Delay, rx, tx).await // mote
}

/// The application's own task.
#[embassy_executor::task]
async fn work() -> ! {
    let mut ticker = Ticker::every(Duration::from_millis(u64::from(TASK_EVERY_MS)));
    let turns_a_phase = PHASE_S * 1000 / TASK_EVERY_MS;
    loop {
        for work_us in TASK_WORK_US {
            for _ in 0..turns_a_phase {
                busy(work_us);
                ticker.next().await;
            }
        }
    }
}

/// The application's own interrupt, by the second alarm of the timer; embassy has the first.
#[interrupt]
fn TIMER_IRQ_1() {
    pac::TIMER.intr().write(|it| it.set_alarm(1, true));
    next_interrupt(pac::TIMER.alarm(1).read());
    busy(INTERRUPT_WORK_US);
}

fn start_interrupts() {
    pac::TIMER.inte().modify(|it| it.set_alarm(1, true));
    next_interrupt(pac::TIMER.timerawl().read());
    // SAFETY: the handler shares nothing with the code that it interrupts.
    unsafe { interrupt::TIMER_IRQ_1.enable() };
}

fn next_interrupt(last_us: u32) {
    let at = last_us.wrapping_add(INTERRUPT_EVERY_US);
    pac::TIMER.alarm(1).write_value(at);
}

/// Works for so long.
fn busy(time_us: u32) {
    let start = pac::TIMER.timerawl().read();
    while pac::TIMER.timerawl().read().wrapping_sub(start) < time_us {}
}
