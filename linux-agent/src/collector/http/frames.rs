//! The state of all hosts, second by second, as it passes from the task that looks to those who listen.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

/// So many may listen at a time, where there are enough connections.
pub const MAX_STREAMS: usize = 64;

/// Of all connections, one in so many may listen: the others are for agents and pages.
pub const STREAM_SHARE: usize = 4;

/// An older frame is not told: nobody listened meanwhile.
const FRESH: Duration = Duration::from_millis(1500);

/// All hosts at one time.
pub struct Frame {
    pub now_ms: i64,
    /// Counts the frames.
    pub number: u64,
    /// The frame since which these are the hosts, in this order.
    pub listed: u64,
    pub hosts: Vec<Shown>,
    /// How many alarms are active.
    pub alarms: usize,
    /// The frame since which it is these.
    pub alarmed: u64,
    /// The collector ends.
    pub is_last: bool,
    /// When it was made, if ever.
    pub made: Option<Instant>,
}

/// A host, as it is told.
#[derive(Clone)]
pub struct Shown {
    /// The frame that it changed with.
    pub changed: u64,
    /// Its JSON, as a line of an event.
    pub line: Bytes,
}

/// Those who listen, and what they are told.
pub struct Live {
    /// So many may listen.
    pub most: usize,
    pub places: Arc<Semaphore>,
    pub frames: watch::Sender<Arc<Frame>>,
    /// Whether the task that makes frames has begun.
    pub is_begun: AtomicBool,
    /// Tells it that somebody listens.
    pub listens: Notify,
}

impl Live {
    /// For a collector that takes so many connections.
    pub fn new(max_connections: u32) -> Live {
        let most = (max_connections as usize / STREAM_SHARE).clamp(1, MAX_STREAMS);
        Live {
            most,
            places: Arc::new(Semaphore::new(most)),
            frames: watch::Sender::new(Arc::new(Frame::none())),
            is_begun: AtomicBool::new(false),
            listens: Notify::new(),
        }
    }

    /// Ends all streams, since the collector ends.
    pub fn close(&self) {
        let last = Frame {
            is_last: true,
            ..Frame::none()
        };
        self.frames.send_replace(Arc::new(last));
    }
}

impl Frame {
    fn none() -> Frame {
        Frame {
            now_ms: 0,
            number: 0,
            listed: 0,
            hosts: Vec::new(),
            alarms: 0,
            alarmed: 0,
            is_last: false,
            made: None,
        }
    }

    /// Whether it shows how things are now.
    pub fn is_fresh(&self) -> bool {
        self.made.is_some_and(|made| made.elapsed() < FRESH)
    }

    /// Whether anything has changed since the frame that is `known`.
    pub fn has_news(&self, known: u64) -> bool {
        known < self.listed.max(self.alarmed) || self.hosts.iter().any(|it| it.changed > known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_alarm_is_news_until_it_is_known() {
        let frame = Frame {
            number: 7,
            listed: 1,
            alarms: 1,
            alarmed: 7,
            ..Frame::none()
        };
        assert!(frame.has_news(6));
        assert!(!frame.has_news(7));
    }
}
