//! What drives a node: as a task, or from a loop.

use embassy_futures::select::{Either3, select3};
use embedded_hal_async::delay::DelayNs;
use embedded_io::{ReadReady, WriteReady};
use mote_core::Uptime;

use crate::board::Board;
use crate::clock::Clock;
use crate::node::Node;
use crate::sleeper::Sleeper;

/// After an error of the line it is left alone for so long, in milliseconds.
const PAUSE_MS: u32 = 20;

/// Runs a node for ever: reads orders from `rx`, writes reports to `tx`, and samples in time whether or not
/// they go.
///
/// A `read` or `write` that has not finished is dropped when a sample is due. It must not have taken or given
/// any bytes then, as is so with buffered drivers.
pub async fn run<
    B: Board,
    const SERVICES: usize,
    const NAME: usize,
    const RING: usize,
    const LINE: usize,
>(
    node: &mut Node<B, SERVICES, NAME, RING, LINE>,
    board: &mut B,
    clock: impl Clock,
    mut delay: impl DelayNs,
    mut rx: impl embedded_io_async::Read,
    mut tx: impl embedded_io_async::Write,
) -> ! {
    let mut chunk = [0; 32];
    loop {
        node.poll(clock.now(), board);
        let now = clock.now();
        let wait_ms = wait_ms::<B>(node.poll_at(), now);
        let line = node.outgoing(now);
        let write = async {
            match line {
                [] => core::future::pending().await,
                bytes => tx.write(bytes).await,
            }
        };
        let failed = match select3(rx.read(&mut chunk), write, delay.delay_ms(wait_ms)).await {
            Either3::First(Ok(length)) => {
                node.receive(chunk.get(..length).unwrap_or_default(), clock.now());
                length == 0
            }
            Either3::Second(Ok(length)) => {
                node.sent(length, clock.now());
                length == 0
            }
            Either3::First(Err(_)) | Either3::Second(Err(_)) => true,
            Either3::Third(()) => false,
        };
        if failed {
            delay.delay_ms(PAUSE_MS.min(wait_ms)).await;
        }
    }
}

/// One turn of a loop: samples what is due, and reads and writes as much as `link` is ready for. Gives the
/// time in milliseconds after which it should be called again; sooner if `link` is ready for more.
pub fn turn<
    B: Board,
    const SERVICES: usize,
    const NAME: usize,
    const RING: usize,
    const LINE: usize,
>(
    node: &mut Node<B, SERVICES, NAME, RING, LINE>,
    board: &mut B,
    now: Uptime,
    link: &mut (impl embedded_io::Read + ReadReady + embedded_io::Write + WriteReady),
) -> u32 {
    node.poll(now, board);
    let mut chunk = [0; 32];
    while let Ok(true) = link.read_ready()
        && let Ok(length @ 1..) = link.read(&mut chunk)
    {
        node.receive(chunk.get(..length).unwrap_or_default(), now);
    }
    while let line @ [_, ..] = node.outgoing(now)
        && let Ok(true) = link.write_ready()
        && let Ok(length @ 1..) = link.write(line)
    {
        node.sent(length, now);
    }
    wait_ms::<B>(node.poll_at(), now)
}

/// Runs a node for ever, where there is no executor and nothing else for the main program to do: what the
/// application does, it does in interrupts, or in its probes.
pub fn run_blocking<
    B: Board,
    const SERVICES: usize,
    const NAME: usize,
    const RING: usize,
    const LINE: usize,
>(
    node: &mut Node<B, SERVICES, NAME, RING, LINE>,
    board: &mut B,
    clock: impl Clock,
    sleeper: Sleeper,
    mut link: impl embedded_io::Read + ReadReady + embedded_io::Write + WriteReady,
) -> ! {
    loop {
        let wait_ms = turn(node, board, clock.now(), &mut link);
        let more = !node.outgoing(clock.now()).is_empty();
        sleeper.rest_ms(wait_ms, || {
            matches!(link.read_ready(), Ok(true))
                || (more && matches!(link.write_ready(), Ok(true)))
        });
    }
}

fn wait_ms<B: Board>(until: Uptime, now: Uptime) -> u32 {
    let wait_ms = until.millis_since(now);
    wait_ms.min(u64::from(B::FEED_EVERY_MS)) as u32
}
