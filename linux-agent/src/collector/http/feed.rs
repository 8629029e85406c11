//! What [`live`](super::live) tells: the state of all hosts, looked at once a second while anybody listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::app::{App, Rules};
use super::frames::{Frame, Shown};
use super::hosts::{self, Mark};
use crate::client_name::ClientName;
use crate::collector::now::now_ms;

/// How often the hosts are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Frames from now on. The first who listens starts the task that makes them.
pub fn listen(app: &Arc<App>) -> watch::Receiver<Arc<Frame>> {
    let frames = app.live.frames.subscribe();
    if !app.live.is_begun.swap(true, Ordering::Relaxed) {
        tokio::spawn(look(Arc::clone(app)));
    }
    app.live.listens.notify_one();
    frames
}

/// Makes frames for ever, as long as anybody listens.
async fn look(app: Arc<App>) {
    let mut seen = Seen::default();
    loop {
        if app.live.frames.receiver_count() == 0 {
            app.live.listens.notified().await;
            continue;
        }
        if let Some(frame) = seen.look(&app).await {
            app.live.frames.send_if_modified(|it| {
                let goes_on = !it.is_last;
                if goes_on {
                    *it = Arc::new(frame);
                }
                goes_on
            });
        }
        sleep(EVERY).await;
    }
}

/// What was seen last.
#[derive(Default)]
struct Seen {
    number: u64,
    listed: u64,
    rules: Option<Arc<Rules>>,
    order: Vec<ClientName>,
    /// The numbers of those that are active.
    alarms: Vec<i64>,
    alarmed: u64,
    hosts: BTreeMap<ClientName, (Mark, Shown)>,
}

impl Seen {
    /// `None`: the database cannot tell now.
    async fn look(&mut self, app: &App) -> Option<Frame> {
        let rules = app.rules();
        let is_same = self
            .rules
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, &rules));
        let now = now_ms();
        let (mut new, mut marks) = (Vec::new(), Vec::new());
        for (id, host) in &*rules.hosts {
            let mark = hosts::mark(app, id, host);
            let before = self.hosts.get(id).map(|(mark, _)| mark);
            if !is_same || before != Some(&mark) {
                new.push((id, host));
                marks.push(mark);
            }
        }
        let lines = hosts::lines(app, &rules, &new).await.ok()?;
        self.number += 1;
        for (((id, _), mark), line) in new.into_iter().zip(marks).zip(lines) {
            let line = Bytes::from([b"data: ", &*line, b"\n"].concat());
            let before = self.hosts.get(id).map(|(_, shown)| shown);
            let shown = match before {
                Some(shown) if shown.line == line => shown.clone(),
                _ => Shown {
                    changed: self.number,
                    line,
                },
            };
            self.hosts.insert(id.clone(), (mark, shown));
        }
        if !is_same && !self.order.iter().eq(rules.hosts.keys()) {
            self.order = rules.hosts.keys().cloned().collect();
            self.hosts.retain(|id, _| rules.hosts.contains_key(id));
            self.listed = self.number;
        }
        let alarms = app.alarms.active();
        if alarms != self.alarms {
            (self.alarms, self.alarmed) = (alarms, self.number);
        }
        let shown = self.order.iter().filter_map(|id| self.hosts.get(id));
        let hosts = shown.map(|(_, shown)| shown.clone()).collect();
        self.rules = Some(rules);
        Some(Frame {
            now_ms: now,
            number: self.number,
            listed: self.listed,
            hosts,
            alarms: self.alarms.len(),
            alarmed: self.alarmed,
            is_last: false,
            made: Some(Instant::now()),
        })
    }
}
