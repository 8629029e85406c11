//! The link of a start: as long as there are no users, whoever starts a collector that others reach gets one, to look at
//! it from elsewhere. It works once, and for an hour.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sessions::new_token;
use crate::collector::digest::Digest;

/// How long it works.
pub const LIFE: Duration = Duration::from_secs(3600);

/// The code in the link, until it is used.
#[derive(Default)]
pub struct OneTimeLink(Mutex<Option<(Digest, Instant)>>);

impl OneTimeLink {
    /// Makes one, in place of the one before. Gives its code.
    pub fn make(&self) -> io::Result<String> {
        let code = new_token()?;
        let digest = Digest::of(code.as_bytes());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, Instant::now()));
        Ok(code)
    }

    /// Uses it up, if this is its code.
    pub fn take(&self, code: &str) -> bool {
        self.take_at(code, Instant::now())
    }

    fn take_at(&self, code: &str, now: Instant) -> bool {
        let mut link = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = link.as_ref().is_some_and(|(digest, made)| {
            now.saturating_duration_since(*made) < LIFE
                && digest.matches(&Digest::of(code.as_bytes()))
        });
        if is_it {
            *link = None;
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_once_and_for_an_hour() {
        let link = OneTimeLink::default();
        assert!(!link.take(""));
        let code = link.make().unwrap();
        assert!(!link.take("") && !link.take(&code[1..]));
        assert!(!link.take_at(&code, Instant::now() + LIFE));
        assert!(link.take(&code));
        assert!(!link.take(&code));
        let (one, other) = (link.make().unwrap(), link.make().unwrap());
        assert!(!link.take(&one));
        assert!(link.take(&other));
    }
}
