//! Crashes as it is ordered to, to see what is left of it: a service of the plugin `null`, `overflow`, `panic`, `hang`,
//! `hang_masked` or `nowhere` is the end of the run. Otherwise it is `uart.rs`.

#![no_std]
#![no_main]

use core::hint::black_box;

use embassy_rp::bind_interrupts;
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{
    BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx, Config,
};
use embassy_time::Delay;
use mote_firmware::embassy::Executor;
use mote_firmware::{Board, ClientId, Context, Failed, LoadMark, Node, Settings, Uptime};
use mote_pico::{ChipThermometer, LOAD, Pico, SERVICES, Sample, identity, now};

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

struct Doomed(Pico<ChipThermometer>);

#[derive(Clone, Copy, PartialEq)]
enum Plugin {
    Pico(mote_pico::Plugin),
    Null,
    Nowhere,
    Overflow,
    Panic,
    Hang,
    HangMasked,
}

impl Board for Doomed {
    type Plugin = Plugin;
    type Baseline = LoadMark;
    type Sample = Sample;

    const NO_BASELINE: LoadMark = LoadMark::ZERO;

    fn plugin(name: &str) -> Option<Plugin> {
        Some(match name {
            "null" => Plugin::Null,
            "nowhere" => Plugin::Nowhere,
            "overflow" => Plugin::Overflow,
            "panic" => Plugin::Panic,
            "hang" => Plugin::Hang,
            "hang_masked" => Plugin::HangMasked,
            _ => return Pico::<ChipThermometer>::plugin(name).map(Plugin::Pico),
        })
    }

    fn at_once(plugin: Plugin) -> bool {
        matches!(plugin, Plugin::Pico(it) if Pico::<ChipThermometer>::at_once(it))
    }

    fn start(&mut self, plugin: Plugin, now: Uptime) -> LoadMark {
        match plugin {
            Plugin::Pico(plugin) => self.0.start(plugin, now),
            _ => LoadMark::ZERO,
        }
    }

    fn sample(
        &mut self,
        plugin: Plugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<Sample, Failed> {
        match plugin {
            Plugin::Pico(plugin) => return self.0.sample(plugin, baseline, context),
            Plugin::Null => write_to_null(),
            Plugin::Nowhere => call_nowhere(),
            Plugin::Overflow => overflow(),
            Plugin::Panic => index_out_of_bounds(),
            Plugin::Hang => hang(),
            Plugin::HangMasked => hang_masked(),
        }
        Err(Failed("it lives"))
    }

    fn feed(&mut self) {
        self.0.feed();
    }
}

#[inline(never)]
fn write_to_null() {
    // SAFETY: it is not; that is what it is for.
    unsafe { black_box(core::ptr::null_mut::<u32>()).write_volatile(7) };
}

#[inline(never)]
fn call_nowhere() {
    let nowhere: usize = black_box(0x4000_0001);
    // SAFETY: as above.
    let nowhere: fn() = unsafe { core::mem::transmute(nowhere) };
    nowhere();
}

#[inline(never)]
fn overflow() {
    black_box(recurse(black_box(1)));
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u32) -> u32 {
    let mut room = black_box([depth; 16]);
    room[3] = recurse(depth + 1);
    black_box(room)[5]
}

#[inline(never)]
fn index_out_of_bounds() {
    let numbers = black_box([1, 2, 3]);
    black_box(numbers[black_box(3)]);
}

#[inline(never)]
fn hang() {
    while black_box(true) {}
}

#[inline(never)]
fn hang_masked() {
    cortex_m::interrupt::free(|_| hang());
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut SEND: [u8; 64] = [0; 64];
    static mut RECEIVE: [u8; 64] = [0; 64];
    static mut NODE: Node<Doomed> = Node::new();
    static mut EXECUTOR: Option<Executor> = None;

    let p = embassy_rp::init(Default::default());
    let board = Doomed(Pico::new(p.WATCHDOG, p.ADC, p.ADC_TEMP_SENSOR));
    let client_id = identity(p.FLASH).client_id;
    let config = Config::default();
    let uart = BufferedUart::new(p.UART0, p.PIN_0, p.PIN_1, Irqs, SEND, RECEIVE, config);
    let (tx, rx) = uart.split();
    EXECUTOR.insert(Executor::new()).run(&LOAD, |spawner| {
        if let Ok(mote) = mote(NODE, board, client_id, rx, tx) {
            spawner.spawn(mote);
        }
    })
}

#[embassy_executor::task]
async fn mote(
    node: &'static mut Node<Doomed>,
    mut board: Doomed,
    client_id: ClientId<'static>,
    rx: BufferedUartRx,
    tx: BufferedUartTx,
) -> ! {
    node.start(Settings::of(client_id), &SERVICES, now());
    mote_firmware::run(node, &mut board, now, Delay, rx, tx).await
}
