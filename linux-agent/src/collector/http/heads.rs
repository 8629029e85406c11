//! Heads as they came: hyper takes `Transfer-Encoding` and says nothing of a `Content-Length` beside it, nor of a second
//! one of the same value.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::idle::Visit;

/// Of a line, this much is kept without its blanks: room for `content-length:` and any length.
const MAX_LINE: usize = 48;

/// Which request of a connection has two lengths, counted from 1; 0 for none. What follows it is not looked at.
#[derive(Clone, Default)]
pub struct TwoLengths(Arc<AtomicU64>);

impl TwoLengths {
    /// Whether the request of this number has two, or follows one that has.
    pub fn found(&self, request: u64) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        first != 0 && request >= first
    }
}

/// A connection whose heads are looked at. What is read stays as it is.
pub struct WatchedHeads<S> {
    stream: S,
    heads: Heads,
    two_lengths: TwoLengths,
    visit: Arc<Visit>,
}

impl<S> WatchedHeads<S> {
    pub fn new(stream: S, visit: Arc<Visit>) -> (Self, TwoLengths) {
        let two_lengths = TwoLengths::default();
        let watched = WatchedHeads {
            stream,
            heads: Heads::default(),
            two_lengths: two_lengths.clone(),
            visit,
        };
        (watched, two_lengths)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedHeads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.visit.hears(new.len());
        }
        if self.heads.read(new) {
            let number = self.heads.ended + 1;
            self.two_lengths.0.store(number, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedHeads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Finds head after head in what arrives. Lines that hyper refuses need no care: the connection ends with them.
#[derive(Default)]
struct Heads {
    /// The line so far, in lower case.
    line: Vec<u8>,
    /// Heads before this one.
    ended: u64,
    /// The head has begun. Empty lines before it are none.
    is_begun: bool,
    is_chunked: bool,
    length: Option<u64>,
    /// Bytes of a body to come before the next head.
    body: u64,
    /// The head of a chunked request has ended, one has two lengths, or where the next head begins is not known.
    is_over: bool,
}

impl Heads {
    /// Whether a head with two lengths is in `bytes`, or one could follow unseen.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_over && !bytes.is_empty() {
            let skipped = usize::try_from(self.body).map_or(bytes.len(), |it| it.min(bytes.len()));
            self.body -= skipped as u64;
            let mut pieces = bytes.split_at(skipped).1.splitn(2, |it| *it == b'\n');
            self.keep(pieces.next().unwrap_or_default());
            let Some(next) = pieces.next() else { break };
            bytes = next;
            if self.end_line() {
                return true;
            }
        }
        false
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.line.len());
        let kept = piece.iter().filter(|it| !b" \t\r".contains(it));
        self.line
            .extend(kept.take(room).map(u8::to_ascii_lowercase));
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let length = self.length.take();
            self.is_over = self.is_chunked;
            self.body = length.unwrap_or(0);
            let has_two = self.is_chunked && length.is_some();
            if !has_two {
                self.ended += u64::from(std::mem::take(&mut self.is_begun));
            }
            return has_two;
        }
        self.is_begun = true;
        self.is_chunked |= line.starts_with(b"transfer-encoding:");
        if let Some(digits) = line.strip_prefix(b"content-length:") {
            let length = std::str::from_utf8(digits)
                .ok()
                .and_then(|it| it.parse().ok());
            let length = length.filter(|_| line.len() < MAX_LINE);
            let before = std::mem::replace(&mut self.length, length);
            self.is_over = length.is_none() || before.is_some();
        }
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const BOTH: &str =
        "POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nHost: a\r\ncontent-LENGTH:\t 4 \r\n\r\n";

    /// What is found, however the bytes are cut.
    fn found(text: &str) -> bool {
        let whole = Heads::default().read(text.as_bytes());
        for size in 1..text.len() {
            let mut heads = Heads::default();
            let mut pieces = text.as_bytes().chunks(size);
            let in_pieces = pieces.any(|piece| heads.read(piece));
            assert_eq!(in_pieces, whole, "{size}: {text}");
        }
        whole
    }

    #[test]
    fn two_lengths_are_found_in_each_head_and_nowhere_else() {
        assert!(found(BOTH));
        assert!(found(&BOTH.replace('\r', "")));
        assert!(found(&format!("\r\n{BOTH}")));
        assert!(!found(CHUNKED));
        // Nothing follows a chunked request.
        assert!(!found(&format!("{CHUNKED}{BOTH}")));
        let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let long = "x".repeat(10 * MAX_LINE);
        let other = format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n");
        let post = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{BOTH}",
            BOTH.len()
        );
        let before = format!("{ask}{other}{post}");
        assert!(!found(&before));
        assert!(!found(&format!("{before}{CHUNKED}")));
        assert!(found(&format!("{before}{BOTH}")));
    }

    #[test]
    fn the_same_length_twice_is_found_at_its_request() {
        let post = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd";
        let twice = post.replace("Content", "Content-Length: 4\r\nContent");
        assert!(!found(post) && !found(&format!("{post}\r\n{post}")));
        assert!(found(&twice));
        let mut heads = Heads::default();
        assert!(heads.read(format!("\r\n{post}\r\n{post}{twice}").as_bytes()));
        assert_eq!(heads.ended, 2);
        let two_lengths = TwoLengths(Arc::new(AtomicU64::new(3)));
        assert_eq!(
            [2, 3, 4].map(|it| two_lengths.found(it)),
            [false, true, true]
        );
        assert!(!TwoLengths::default().found(1));
    }

    #[test]
    fn a_length_that_is_not_understood_counts_as_two() {
        for length in ["5x", "", "99999999999999999999", &"0".repeat(MAX_LINE)] {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert!(found(&text), "{length}");
        }
        let zeros = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}4\r\n\r\n\n\n\n\n{BOTH}",
            "0".repeat(20)
        );
        assert!(found(&zeros));
    }
}
