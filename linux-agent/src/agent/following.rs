//! Which services documents of the server are followed.

use mote_core::Uptime;

/// A server whose database fails may answer that there are no services. That is believed when an answer says the same
/// after this, in milliseconds.
pub const EMPTY_AGAIN_MS: u64 = 60_000;

/// The document that is followed, and whether the server has begun to say otherwise.
#[derive(Debug, Default)]
pub struct Following {
    document: Vec<u8>,
    has_services: bool,
    /// Since when the server orders nothing any more.
    empty_since: Option<Uptime>,
}

/// What to do with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in force already.
    Same,
    /// From now on it is in force.
    Follow,
    /// It orders nothing, and it is not clear yet whether that is meant: ask again.
    Doubt,
}

impl Following {
    /// The document that is in force; empty if there is none.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// What to do with a valid document that the server gave.
    pub fn judge(&mut self, document: &[u8], has_services: bool, now: Uptime) -> Decision {
        if has_services || !self.has_services {
            self.empty_since = None;
            return match document == self.document {
                true => Decision::Same,
                false => Decision::Follow,
            };
        }
        let since = *self.empty_since.get_or_insert(now);
        match now.millis_since(since) >= EMPTY_AGAIN_MS {
            true => Decision::Follow,
            false => Decision::Doubt,
        }
    }

    /// A document is in force now.
    pub fn follow(&mut self, document: Vec<u8>, has_services: bool) {
        *self = Following {
            document,
            has_services,
            empty_since: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"{\"services\": {}}";

    fn at(seconds: u64) -> Uptime {
        Uptime::from_millis(1000 * seconds)
    }

    fn following_one() -> Following {
        let mut following = Following::default();
        following.follow(b"one".to_vec(), true);
        following
    }

    #[test]
    fn no_services_after_some_are_believed_a_minute_later() {
        let mut following = following_one();
        assert_eq!(following.judge(EMPTY, false, at(10)), Decision::Doubt);
        assert_eq!(following.judge(EMPTY, false, at(69)), Decision::Doubt);
        assert_eq!(following.judge(EMPTY, false, at(70)), Decision::Follow);
        following.follow(EMPTY.to_vec(), false);
        assert_eq!(following.judge(EMPTY, false, at(71)), Decision::Same);
        assert_eq!(following.judge(b"two", true, at(72)), Decision::Follow);
    }

    #[test]
    fn a_good_answer_between_begins_the_minute_anew() {
        let mut following = following_one();
        assert_eq!(following.judge(EMPTY, false, at(0)), Decision::Doubt);
        assert_eq!(following.judge(b"one", true, at(30)), Decision::Same);
        assert_eq!(following.judge(EMPTY, false, at(61)), Decision::Doubt);
    }

    #[test]
    fn no_services_at_the_beginning_are_followed_at_once() {
        let mut following = Following::default();
        assert_eq!(following.judge(EMPTY, false, at(0)), Decision::Follow);
    }
}
