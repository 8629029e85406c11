//! The queue's disk: opened by its first chore, then told what to do chore by chore.

use super::chore::{Chore, DiskError};
use super::segments::Segments;
use super::storage::Storage;

/// The disk of a queue, opened when its first chore is done.
#[derive(Debug)]
pub struct Disk<S> {
    storage: S,
    segments: Option<Segments<S>>,
    /// How often it could not be opened in a row.
    failed_opens: u32,
}

/// What cannot be read when the disk is opened is tried again so often before it is opened without.
const PATIENCE: u32 = 5;

impl<S: Storage + Clone> Disk<S> {
    /// The disk in `storage`.
    pub fn new(storage: S) -> Self {
        Disk {
            storage,
            segments: None,
            failed_opens: 0,
        }
    }

    /// Does a chore, for as long as the disk takes.
    pub fn perform(&mut self, chore: &mut Chore) -> Result<(), DiskError> {
        match &mut self.segments {
            Some(segments) => segments.perform(chore),
            None => {
                let storage = self.storage.clone();
                let tolerant = self.failed_opens >= PATIENCE;
                let clock = chore.clock.clone();
                let opened = Segments::open(storage, clock, chore.uptime_ms, tolerant);
                self.failed_opens += u32::from(opened.is_err());
                let (segments, found) = opened?;
                self.segments = Some(segments);
                chore.opened = Some(found);
                Ok(())
            }
        }
    }
}
