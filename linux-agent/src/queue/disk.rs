//! The queue's disk: opened by its first chore, then told what to do chore by chore.

use super::chore::{Chore, DiskError};
use super::segments::Segments;
use super::storage::Storage;

/// The disk of a queue, opened when its first chore is done.
#[derive(Debug)]
pub struct Disk<S> {
    storage: S,
    segments: Option<Segments<S>>,
}

impl<S: Storage + Clone> Disk<S> {
    /// The disk in `storage`.
    pub fn new(storage: S) -> Self {
        Disk {
            storage,
            segments: None,
        }
    }

    /// Does a chore, for as long as the disk takes.
    pub fn perform(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        match &mut self.segments {
            Some(segments) => segments.perform(chore),
            None => {
                let storage = self.storage.clone();
                let (segments, found) =
                    Segments::open(storage, chore.clock.clone(), chore.uptime_ms)?;
                self.segments = Some(segments);
                chore.opened = Some(found);
                Ok(())
            }
        }
    }
}
