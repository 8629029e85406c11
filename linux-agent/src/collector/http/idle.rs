//! Which connections wait for their client: where all places are taken, the one that has waited the longest for the next
//! request gives way to a new one, or else the one that has waited the longest for the rest of a request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// A connection that has been idle for less than this stays: its request may be on the way.
const GRACE: Duration = Duration::from_millis(250);

/// A request that has begun may pause for so long.
pub const STALL: Duration = Duration::from_secs(5);

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
type InOrder = BTreeMap<u64, (Instant, Arc<Close>)>;

/// Tells a connection to close.
#[derive(Default)]
struct Close {
    notify: Notify,
    at_once: AtomicBool,
}

/// How a connection is to close.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
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
    since: Option<u64>,
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
            let (since, close) = first.get();
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
    fn forget(&mut self, since: Option<u64>) {
        if let Some(since) = since {
            self.idle.remove(&since);
            self.stalled.remove(&since);
        }
    }
}

impl Visit {
    /// Done once the connection is to close.
    pub async fn told_to_close(&self) -> Told {
        self.close.notify.notified().await;
        match self.close.at_once.load(Ordering::Relaxed) {
            true => Told::AtOnce,
            false => Told::WhenDone,
        }
    }

    /// Bytes have come. Between requests they are of a head.
    pub fn hears(&self) {
        let mut state = locked(&self.state);
        if state.requests == 0 {
            self.wait(&mut state, |waiting| &mut waiting.stalled);
        }
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut state = locked(&self.state);
        state.requests += 1;
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
        self.wait(state, |waiting| &mut waiting.idle);
    }

    /// Waits from now on.
    fn wait(&self, state: &mut State, queue: impl Fn(&mut Waiting) -> &mut InOrder) {
        let mut waiting = locked(&self.idle.0);
        waiting.forget(state.since);
        let since = waiting.next;
        waiting.next += 1;
        queue(&mut waiting).insert(since, (Instant::now(), Arc::clone(&self.close)));
        state.since = Some(since);
    }

    /// The rest of a request is awaited, or not, since some of it has come or nobody wants it.
    fn awaits_body(&self, is_awaited: bool) {
        let mut state = locked(&self.state);
        if state.requests == 0 {
            return;
        }
        match is_awaited {
            true => self.wait(&mut state, |waiting| &mut waiting.stalled),
            false => locked(&self.idle.0).forget(state.since.take()),
        }
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
        self.visit.awaits_body(polled.is_pending());
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
        self.visit.awaits_body(false);
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
mod tests {
    use super::*;

    fn told(visit: &Visit) -> Option<Told> {
        let mut told = Box::pin(visit.told_to_close());
        let mut context = Context::from_waker(std::task::Waker::noop());
        match told.as_mut().poll(&mut context) {
            Poll::Ready(told) => Some(told),
            Poll::Pending => None,
        }
    }

    fn is_told(visit: &Visit) -> bool {
        told(visit).is_some()
    }

    fn close_one(idle: &Idle) -> bool {
        idle.close_one_at(Instant::now() + GRACE)
    }

    #[test]
    fn one_that_has_just_come_stays() {
        let idle = Idle::default();
        let visit = idle.visit();
        assert!(!idle.close_one_at(Instant::now() - GRACE));
        assert!(close_one(&idle) && is_told(&visit));
    }

    #[test]
    fn the_longest_idle_one_closes_and_a_busy_one_never() {
        let idle = Idle::default();
        let [first, second, third] = [(); 3].map(|()| idle.visit());
        let busy = first.begin();
        assert!(close_one(&idle));
        assert_eq!(
            [&first, &second, &third].map(|it| is_told(it)),
            [false, true, false]
        );
        drop(second);
        // What ends a request begins to wait anew.
        drop(third.begin());
        drop(busy.until_the_end_of(Body::empty()));
        assert!(close_one(&idle));
        assert_eq!((is_told(&first), is_told(&third)), (false, true));
        drop(first);
        assert!(!close_one(&idle), "nobody is left");
    }

    #[test]
    fn one_that_waits_for_the_rest_of_a_request_closes_last_and_later() {
        let idle = Idle::default();
        let [head, body, next] = [(); 3].map(|()| idle.visit());
        head.hears();
        let (_busy, upload) = (body.begin(), body.upload(Body::empty()));
        body.awaits_body(true);
        assert!(close_one(&idle));
        assert_eq!(told(&next), Some(Told::WhenDone));
        assert!(!close_one(&idle), "they may go on");
        let late = || idle.close_one_at(Instant::now() + STALL);
        assert!(late());
        assert_eq!((told(&head), is_told(&body)), (Some(Told::AtOnce), false));
        // Nobody wants the rest any more.
        drop(upload);
        assert!(!late());
        body.awaits_body(true);
        assert!(late());
        assert_eq!(told(&body), Some(Told::AtOnce));
    }

    #[test]
    fn two_requests_of_one_connection_are_both_waited_for() {
        let idle = Idle::default();
        let visit = idle.visit();
        let (one, other) = (visit.begin(), visit.begin());
        drop(one);
        assert!(!close_one(&idle));
        drop(other);
        assert!(close_one(&idle));
    }
}
