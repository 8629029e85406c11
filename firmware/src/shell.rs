//! What drives a node: as a task, or from a loop.

use core::future::pending;

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embedded_hal_async::delay::DelayNs;
use embedded_io::{ReadReady, WriteReady};
use mote_core::Uptime;

use crate::board::Board;
use crate::clock::Clock;
use crate::node::Node;
use crate::sleeper::Sleeper;

/// Pause after an error of the line, in milliseconds.
const PAUSE_MS: u32 = 20;

/// Bytes that are read at a time.
const CHUNK: usize = 32;

/// Runs a node for ever: reads orders from `rx`, writes reports to `tx`, and samples in time even if nothing can be
/// sent.
///
/// An unfinished `read` or `write` is dropped when a sample is due. It must not have moved any bytes then; buffered
/// drivers keep to that.
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
    let mut chunk = [0; CHUNK];
    let mut writes = true;
    loop {
        node.poll(clock.now(), board);
        let now = clock.now();
        let wait_ms = wait_ms::<B>(node.poll_at(), now);
        // After a write that failed, reading has a turn.
        let (line, wait_ms) = match core::mem::replace(&mut writes, true) {
            true => (node.outgoing(now), wait_ms),
            false => (&[][..], wait_ms.min(PAUSE_MS)),
        };
        let write = async {
            match line {
                [] => pending().await,
                bytes => tx.write(bytes).await,
            }
        };
        // In this order: sending and sampling come first, no matter how much is received.
        let done = select3(write, delay.delay_ms(wait_ms), rx.read(&mut chunk)).await;
        let now = clock.now();
        match done {
            Either3::First(Ok(length @ 1..)) => node.sent(length, now),
            Either3::First(_) => writes = false,
            Either3::Second(()) => {}
            Either3::Third(Ok(length @ 1..)) => {
                node.receive(chunk.get(..length).unwrap_or_default(), now);
                // And so do other tasks.
                yield_now().await;
            }
            Either3::Third(_) => delay.delay_ms(PAUSE_MS.min(wait_ms)).await,
        }
    }
}

/// One turn of a loop: samples what is due, reads at most as much as a line may have, and writes as much as `link` is
/// ready for. Gives the time in milliseconds after which it should be called again; sooner if `link` is ready for more.
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
    let mut chunk = [0; CHUNK];
    let mut room = LINE;
    // Bounded, no matter how much is received.
    while room > 0
        && let Ok(true) = link.read_ready()
        && let Ok(length @ 1..) = link.read(&mut chunk)
    {
        node.receive(chunk.get(..length).unwrap_or_default(), now);
        room = room.saturating_sub(length);
    }
    while let line @ [_, ..] = node.outgoing(now)
        && let Ok(true) = link.write_ready()
        && let Ok(length @ 1..) = link.write(line)
    {
        node.sent(length, now);
    }
    match room {
        0 => 0,
        _ => wait_ms::<B>(node.poll_at(), now),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use embedded_io::{ErrorKind, ErrorType};
    use std::rc::Rc;
    use std::string::String;
    use std::vec::Vec;

    use crate::board::{Context as Sampling, Failed};
    use crate::{ClientId, Settings, Status};

    /// Bytes without end, or an end: a task that stays with them for so long has forgotten all others.
    const PATIENCE: u32 = 10_000;

    struct Probes;

    impl Board for Probes {
        type Plugin = ();
        type Baseline = ();
        type Sample = Status;

        const NO_BASELINE: () = ();

        fn plugin(_: &str) -> Option<()> {
            Some(())
        }

        fn start(&mut self, _: (), _: Uptime) {}

        fn sample(&mut self, _: (), _: &mut (), _: &Sampling) -> Result<Status, Failed> {
            Ok(Status::OK)
        }
    }

    fn node() -> Node<Probes> {
        let mut node = Node::new();
        let settings = Settings {
            first_sample_spread_ms: 0,
            ..Settings::of(ClientId::Number(7))
        };
        node.start(settings, &[("A", "", 1)], Uptime::from_millis(0));
        node
    }

    /// What a direction of a line does.
    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        Everything,
        Nothing,
        Fail,
    }

    #[derive(Clone)]
    struct Line {
        reading: Does,
        writing: Does,
        reads: Rc<Cell<u32>>,
        written: Rc<Cell<Vec<u8>>>,
    }

    impl Line {
        fn new(reading: Does, writing: Does) -> Self {
            Line {
                reading,
                writing,
                reads: Rc::default(),
                written: Rc::default(),
            }
        }

        fn text(&self) -> String {
            String::from_utf8(self.written.take()).unwrap()
        }
    }

    impl ErrorType for Line {
        type Error = ErrorKind;
    }

    impl embedded_io_async::Read for Line {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            self.reads.set(self.reads.get() + 1);
            assert!(self.reads.get() < PATIENCE, "nothing else gets its turn");
            match self.reading {
                Does::Everything => {
                    buffer.fill(b'x');
                    Ok(buffer.len())
                }
                Does::Nothing => pending().await,
                Does::Fail => Err(ErrorKind::Other),
            }
        }
    }

    impl embedded_io_async::Write for Line {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            embedded_io::Write::write(self, bytes)
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    impl embedded_io::Read for Line {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            self.reads.set(self.reads.get() + 1);
            assert!(self.reads.get() < PATIENCE, "nothing else gets its turn");
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }

    impl ReadReady for Line {
        fn read_ready(&mut self) -> Result<bool, ErrorKind> {
            Ok(self.reading == Does::Everything)
        }
    }

    impl embedded_io::Write for Line {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            if self.writing == Does::Fail {
                return Err(ErrorKind::Other);
            }
            let mut written = self.written.take();
            written.extend_from_slice(bytes);
            self.written.set(written);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    impl WriteReady for Line {
        fn write_ready(&mut self) -> Result<bool, ErrorKind> {
            Ok(true)
        }
    }

    /// Time passes by a millisecond with each look at it.
    #[derive(Clone, Default)]
    struct Time(Rc<Cell<u64>>);

    impl Clock for Time {
        fn now(&self) -> Uptime {
            self.0.set(self.0.get() + 1);
            Uptime::from_millis(self.0.get())
        }
    }

    impl DelayNs for Time {
        async fn delay_ns(&mut self, ns: u32) {
            let until = self.0.get() + u64::from(ns / 1_000_000);
            core::future::poll_fn(|_| {
                // Whoever polls lets time pass.
                self.0.set(self.0.get() + 1);
                match self.0.get() >= until {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
    }

    /// Polls a node's task as an executor would, with other tasks between.
    fn run_for(turns: u32, line: &Line) {
        let time = Time::default();
        let (mut node, mut board) = (node(), Probes);
        let run = run(
            &mut node,
            &mut board,
            time.clone(),
            time,
            line.clone(),
            line.clone(),
        );
        let mut run = pin!(run);
        for _ in 0..turns {
            let mut context = Context::from_waker(Waker::noop());
            assert!(run.as_mut().poll(&mut context).is_pending());
        }
    }

    #[test]
    fn a_flood_leaves_room_for_reports_and_other_tasks() {
        let line = Line::new(Does::Everything, Does::Everything);
        run_for(3000, &line);
        assert_eq!(line.reads.get(), 3000);
        let text = line.text();
        assert!(text.contains(r#""get":"services""#), "{text}");
        assert!(text.contains(r#""uptime":2,"#), "{text}");
    }

    #[test]
    fn a_flood_leaves_a_loop_its_turn() {
        let mut line = Line::new(Does::Everything, Does::Everything);
        let mut node = node();
        for turns in 1..=3 {
            let now = Uptime::from_millis(1000 * u64::from(turns));
            let wait_ms = turn(&mut node, &mut Probes, now, &mut line);
            assert_eq!(wait_ms, 0, "there is more");
            // As much as a line may have.
            assert_eq!(line.reads.get(), turns * 512 / 32);
        }
        let text = line.text();
        assert!(text.contains(r#""get":"services""#), "{text}");
        assert!(text.contains(r#""uptime":2,"#), "{text}");
    }

    #[test]
    fn a_direction_that_fails_stops_no_other() {
        let no_writing = Line::new(Does::Everything, Does::Fail);
        run_for(3000, &no_writing);
        assert!(no_writing.reads.get() > 2000, "{}", no_writing.reads.get());

        let no_reading = Line::new(Does::Fail, Does::Everything);
        run_for(3000, &no_reading);
        // It is tried again after a pause.
        let reads = no_reading.reads.get();
        assert!((50..200).contains(&reads), "{reads}");
        assert!(no_reading.text().contains(r#""uptime":2,"#));

        let silent = Line::new(Does::Nothing, Does::Everything);
        run_for(3000, &silent);
        assert!(silent.text().contains(r#""uptime":2,"#));
    }
}
