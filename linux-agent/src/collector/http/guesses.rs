//! Counts wrong codes, and limits how many are checked.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// At most this many wrong codes are checked in a [`WINDOW`], from all clients together.
pub const MAX_WRONG: u32 = 10;

/// Over how long wrong codes are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Counts wrong codes. One count for all: a count for each address would let somebody with many addresses use up
/// memory.
#[derive(Default)]
pub struct Guesses(Mutex<Option<Window>>);

struct Window {
    began: Instant,
    wrong: u32,
}

impl Guesses {
    /// Counts a code as wrong before it is checked, so that many at the same instant are counted too. If it may not
    /// be checked now, the error says how long to wait.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut window = self.lock();
        match &mut *window {
            Some(Window { began, wrong }) if now.duration_since(*began) < WINDOW => {
                if *wrong >= MAX_WRONG {
                    return Err(WINDOW.saturating_sub(now.duration_since(*began)));
                }
                *wrong += 1;
            }
            _ => {
                *window = Some(Window {
                    began: now,
                    wrong: 1,
                })
            }
        }
        Ok(())
    }

    /// Notes that the code was right.
    pub fn give_back(&self) {
        if let Some(window) = &mut *self.lock() {
            window.wrong = window.wrong.saturating_sub(1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Window>> {
        // Nothing panics while holding it, and the count would be right anyway.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_wrong_codes_the_next_waits_for_the_minute() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for s in 0..10 {
            guesses.take(at(s)).unwrap();
        }
        assert_eq!(guesses.take(at(20)), Err(Duration::from_secs(40)));
        guesses.give_back();
        assert_eq!(guesses.take(at(59)), Ok(()));
        assert_eq!(guesses.take(at(59)), Err(Duration::from_secs(1)));
        assert_eq!(guesses.take(at(60)), Ok(()));
        // The minute begins anew with the first code after it.
        for _ in 1..10 {
            guesses.take(at(119)).unwrap();
        }
        assert_eq!(guesses.take(at(119)), Err(Duration::from_secs(1)));
    }
}
