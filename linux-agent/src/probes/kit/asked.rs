//! A list that a thread fills, for files of sysfs that a driver answers: it may take its time, or hang.
//!
//! The list is handed to the thread, and comes back when it is filled. While the thread hangs it has the list, so that
//! nothing is known and nothing more is asked.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::read;

use super::workers::Workers;

/// The thread gets this long to answer in time for the sample that asked. If it is later, the next one has it.
pub const BUDGET: Duration = Duration::from_millis(50);

/// It is asked again after this.
pub const PERIOD: Duration = Duration::from_secs(1);

/// What it says is told for no longer than this, counted from the question.
pub const MAX_AGE: Duration = Duration::from_secs(5);

/// How much of a file [`text`] reads, in bytes.
pub const MAX_TEXT: usize = 32;

/// A list of type `L`, and the thread that fills it.
pub struct Asked<L> {
    workers: Workers<Desk<L>, ()>,
    desk: Desk<L>,
    list: Option<L>,
    is_filled: bool,
    asked_at: Option<Instant>,
}

impl<L: Send + 'static> Asked<L> {
    /// Nothing is known before the first [`Asked::refresh`]. `threads` counts those of all owners that ask this.
    pub fn new(list: L, fill: fn(&mut L), threads: &'static AtomicUsize) -> Self {
        let tray = Arc::default();
        let desk = Desk { fill, tray };
        let mut workers = Workers::new(Desk::work, threads);
        workers.set_subjects([desk.clone()]);
        Asked {
            workers,
            desk,
            list: Some(list),
            is_filled: false,
            asked_at: None,
        }
    }

    /// Asks again if it is time to, or `at_once`; `prepare` says what is asked for. Allocates only when it starts the
    /// thread.
    pub fn refresh(&mut self, now: Instant, at_once: bool, prepare: impl FnOnce(&mut L)) {
        let age = self.asked_at.map(|at| now.saturating_duration_since(at));
        if age.is_some_and(|age| age < PERIOD) && !at_once {
            return;
        }
        self.take_back();
        let Some(mut list) = self.list.take() else {
            return;
        };
        prepare(&mut list);
        self.desk.tray().to_fill = Some(list);
        self.asked_at = Some(now);
        self.workers.ask(BUDGET, |_, _| {});
        self.take_back();
    }

    /// The list as it was last filled, if that was not too long ago.
    pub fn known(&mut self, now: Instant) -> Option<&L> {
        self.take_back();
        let age = now.saturating_duration_since(self.asked_at?);
        let list = self.list.as_ref()?;
        (self.is_filled && age <= MAX_AGE).then_some(list)
    }

    /// Takes the list if the thread has it no more, or did not begin.
    fn take_back(&mut self) {
        let mut tray = self.desk.tray();
        if let Some(list) = tray.filled.take() {
            (self.list, self.is_filled) = (Some(list), true);
        } else if let Some(list) = tray.to_fill.take() {
            (self.list, self.is_filled) = (Some(list), false);
        }
    }
}

/// Where the list is handed over.
struct Desk<L> {
    fill: fn(&mut L),
    tray: Arc<Mutex<Tray<L>>>,
}

struct Tray<L> {
    to_fill: Option<L>,
    filled: Option<L>,
}

impl<L> Desk<L> {
    fn tray(&self) -> MutexGuard<'_, Tray<L>> {
        // Nothing that holds the lock can leave the tray half changed.
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn work(&self) {
        let list = self.tray().to_fill.take();
        if let Some(mut list) = list {
            (self.fill)(&mut list);
            self.tray().filled = Some(list);
        }
    }
}

impl<L> Clone for Desk<L> {
    fn clone(&self) -> Self {
        Desk {
            fill: self.fill,
            tray: Arc::clone(&self.tray),
        }
    }
}

impl<L> PartialEq for Desk<L> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tray, &other.tray)
    }
}

impl<L> Default for Tray<L> {
    fn default() -> Self {
        Tray {
            to_fill: None,
            filled: None,
        }
    }
}

/// The start of a file, filled up with zeros; these only if it cannot be read. Never allocates for paths below 256
/// bytes, since a thread that allocates gets a heap of its own.
pub fn text(path: &[u8]) -> [u8; MAX_TEXT] {
    const NONE: [u8; MAX_TEXT] = [0; MAX_TEXT];
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = open(path, flags, Mode::empty()) else {
        return NONE;
    };
    let is_regular = fstat(&file).is_ok_and(|it| FileType::from_raw_mode(it.st_mode).is_file());
    let mut text = NONE;
    match is_regular && read(&file, &mut text).is_ok() {
        true => text,
        false => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    static THREADS: AtomicUsize = AtomicUsize::new(0);

    /// What is to be asked, the answer, and how long that takes.
    type List = (u32, u32, Arc<Mutex<()>>);

    fn fill(list: &mut List) {
        drop(list.2.lock());
        list.1 = list.0 * 10;
    }

    /// Asks until the answer is there: on a busy machine the thread may not even begin in time.
    fn answered(asked: &mut Asked<List>, now: Instant, question: u32) -> u32 {
        loop {
            asked.refresh(now, true, |list| list.0 = question);
            if let Some(list) = asked.known(now) {
                return list.1;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_is_asked_once_a_period_or_at_once() {
        let mut asked = Asked::new(List::default(), fill, &THREADS);
        let start = Instant::now();
        assert!(asked.known(start).is_none());
        assert_eq!(answered(&mut asked, start, 1), 10);
        let never = |_: &mut List| panic!("asked before it is time to");
        asked.refresh(start + PERIOD / 2, false, never);
        assert_eq!(asked.known(start + PERIOD / 2).unwrap().1, 10);
        assert_eq!(asked.known(start + MAX_AGE).unwrap().1, 10);
        assert!(asked.known(start + MAX_AGE + PERIOD).is_none(), "too old");
        let mut is_asked = false;
        asked.refresh(start + PERIOD, false, |_| is_asked = true);
        assert!(is_asked);
        assert_eq!(answered(&mut asked, start + PERIOD, 4), 40);
    }

    #[test]
    fn while_it_hangs_nothing_is_known_and_nothing_waits() {
        let hang = Arc::new(Mutex::new(()));
        let list = (7, 0, Arc::clone(&hang));
        let mut asked = Asked::new(list, fill, &THREADS);
        let now = Instant::now();
        let hangs = hang.lock().unwrap();
        for _ in 0..100 {
            asked.refresh(now, true, |_| {});
            assert!(asked.known(now).is_none());
        }
        drop(hangs);
        assert_eq!(answered(&mut asked, now, 8), 80);
    }
}
