//! The threads that deliver: they wait for others, which nothing else does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::outbox::OutboxEntry;
use super::{mail, webhook};
use crate::collector::settings::notify::NotifyTarget;
use crate::http::outbound::Outbound;

pub use super::mail::TIMEOUT as MAIL_TIMEOUT;
pub use super::webhook::TIMEOUT as WEBHOOK_TIMEOUT;

/// How often somebody is told that this collector lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);

/// Delivers messages. The thread ends when this is dropped.
pub struct Messenger {
    errands: Sender<Errand>,
    done: Arc<Mutex<Vec<Done>>>,
}

/// How a try ended: the number of the message, and the error as a sentence.
pub type Done = (i64, Result<(), String>);

struct Errand {
    target: NotifyTarget,
    entry: OutboxEntry,
}

impl Messenger {
    /// Starts the thread.
    pub fn start() -> io::Result<Messenger> {
        let (errands, inbox) = mpsc::channel::<Errand>();
        let done: Arc<Mutex<Vec<Done>>> = Arc::default();
        let results = Arc::clone(&done);
        std::thread::Builder::new()
            .name("messenger".to_owned())
            .spawn(move || {
                for Errand { target, entry } in inbox {
                    let result = match &target {
                        NotifyTarget::Webhook(webhook) => webhook::deliver(webhook, &entry),
                        NotifyTarget::Mail(mail) => mail::deliver(mail, &entry),
                    };
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((entry.id, result));
                }
            })?;
        Ok(Messenger { errands, done })
    }

    /// Has a message delivered.
    pub fn send(&self, target: NotifyTarget, entry: OutboxEntry) {
        // The thread ends only with this.
        let _ = self.errands.send(Errand { target, entry });
    }

    /// The tries that have ended since the last call.
    pub fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells somebody every minute that this collector lives and stores. The thread ends when this is dropped.
pub struct Heartbeat {
    urls: Sender<Option<String>>,
    /// Set by who works, taken by the heart.
    is_alive: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Starts the thread. It is silent until it has an address.
    pub fn start() -> io::Result<Heartbeat> {
        let (urls, inbox) = mpsc::channel::<Option<String>>();
        let is_alive: Arc<AtomicBool> = Arc::default();
        let alive = Arc::clone(&is_alive);
        std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || {
                let (mut url, mut told) = (None, String::new());
                let mut next = Instant::now();
                loop {
                    match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                        Ok(new) => {
                            url = new;
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                        Err(RecvTimeoutError::Timeout) => {}
                    }
                    let Some(url) = &url else {
                        next = Instant::now() + Duration::from_secs(1);
                        continue;
                    };
                    // Just begun, or stuck: the next look is soon.
                    if !alive.swap(false, Ordering::Relaxed) {
                        next = Instant::now() + Duration::from_secs(1);
                        continue;
                    }
                    next = Instant::now() + HEARTBEAT_EVERY;
                    let sentence = beat(url).err().unwrap_or_default();
                    if sentence != told {
                        match sentence.as_str() {
                            "" => log::info!("the heartbeat arrives again"),
                            sentence => log::warn!("the heartbeat does not arrive: {sentence}"),
                        }
                        told = sentence;
                    }
                }
            })?;
        Ok(Heartbeat { urls, is_alive })
    }

    /// From now on beats there, or nowhere.
    pub fn follow(&self, url: Option<String>) {
        // The thread ends only with this.
        let _ = self.urls.send(url);
    }

    /// Says that the work goes on.
    pub fn live(&self) {
        self.is_alive.store(true, Ordering::Relaxed);
    }
}

fn beat(url: &str) -> Result<(), String> {
    const MAX_ANSWER: u64 = 4096;
    let caller = Outbound::new(url, None, None, webhook::TIMEOUT);
    let reply = caller.and_then(|it| it.call(Method::GET, &[], b"", MAX_ANSWER));
    let reply = reply.map_err(|error| webhook::without_path(&error.to_string(), url))?;
    match reply.status.is_success() {
        true => Ok(()),
        false => Err(format!(
            "the other end answers with the status {}",
            reply.status.as_u16()
        )),
    }
}
