//! A delay for blocking drivers that sleeps while it waits.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_hal::delay::DelayNs;

use crate::load::LoadMeter;

/// An [`embedded_hal::delay::DelayNs`] that waits in a [`LoadMeter`]: a driver's waiting is sleep, not load.
/// Interrupts are served meanwhile; tasks of an executor are not.
#[derive(Clone, Copy)]
pub struct Sleeper {
    meter: &'static LoadMeter,
    ticks_per_ms: u32,
    /// A shorter wait is a busy loop.
    least_ticks: u64,
    alarm: fn(at: u32),
}

impl Sleeper {
    /// Sleeps until a timer's interrupt. `alarm` sets the timer to interrupt when the meter's counter, with
    /// `ticks_per_ms` ticks a millisecond, reads `at`. It may come early, and never comes if it is set too late.
    pub const fn with_alarm(
        meter: &'static LoadMeter,
        ticks_per_ms: u32,
        alarm: fn(at: u32),
    ) -> Self {
        Sleeper {
            meter,
            ticks_per_ms,
            // 16 µs: setting an alarm and taking its interrupt takes some.
            least_ticks: ticks_per_ms as u64 / 64,
            alarm,
        }
    }

    /// Sleeps from one interrupt to the next where one comes at least every `beat_ticks`, such as that of
    /// SysTick: so a wait may take a beat longer than was asked for, and one shorter than a beat is load.
    pub const fn with_beat(meter: &'static LoadMeter, ticks_per_ms: u32, beat_ticks: u32) -> Self {
        Sleeper {
            meter,
            ticks_per_ms,
            least_ticks: beat_ticks as u64,
            alarm: |_| {},
        }
    }

    /// Sleeps until an interrupt comes, for at most so long; not at all if there is something to do, which `awake` looks
    /// at with interrupts masked.
    pub fn rest_ms(&self, ms: u32, mut awake: impl FnMut() -> bool) {
        let until = self.after_ms(ms);
        (self.alarm)(until as u32);
        self.meter
            .sleep_unless(|| self.meter.now() >= until || awake());
    }

    /// Runs `future` to its end, asleep while it waits for an interrupt. `None`: it took longer than `limit_ms` and
    /// was dropped.
    pub fn block_on<F: Future>(&self, future: F, limit_ms: u32) -> Option<F::Output> {
        let until = self.after_ms(limit_ms);
        let mut future = pin!(future);
        // It needs no waker: it is polled after each interrupt, with interrupts masked, so an interrupt after a
        // poll ends the sleep.
        let mut context = Context::from_waker(Waker::noop());
        let mut output = None;
        let mut late = false;
        while output.is_none() && !late {
            (self.alarm)(until as u32);
            self.meter.sleep_unless(|| {
                if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                    output = Some(value);
                }
                late = self.meter.now() >= until;
                output.is_some() || late
            });
        }
        output
    }

    fn wait(&self, ticks: u64) {
        let until = self.meter.now() + ticks;
        while self.meter.now() < until {
            if ticks >= self.least_ticks {
                (self.alarm)(until as u32);
                self.meter.sleep_unless(|| self.meter.now() >= until);
            }
        }
    }

    fn after_ms(&self, ms: u32) -> u64 {
        self.meter.now() + u64::from(ms) * u64::from(self.ticks_per_ms)
    }
}

impl DelayNs for Sleeper {
    fn delay_ns(&mut self, ns: u32) {
        let ticks = u64::from(ns) * u64::from(self.ticks_per_ms);
        self.wait(ticks.div_ceil(1_000_000));
    }

    fn delay_us(&mut self, us: u32) {
        let ticks = u64::from(us) * u64::from(self.ticks_per_ms);
        self.wait(ticks.div_ceil(1000));
    }

    fn delay_ms(&mut self, ms: u32) {
        self.wait(u64::from(ms) * u64::from(self.ticks_per_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::boxed::Box;
    use std::future::{pending, poll_fn, ready};

    std::thread_local! {
        static COUNTER: Cell<u32> = const { Cell::new(0) };
        static ALARM: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Each look at it takes a tick: on a host nobody sleeps. Each test runs in a thread, and so has a counter and a
    /// meter, of its own.
    fn meter() -> &'static LoadMeter {
        Box::leak(Box::new(LoadMeter::new(|| {
            COUNTER.set(COUNTER.get().wrapping_add(1));
            COUNTER.get()
        })))
    }

    fn with_alarm(meter: &'static LoadMeter) -> Sleeper {
        Sleeper::with_alarm(meter, 1000, |at| ALARM.set(Some(at)))
    }

    #[test]
    fn a_wait_is_as_long_as_it_was_asked_for() {
        let meter = meter();
        type Wait = fn(&mut Sleeper);
        let cases: [(Wait, u32); 4] = [
            (|it| it.delay_ms(7), 7000),
            (|it| it.delay_us(940), 940),
            (|it| it.delay_ns(20_001), 21),
            (|it| it.delay_ns(1), 1),
        ];
        for (wait, ticks) in cases {
            let mut sleeper = with_alarm(meter);
            let start = meter.now() as u32;
            wait(&mut sleeper);
            let waited = meter.now() as u32 - start;
            assert!((ticks..ticks + 6).contains(&waited), "{ticks}: {waited}");
        }
    }

    #[test]
    fn the_alarm_is_set_for_the_end() {
        let meter = meter();
        let start = meter.now() as u32;
        with_alarm(meter).delay_ms(3);
        let at = ALARM.take().unwrap() - start;
        assert!((3000..3004).contains(&at), "{at}");
        with_alarm(meter).delay_us(10);
        assert_eq!(ALARM.take(), None, "too short for sleep");
    }

    #[test]
    fn between_beats_it_sleeps_as_long_as_it_can() {
        let meter = meter();
        let mut sleeper = Sleeper::with_beat(meter, 1000, 500);
        let mut mark = meter.mark();
        sleeper.delay_us(499);
        assert_eq!(meter.since(&mut mark).unwrap().wakeups, 0);
        sleeper.delay_us(500);
        assert!(meter.since(&mut mark).unwrap().wakeups > 0);
    }

    #[test]
    fn a_future_has_its_time_and_no_more() {
        let meter = meter();
        let sleeper = with_alarm(meter);
        assert_eq!(sleeper.block_on(ready(7), 1), Some(7));
        let mut polls = 0;
        let third = poll_fn(|_| {
            polls += 1;
            if polls == 3 {
                Poll::Ready(polls)
            } else {
                Poll::Pending
            }
        });
        assert_eq!(sleeper.block_on(third, 1), Some(3));
        let start = meter.now() as u32;
        assert_eq!(sleeper.block_on(pending::<()>(), 2), None);
        let waited = meter.now() as u32 - start;
        assert!((2000..2010).contains(&waited), "{waited}");
    }
}
