//! Passwords that were tried. After a few wrong ones an address has to wait, each time twice as long, so that passwords
//! cannot be guessed. Nobody else waits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many wrong passwords in a row cost nothing.
const FREE: u32 = 5;

/// The longest wait.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Wrong passwords of an address are forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);

/// So many addresses are remembered; the one that tried longest ago goes first.
pub const MAX_ADDRESSES: usize = 4096;

/// Counts tries by address.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Tried>>);

#[derive(Clone, Copy)]
struct Tried {
    last: Instant,
    count: u32,
}

impl Attempts {
    /// Counts a try, which is a wrong one until [`right`](Self::right) is called: tries side by side are no way around.
    /// `Err`: how long the address has to wait first; that try does not count.
    pub fn begin(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        // The counts are right even if a thread panicked.
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network_of(address);
        let since = |it: &Tried| now.saturating_duration_since(it.last);
        let before = tried.get(&address).filter(|it| since(it) < FORGET_AFTER);
        let count = before.map_or(0, |it| it.count);
        if let Some(before) = before {
            let left = wait_after(count).saturating_sub(since(before));
            if !left.is_zero() {
                return Err(left);
            }
        }
        if tried.len() >= MAX_ADDRESSES && !tried.contains_key(&address) {
            let oldest = tried
                .iter()
                .min_by_key(|(_, it)| it.last)
                .map(|(it, _)| *it);
            oldest.map(|it| tried.remove(&it));
        }
        let count = count.saturating_add(1);
        tried.insert(address, Tried { last: now, count });
        Ok(())
    }

    /// The password was right: the address begins anew.
    pub fn right(&self, address: IpAddr) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.remove(&network_of(address));
    }
}

fn wait_after(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => Duration::from_secs(1 << over.min(16)).min(MAX_WAIT),
    }
}

/// Whoever has an address of IPv6 has the other 2⁶⁴ of its network too.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => Ipv6Addr::from_bits(it.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_after_five_doubles_the_wait_of_its_address() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..5 {
            assert_eq!(attempts.begin(one, at(0)), Ok(()));
        }
        let mut now = 0;
        for wait_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = Duration::from_secs(wait_s);
            assert_eq!(attempts.begin(one, at(now)), Err(wait));
            // Asking meanwhile does not prolong it.
            now += 1000 * wait_s - 1;
            assert_eq!(attempts.begin(one, at(now)), Err(Duration::from_millis(1)));
            now += 1;
            assert_eq!(attempts.begin(one, at(now)), Ok(()));
        }
        assert_eq!(attempts.begin(other, at(now)), Ok(()));
        attempts.right(one);
        assert_eq!(attempts.begin(one, at(now)), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_count_together() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let begin = |text: &str| attempts.begin(text.parse().unwrap(), now);
        for host in 1..=5 {
            assert_eq!(begin(&format!("2001:db8::{host}")), Ok(()));
        }
        assert!(begin("2001:db8::6").is_err());
        assert_eq!(begin("2001:db8:0:1::6"), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let first = IpAddr::from([255; 4]);
        for _ in 0..5 {
            assert_eq!(attempts.begin(first, start), Ok(()));
        }
        assert!(attempts.begin(first, start).is_err());
        for number in 0..5000_u32 {
            let now = start + Duration::from_millis(u64::from(number) + 1);
            let address = IpAddr::from(number.to_be_bytes());
            assert_eq!(attempts.begin(address, now), Ok(()));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), MAX_ADDRESSES);
        let last = IpAddr::from(4999_u32.to_be_bytes());
        for _ in 0..5 {
            let _ = attempts.begin(last, start + FORGET_AFTER);
        }
        assert!(attempts.begin(last, start + FORGET_AFTER).is_err());
        assert_eq!(
            attempts.begin(last, start + FORGET_AFTER + FORGET_AFTER),
            Ok(())
        );
    }
}
