//! Whether the server takes several reports in one request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use ureq::http::{HeaderMap, Uri};

use crate::protocol::BATCH;

/// Where a server takes them, below its address.
pub const BATCH_PATH: &str = "api/client/service/reports";

/// What a client knows of such requests.
pub struct Batches {
    pub(super) url: Uri,
    pub(super) is_offered: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Not before this.
    pub(super) again_at: Option<Instant>,
    /// The memory of their bodies.
    pub(super) body: Vec<u8>,
}

impl Batches {
    /// For a server that has offered nothing yet.
    pub fn new(url: Uri) -> Batches {
        Batches {
            url,
            is_offered: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Takes whether the server offers it, with its services document.
    pub fn note_offer(&self, headers: &HeaderMap) {
        let is_offered = headers.get(BATCH).is_some_and(|it| it == "1");
        self.is_offered.store(is_offered, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
