//! The calls of the protocol, over ureq.
//!
//! ```text
//! client ──► session ──► ureq ──► transport ──► tls ──► socket        words    what a server says of a refusal
//!    └── document └── access          ├── connect ◄── resolver         error    why a call failed, in one sentence
//!                     token, TLS      └── buffers                      outcome  what it meant for the report
//!                     └── reading                                      denial   whether it is about the token
//! ```
//!
//! An answer is bounded in its head, the number of its headers (ureq's 128), its body and the time that it takes.
//! Nothing here decompresses: an encoded answer is refused, so there is no other size to bound.

pub(crate) mod access;
mod batch;
mod buffers;
mod client;
mod connect;
mod denial;
mod document;
mod error;
mod offer;
#[cfg(feature = "serve")]
pub(crate) mod outbound;
pub mod outcome;
mod reading;
mod redirect;
mod report_body;
mod requester;
mod resolver;
mod socket;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
pub(crate) mod tls;
mod transport;
pub(crate) mod words;

pub use batch::{AGAIN_AFTER, Together};
pub use buffers::{JoinedBuffers, MAX_HEAD, MAX_INTERIM};
pub(crate) use client::Tried;
pub use client::{ANSWER_WAIT, Client, MAX_ANSWER};
pub use document::MAX_TAG;
pub use error::CallError;
pub use redirect::MAX_REDIRECTS;
pub use requester::MAX_RETRY_AFTER;
pub use resolver::MAX_ADDRESSES;
#[cfg(feature = "tls")]
pub use tls::MAX_CERTIFICATES;
pub use words::{MAX_LOOKED_AT, MAX_WORDS};
