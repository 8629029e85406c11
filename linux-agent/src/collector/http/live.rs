//! `GET /api/live`: the hosts as they change, once a second, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! One task looks at all hosts while anybody listens, and keeps the JSON of each. Who listens is told what has changed
//! since what they were told last: a reader that is slow misses steps, and holds up nobody.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame as BodyFrame;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::app::{App, SharedApp};
use super::frames::Frame;
use super::places::WRITE_TIMEOUT;
use super::reader::Reader;
use super::refusal::Refusal;
use super::way::Way;
use super::{feed, who};

/// Something is sent at least this often, so that who listens knows that the collector is there.
const QUIET: Duration = Duration::from_secs(5);

/// What a browser sends to be told only what it missed.
const LAST_EVENT: &str = "last-event-id";

/// Answers with a stream that ends with the collector, or with the right to look.
pub async fn live(
    State(app): SharedApp,
    _: Reader,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Ok(place) = Arc::clone(&app.live.places).try_acquire_owned() else {
        let sentence = format!(
            "as many listen as may at a time ({}); ask for api/hosts now and then instead",
            app.live.most
        );
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence);
        return Err(refusal.with(RETRY_AFTER, HeaderValue::from_static("60")));
    };
    let known = headers.get(LAST_EVENT).and_then(|it| it.to_str().ok());
    let known = known.and_then(|it| number_of(it, app.started_ms));
    let frames = feed::listen(&app);
    let (pieces, body) = mpsc::channel(1);
    let stream = Stream {
        app,
        way,
        headers,
        pieces,
        _place: place,
    };
    tokio::spawn(stream.tell(frames, known));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // So that nginx passes on what there is.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::new(Pieces(body))).into_response())
}

/// Names what is known after a frame: numbers begin anew with each start.
fn id_of(number: u64, started_ms: i64) -> String {
    format!("{started_ms}-{number}")
}

fn number_of(id: &str, started_ms: i64) -> Option<u64> {
    let (started, number) = id.split_once('-')?;
    let number = number.parse().ok()?;
    (started == started_ms.to_string()).then_some(number)
}

/// Somebody who listens.
struct Stream {
    app: Arc<App>,
    way: Way,
    headers: HeaderMap,
    pieces: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// Tells what has changed since the frame that is `known`, until nobody listens any more.
    async fn tell(self, mut frames: watch::Receiver<Arc<Frame>>, mut known: Option<u64>) {
        let mut last = Instant::now();
        let mut is_first = true;
        loop {
            let frame = Arc::clone(&frames.borrow_and_update());
            if frame.is_last {
                return;
            }
            if frame.is_fresh() {
                let is_due = is_first || last.elapsed() >= QUIET;
                if is_due || known.is_none_or(|known| frame.has_news(known)) {
                    if self.send(&frame, known, is_first).await.is_none() {
                        return;
                    }
                    known = Some(frame.number);
                    (last, is_first) = (Instant::now(), false);
                }
            }
            tokio::select! {
                changed = frames.changed() => if changed.is_err() { return },
                () = self.pieces.closed() => return,
            }
            // Logged out meanwhile, or no user any more.
            let rules = self.app.rules();
            let person = who::person(&self.app, &rules, &self.headers, &self.way);
            if person.await.is_err() {
                return;
            }
        }
    }

    /// `None`: nobody listens.
    async fn send(&self, frame: &Frame, known: Option<u64>, is_first: bool) -> Option<()> {
        // What is known must be of this list of hosts.
        let known = known.filter(|known| (frame.listed..=frame.number).contains(known));
        let retry = if is_first { "retry: 2000\n" } else { "" };
        let head = format!(
            "{retry}event: hosts\nid: {}\ndata: {{\"now\":{},\"alarms\":{},\"alarmed\":{},\"whole\":{},\"hosts\":[\n",
            id_of(frame.number, self.app.started_ms),
            frame.now_ms as f64 / 1000.0,
            frame.alarms,
            frame.alarmed,
            known.is_none(),
        );
        self.piece(head.into()).await?;
        let news = frame.hosts.iter();
        let news = news.filter(|it| known.is_none_or(|known| it.changed > known));
        for (index, host) in news.enumerate() {
            if index > 0 {
                self.piece(Bytes::from_static(b"data: ,\n")).await?;
            }
            self.piece(host.line.clone()).await?;
        }
        self.piece(Bytes::from_static(b"data: ]}\n\n")).await
    }

    async fn piece(&self, piece: Bytes) -> Option<()> {
        let sent = timeout(WRITE_TIMEOUT, self.pieces.send(piece)).await;
        sent.ok()?.ok()
    }
}

/// The body of the answer: what the stream sends, as it is taken.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|it| Ok(BodyFrame::data(it))))
    }
}
