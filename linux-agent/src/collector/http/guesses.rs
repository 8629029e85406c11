//! Codes that were wrong. A code has 100 random bits, so nobody finds one by guessing; whoever tries is slowed down, and
//! nobody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// The answer to the first wrong code of an address waits this long, to the next twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// And never longer than this.
pub const MAX_DELAY: Duration = Duration::from_secs(5);

/// The wrong codes of an address are forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// So many addresses are remembered.
const MAX_ADDRESSES: usize = 1024;

/// So many answers wait at a time; further ones do not, so that guesses take no connections from others.
const MAX_WAITING: usize = 32;

/// Counts wrong codes by address.
pub struct Guesses {
    wrong: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    waiting: Semaphore,
}

impl Default for Guesses {
    fn default() -> Self {
        Guesses {
            wrong: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

impl Guesses {
    /// Waits before a wrong code of `address` is answered.
    pub async fn slow_down(&self, address: IpAddr) {
        let delay = self.note(address, Instant::now());
        if let Ok(_place) = self.waiting.try_acquire() {
            tokio::time::sleep(delay).await;
        }
    }

    fn note(&self, address: IpAddr, now: Instant) -> Duration {
        // The counts are right even if a thread panicked.
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < FORGET_AFTER;
        if wrong.len() >= MAX_ADDRESSES {
            wrong.retain(|_, (at, _)| is_recent(*at));
        }
        let before = wrong.get(&address).filter(|(at, _)| is_recent(*at));
        let count = before.map_or(0, |(_, count)| *count);
        if before.is_some() || wrong.len() < MAX_ADDRESSES {
            wrong.insert(address, (now, count.saturating_add(1)));
        }
        FIRST_DELAY
            .saturating_mul(1 << count.min(16))
            .min(MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_waits_for_its_own_guesses() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let delay_ms = |host: u8, s| {
            let now = start + Duration::from_secs(s);
            let delay = guesses.note(IpAddr::from([192, 0, 2, host]), now);
            delay.as_millis()
        };
        let delays: Vec<_> = (0..9).map(|s| delay_ms(1, s)).collect();
        assert_eq!(delays, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(delay_ms(2, 9), 50);
        assert_eq!(delay_ms(1, 67), 5000);
        assert_eq!(delay_ms(1, 127), 50);
        for _ in 0..100 {
            assert!(delay_ms(3, 130) <= 5000);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for number in 0..5000_u32 {
            guesses.note(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(guesses.wrong.lock().unwrap().len(), MAX_ADDRESSES);
        let later = now + FORGET_AFTER;
        guesses.note(IpAddr::from([1; 4]), later);
        assert_eq!(guesses.wrong.lock().unwrap().len(), 1);
    }
}
