//! The bodies of requests: how large one may be, how long it may take, and how much room there is for all of them
//! together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// All bodies that are being read or kept have at most this many bytes together. Each connection may bring a large
/// one, slowly.
pub const MAX_BODIES_BYTES: usize = 32 << 20;

/// This many bytes of a body that is too large are read and thrown away: a client that is cut off while it sends
/// would not see the answer, and would send everything again.
const MAX_DRAIN_BYTES: usize = 8 << 20;

/// `Retry-After` in seconds when there is no room.
const RETRY_AFTER_S: u64 = 1;

/// The room that bodies share.
pub struct Room(Arc<Semaphore>);

/// A body. It takes room until it is dropped.
pub struct Held {
    /// Its bytes.
    pub bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Room(Arc::new(Semaphore::new(MAX_BODIES_BYTES)))
    }
}

impl Room {
    /// Reads the body of a request, at most `max_bytes`.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        max_bytes: usize,
    ) -> Result<Held, Refusal> {
        let held = tokio::time::timeout(BODY_TIMEOUT, self.read_body(body, max_bytes))
            .await
            .map_err(|_| {
                Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("the body took longer than {} s", BODY_TIMEOUT.as_secs()),
                )
            })??;
        // Nothing here decompresses, so a body cannot grow.
        let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        match headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
            true => Ok(held),
            false => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a body with a Content-Encoding is not taken; send it uncompressed",
            )
            .with(ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
        }
    }

    async fn read_body(&self, mut body: Body, max_bytes: usize) -> Result<Held, Refusal> {
        let mut held = Held {
            bytes: Vec::new(),
            room: None,
        };
        let mut refusal = None;
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::bad("the body ends early"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            total += data.len();
            if total > MAX_DRAIN_BYTES {
                break;
            }
            if refusal.is_none() {
                refusal = match total <= max_bytes {
                    true => self.hold(&mut held, data).err(),
                    false => Some(Refusal::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("the body has more than {max_bytes} bytes"),
                    )),
                };
            }
            if refusal.is_some() {
                held.bytes = Vec::new();
                held.room = None;
            }
        }
        refusal.map_or(Ok(held), Err)
    }

    fn hold(&self, held: &mut Held, data: &[u8]) -> Result<(), Refusal> {
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.0).try_acquire_many_owned(count);
        let permit = permit.map_err(|_| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "there is no room for another body at the moment; try again later",
            )
            .with(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))
        })?;
        match &mut held.room {
            Some(room) => room.merge(permit),
            none => *none = Some(permit),
        }
        held.bytes.extend_from_slice(data);
        Ok(())
    }
}
