//! How long to wait after a failure: exponential, capped, with jitter.

/// Delays that double with each failure in a row, up to a cap. They are spread at random, so that clients that lost
/// a server at the same instant do not all come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u8,
    state: u32,
}

/// The delay after the first failure, before jitter, in milliseconds.
pub const FIRST_MS: u32 = 1000;

/// 12 days in milliseconds, which still fit 32 bits.
const MAX_DOUBLINGS: u8 = 20;

impl Backoff {
    /// Begins without a failure. Two clients should have different seeds.
    pub const fn new(seed: u32) -> Self {
        Backoff {
            failures: 0,
            state: seed,
        }
    }

    /// Failures in a row.
    pub const fn failures(&self) -> u8 {
        self.failures
    }

    /// The next failure starts at the shortest delay again.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts one more failure and draws a delay in milliseconds: uniform between `floor_ms` and
    /// [`FIRST_MS`] doubled once a failure before this one, but at most `cap_ms`.
    ///
    /// A floor of 0 is "full jitter". The delay is never above `cap_ms` unless the floor is.
    pub const fn failed(&mut self, floor_ms: u32, cap_ms: u32) -> u32 {
        let doublings = if self.failures < MAX_DOUBLINGS {
            self.failures
        } else {
            MAX_DOUBLINGS
        };
        self.failures = self.failures.saturating_add(1);
        let doubled_ms = FIRST_MS << doublings;
        let ceiling = if doubled_ms < cap_ms {
            doubled_ms
        } else {
            cap_ms
        };
        let room = ceiling.saturating_sub(floor_ms);
        floor_ms.saturating_add(self.below(room.saturating_add(1)))
    }

    /// A number below `bound`, which is not 0.
    const fn below(&mut self, bound: u32) -> u32 {
        // Xorshift32: Marsaglia, "Xorshift RNGs", 2003.
        // Xorshift never leaves 0.
        let mut x = if self.state == 0 {
            0x9E37_79B9
        } else {
            self.state
        };
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.state = x;
        ((x as u64 * bound as u64) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            for ceiling in [1000, 2000, 4000, 8000, 10_000, 10_000] {
                assert!(backoff.failed(0, 10_000) <= ceiling);
            }
            backoff.succeeded();
            assert!(backoff.failed(0, 10_000) <= 1000);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "40,000 draws take Miri a quarter of a minute")]
    fn jitter_is_spread_over_the_whole_range() {
        let mut quarters = [0u32; 4];
        for seed in 1..4001u32 {
            let mut backoff = Backoff::new(seed.wrapping_mul(2_654_435_761));
            backoff.failed(0, 60_000);
            for _ in 0..10 {
                backoff.failed(0, 60_000);
            }
            let delay = backoff.failed(20_000, 60_000);
            quarters[(delay as usize - 20_000) * 4 / 40_001] += 1;
        }
        for count in quarters {
            assert!((850..1150).contains(&count), "{quarters:?}");
        }
    }

    #[test]
    fn a_floor_above_the_cap_wins() {
        let mut backoff = Backoff::new(7);
        assert_eq!(backoff.failed(5000, 100), 5000);
        for _ in 0..300 {
            backoff.failed(0, u32::MAX);
        }
    }
}
