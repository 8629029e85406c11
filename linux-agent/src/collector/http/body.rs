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
use super::unpack::{Coding, unpack};

/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// All bodies that are being read or kept have at most this many bytes together, unpacked. Each connection may bring a
/// large one, slowly.
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
    /// What they, and what is made of them, take of the room.
    pub room: Option<OwnedSemaphorePermit>,
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
        let held = self.read_in_time(body, max_bytes).await?;
        match is_plain(headers) {
            true => Ok(held),
            false => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a body with a Content-Encoding is not taken; send it uncompressed",
            )
            .with(ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
        }
    }

    /// The same of a body that may be packed with gzip or zstd. It has at most `max_bytes` before and after that.
    pub async fn read_packed(
        &self,
        headers: &HeaderMap,
        body: Body,
        max_bytes: usize,
    ) -> Result<Held, Refusal> {
        let held = self.read_in_time(body, max_bytes).await?;
        if is_plain(headers) {
            return Ok(held);
        }
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (Some(coding), None) => Coding::of(coding.as_bytes()),
            _ => None,
        };
        match coding {
            Some(coding) => self.unpack(coding, &held.bytes, max_bytes),
            None => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "of the content encodings gzip and zstd are taken, one of them and once",
            )
            .with(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))),
        }
    }

    /// Takes room for more than the bytes of a body: for what is made of it.
    pub fn take(&self, held: &mut Held, bytes: usize) -> Result<(), Refusal> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
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
        Ok(())
    }

    async fn read_in_time(&self, body: Body, max_bytes: usize) -> Result<Held, Refusal> {
        tokio::time::timeout(BODY_TIMEOUT, self.read_body(body, max_bytes))
            .await
            .map_err(|_| {
                Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("the body took longer than {} s", BODY_TIMEOUT.as_secs()),
                )
            })?
    }

    async fn read_body(&self, mut body: Body, max_bytes: usize) -> Result<Held, Refusal> {
        let mut held = Held::empty();
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
                    false => Some(too_large(max_bytes)),
                };
            }
            if refusal.is_some() {
                held = Held::empty();
            }
        }
        refusal.map_or(Ok(held), Err)
    }

    /// Room is taken as the body grows, whatever it says of its size.
    fn unpack(&self, coding: Coding, packed: &[u8], max_bytes: usize) -> Result<Held, Refusal> {
        let mut held = Held::empty();
        unpack(coding, packed, |piece| {
            if held.bytes.len() + piece.len() > max_bytes {
                return Err(too_large(max_bytes));
            }
            self.hold(&mut held, piece)
        })?;
        Ok(held)
    }

    fn hold(&self, held: &mut Held, data: &[u8]) -> Result<(), Refusal> {
        self.take(held, data.len())?;
        held.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Held {
    fn empty() -> Held {
        Held {
            bytes: Vec::new(),
            room: None,
        }
    }
}

fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn too_large(max_bytes: usize) -> Refusal {
    let sentence = format!("the body has more than {max_bytes} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}
