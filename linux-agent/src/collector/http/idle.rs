//! Which connections wait for their client's next request: where all places are taken, the one that has waited longest
//! gives way to a new one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// A connection that has been idle for less than this stays: its request may be on the way.
const GRACE: Duration = Duration::from_millis(250);

/// The connections that are idle, in the order in which they became so.
#[derive(Clone, Default)]
pub struct Idle(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    connections: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// One connection. Dropped, it is idle no more.
pub struct Visit {
    idle: Idle,
    close: Arc<Notify>,
    state: Mutex<State>,
}

/// Requests of a connection that are being answered, and since when there is none.
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

    /// Asks the connection that has been idle the longest to close. False if none has been for long enough.
    pub fn close_one(&self) -> bool {
        self.close_one_at(Instant::now())
    }

    fn close_one_at(&self, now: Instant) -> bool {
        let mut waiting = locked(&self.0);
        let Some(first) = waiting.connections.first_entry() else {
            return false;
        };
        let (since, close) = first.get();
        if now.saturating_duration_since(*since) < GRACE {
            return false;
        }
        close.notify_one();
        first.remove();
        true
    }
}

impl Visit {
    /// Done once the connection is to close.
    pub async fn told_to_close(&self) {
        self.close.notified().await;
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut state = locked(&self.state);
        state.requests += 1;
        if let Some(since) = state.since.take() {
            locked(&self.idle.0).connections.remove(&since);
        }
        drop(state);
        Busy(Arc::clone(self))
    }

    fn rest(&self, state: &mut State) {
        let mut waiting = locked(&self.idle.0);
        let since = waiting.next;
        waiting.next += 1;
        let now = Instant::now();
        waiting
            .connections
            .insert(since, (now, Arc::clone(&self.close)));
        state.since = Some(since);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(since) = locked(&self.state).since {
            locked(&self.idle.0).connections.remove(&since);
        }
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

    fn is_told(visit: &Visit) -> bool {
        let mut told = Box::pin(visit.told_to_close());
        let mut context = Context::from_waker(std::task::Waker::noop());
        told.as_mut().poll(&mut context).is_ready()
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
