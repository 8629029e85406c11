//! Which connections wait for their client: where all places are taken, the one that has waited the longest for the next
//! request gives way to a new one, or else the one that has waited the longest for the rest of a request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Buf, Frame, SizeHint};
use tokio::sync::Notify;

/// A connection that has been idle for less than this stays: its request may be on the way.
const GRACE: Duration = Duration::from_millis(250);

/// A request that has begun may be awaited for so long, beside what its bytes may take.
pub const STALL: Duration = Duration::from_secs(5);

/// Who sends fewer bytes than this in a second is awaited as if the rest did not come.
pub const MIN_PACE: u32 = 256;

/// The connections that wait for their client.
#[derive(Clone, Default)]
pub struct Idle(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// For the next request.
    idle: InOrder,
    /// For the rest of a request.
    stalled: InOrder,
}

/// In the order in which they began to wait.
type InOrder = BTreeMap<Since, Arc<Close>>;

/// Since when a connection waits, and a number that no other has.
type Since = (Instant, u64);

/// Tells a connection to close.
#[derive(Default)]
struct Close {
    notify: Notify,
    at_once: AtomicBool,
}

/// How a connection is to close.
#[derive(Debug, PartialEq, Eq)]
pub enum Closing {
    /// If a request has come meanwhile, after its answer.
    WhenDone,
    /// What it waits for does not come.
    AtOnce,
}

/// One connection. Dropped, it waits no more.
pub struct Visit {
    idle: Idle,
    close: Arc<Close>,
    state: Mutex<State>,
}

/// Requests of a connection that are being answered, and which number it waits with, if it does.
#[derive(Default)]
struct State {
    requests: usize,
    since: Option<Since>,
    /// Since when more of a request is awaited.
    awaited: Option<Instant>,
    /// For how long more of it was awaited before, beside what the bytes that came may take.
    debt: Duration,
}

/// A request that is being answered, its answer's body included.
pub struct Busy(Arc<Visit>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing can panic while it has them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idle {
    /// A connection that begins, without a request so far.
    pub fn visit(&self) -> Arc<Visit> {
        let visit = Arc::new(Visit {
            idle: self.clone(),
            close: Arc::default(),
            state: Mutex::default(),
        });
        visit.rest(&mut locked(&visit.state));
        visit
    }

    /// Asks the connection that has waited the longest to close. False if none has waited for long enough.
    pub fn close_one(&self) -> bool {
        self.close_one_at(Instant::now())
    }

    fn close_one_at(&self, now: Instant) -> bool {
        let mut waiting = locked(&self.0);
        let Waiting { idle, stalled, .. } = &mut *waiting;
        for (queue, grace, at_once) in [(idle, GRACE, false), (stalled, STALL, true)] {
            let Some(first) = queue.first_entry() else {
                continue;
            };
            let ((since, _), close) = (first.key(), first.get());
            if now.saturating_duration_since(*since) >= grace {
                close.at_once.store(at_once, Ordering::Relaxed);
                close.notify.notify_one();
                first.remove();
                return true;
            }
        }
        false
    }
}

impl Waiting {
    fn forget(&mut self, since: Option<Since>) {
        if let Some(since) = since {
            self.idle.remove(&since);
            self.stalled.remove(&since);
        }
    }
}

impl Visit {
    /// Done once the connection is to close.
    pub async fn told_to_close(&self) -> Closing {
        self.close.notify.notified().await;
        match self.close.at_once.load(Ordering::Relaxed) {
            true => Closing::AtOnce,
            false => Closing::WhenDone,
        }
    }

    /// So many bytes have come. Between requests they are of a head.
    pub fn hears(&self, bytes: usize) {
        self.hears_at(bytes, Instant::now());
    }

    fn hears_at(&self, bytes: usize, now: Instant) {
        let mut state = locked(&self.state);
        if state.requests == 0 {
            state.pay(bytes, now);
            self.await_rest(&mut state, now);
        }
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut state = locked(&self.state);
        state.requests += 1;
        state.forgive();
        locked(&self.idle.0).forget(state.since.take());
        drop(state);
        Busy(Arc::clone(self))
    }

    /// The same body of a request. While its rest does not come, the connection waits.
    pub fn upload<B>(self: &Arc<Self>, body: B) -> Upload<B> {
        let visit = Arc::clone(self);
        Upload { body, visit }
    }

    fn rest(&self, state: &mut State) {
        state.forgive();
        self.wait(state, Instant::now(), |waiting| &mut waiting.idle);
    }

    /// More of a request is awaited from now on.
    fn await_rest(&self, state: &mut State, now: Instant) {
        state.awaited = Some(now);
        let since = now.checked_sub(state.debt).unwrap_or(now);
        self.wait(state, since, |waiting| &mut waiting.stalled);
    }

    fn wait(
        &self,
        state: &mut State,
        since: Instant,
        queue: impl Fn(&mut Waiting) -> &mut InOrder,
    ) {
        let mut waiting = locked(&self.idle.0);
        waiting.forget(state.since);
        let since = (since, waiting.next);
        waiting.next += 1;
        queue(&mut waiting).insert(since, Arc::clone(&self.close));
        state.since = Some(since);
    }

    /// The rest of a body is awaited; or it is not, since so many bytes of it have come or nobody wants it.
    fn awaits_body(&self, come: Option<usize>, now: Instant) {
        let mut state = locked(&self.state);
        if state.requests == 0 {
            return;
        }
        match come {
            // It is asked again without a byte more.
            None if state.awaited.is_some() => {}
            None => self.await_rest(&mut state, now),
            Some(bytes) => {
                state.pay(bytes, now);
                locked(&self.idle.0).forget(state.since.take());
            }
        }
    }
}

impl State {
    /// So many bytes have come, each of which may take its time.
    fn pay(&mut self, bytes: usize, now: Instant) {
        if let Some(awaited) = self.awaited.take() {
            self.debt += now.saturating_duration_since(awaited);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.debt = self
            .debt
            .saturating_sub(Duration::from_secs(1) / MIN_PACE * bytes);
    }

    /// A request has come, or its head or body begins.
    fn forgive(&mut self) {
        (self.awaited, self.debt) = (None, Duration::ZERO);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let since = locked(&self.state).since;
        locked(&self.idle.0).forget(since);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.requests -= 1;
        if state.requests == 0 {
            self.0.rest(&mut state);
        }
    }
}

/// The body of a request.
pub struct Upload<B> {
    body: B,
    visit: Arc<Visit>,
}

impl<B: HttpBody + Unpin> HttpBody for Upload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let bytes = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => Some(frame.data_ref().map_or(0, Buf::remaining)),
            Poll::Ready(_) => Some(0),
        };
        self.visit.awaits_body(bytes, Instant::now());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        self.visit.awaits_body(Some(0), Instant::now());
    }
}

impl Busy {
    /// The same body, which ends this when it is dropped.
    pub fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Answer { body, _busy: self })
    }
}

/// The body of an answer.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
