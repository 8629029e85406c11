//! Comparing passwords, which is made to be costly: a few at a time, and not on the thread that answers.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use crate::collector::password::PasswordHash;
use crate::collector::store::Unavailable;

/// So many passwords are compared at a time; each takes a processor and 19 MiB for a moment.
pub const MAX_HASHING: usize = 2;

/// So many wait for that; further ones are refused.
pub const MAX_WAITING: usize = 16;

/// Where passwords wait to be compared.
pub struct Hashing {
    places: Arc<Semaphore>,
    waiting: Semaphore,
    /// What the password of a name that nobody has is compared with, so that it takes as long.
    nobodys: PasswordHash,
}

impl Hashing {
    /// Fails if the system has no random numbers.
    pub fn new() -> std::io::Result<Hashing> {
        Ok(Hashing {
            places: Arc::new(Semaphore::new(MAX_HASHING)),
            waiting: Semaphore::new(MAX_WAITING),
            nobodys: PasswordHash::of("a password of nobody")?,
        })
    }

    /// Whether it is the password with this hash. Without one it takes as long, and is not.
    pub async fn is_right(
        &self,
        hash: Option<PasswordHash>,
        password: String,
    ) -> Result<bool, Refusal> {
        let busy = || {
            let sentence = "too many people log in at once; try again";
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence);
            refusal.with(RETRY_AFTER, HeaderValue::from_static("1"))
        };
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| busy())?;
        let is_somebodys = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobodys.clone());
        // Whoever goes away takes the place along until it is done.
        let compared = tokio::task::spawn_blocking(move || {
            let _place = place;
            hash.matches(&password)
        });
        let matches = compared.await.map_err(|_| Unavailable)?;
        Ok(matches && is_somebodys)
    }
}
