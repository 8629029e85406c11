//! An application of RTIC with a task in an interrupt and one in software, and mote in its idle task. What mote adds is
//! marked; the load of everything else is then seen.

#![no_std]
#![no_main]

#[rtic::app(device = lm3s6965, peripherals = false, dispatchers = [GPIOA])]
mod app {
    use embedded_io::ReadReady;
    use mote_firmware::{ClientId, Mcu, Node, Settings, turn}; // mote
    use mote_lm3s6965evb::{self as board, Uart};

    /// How often the timer interrupts in a second.
    const BEATS_HZ: u32 = 125;

    /// A thousandth of the time between two beats, in rounds of two instructions of 8 ns: what the emulator takes for one.
    const ROUNDS: u32 = 1_000_000_000 / BEATS_HZ / 1000 / 16;

    #[shared]
    struct Shared {
        beats: u32,
    }

    #[local]
    struct Local {
        node: &'static mut Node<Mcu>, // mote
        probes: Mcu,                  // mote
        uart: Uart,
    }

    #[init(local = [memory: Node<Mcu> = Node::new()])]
    fn init(cx: init::Context) -> (Shared, Local) {
        let uart = board::start(cx.core);
        // Its interrupt is bound below.
        board::start_timer(BEATS_HZ, || {});

        let node = cx.local.memory; // mote
        let services = [("McuLoad", "get_mcu_load", 1), ("McuRam", "get_mcu_ram", 5)]; // mote
        let probes = Mcu::new(&board::LOAD, &board::RAM, &board::RESET); // mote
        node.start(Settings::of(ClientId::Number(7)), &services, board::now()); // mote
        let local = Local { node, probes, uart };
        (Shared { beats: 0 }, local)
    }

    /// RTIC sleeps nowhere else, so all that the tasks do is load.
    #[idle(local = [node, probes, uart])]
    fn idle(cx: idle::Context) -> ! {
        loop {
            turn(cx.local.node, cx.local.probes, board::now(), cx.local.uart); // mote
            board::LOAD.sleep_unless(|| matches!(cx.local.uart.read_ready(), Ok(true))); // mote
        }
    }

    #[task(binds = TIMER_0A, priority = 2, shared = [beats])]
    fn beat(mut cx: beat::Context) {
        board::acknowledge_timer();
        cortex_m::asm::delay(100 * ROUNDS);
        cx.shared.beats.lock(|beats| *beats += 1);
        // It runs already if it is late.
        let _ = work::spawn();
    }

    #[task(priority = 1, shared = [beats])]
    async fn work(mut cx: work::Context) {
        let beats = cx.shared.beats.lock(|beats| *beats);
        // Every other time.
        if beats % 2 == 0 {
            cortex_m::asm::delay(300 * ROUNDS);
        }
    }
}
