//! What the task, requests and reports share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::Engine;
use super::outbox::Outbox;
use super::records::AlarmRecord;
use super::tell::Teller;
use crate::collector::settings::notify::NotifySettings;

/// All that is known of alarms.
pub struct AlarmState {
    pub engine: Engine,
    pub outbox: Outbox,
    pub teller: Teller,
    pub notify: Arc<NotifySettings>,
    /// What waits for a database that is out of order.
    pub unwritten: Vec<AlarmRecord>,
}

/// One for all.
pub struct SharedAlarms(Mutex<AlarmState>);

impl SharedAlarms {
    /// With what is known at first.
    pub fn new(state: AlarmState) -> SharedAlarms {
        SharedAlarms(Mutex::new(state))
    }

    /// The state, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, AlarmState> {
        // What is known is right even if a thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
