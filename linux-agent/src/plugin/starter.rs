//! Starts plugins on a thread of its own: looking at a plugin's file and executing it may hang, with the file system that
//! it is on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::limits::{KILL_AFTER, MAX_RUNNING};
use super::listed::Plugins;
use super::output::RunOutcome;
use super::running::Running;
use super::user::PluginUser;

/// It looks at files, forks and waits.
const STACK_BYTES: usize = 256 << 10;

/// So many may wait, those that nobody wants any more among them: orders may change while a start hangs.
const MAX_WAITING: usize = 4 * MAX_RUNNING;

const HANGS: &str =
    "the plugin could not be started in its time: the file system that it is on does not answer";

/// The thread, and the plugins that it has not started yet.
#[derive(Debug)]
pub struct Starter {
    orders: Sender<Order>,
    started: Receiver<Started>,
    /// Readable when something has been started.
    wake: Arc<EventFd>,
    waiting: Vec<Waiting>,
    next_id: u64,
}

#[derive(Debug)]
struct Order {
    id: u64,
    plugins: Plugins,
    name: String,
    slot: usize,
}

#[derive(Debug)]
struct Started {
    id: u64,
    run: Result<Running, String>,
}

/// An order that has not been followed.
#[derive(Debug)]
struct Waiting {
    id: u64,
    slot: usize,
    /// When it is given up.
    by: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Wanted,
    /// It was reported as a failure, but still counts: its service is not started again meanwhile.
    GivenUp,
    /// What is started ends at once.
    Unwanted,
}

impl Starter {
    /// A thread that starts plugins as the user `account`, or as this process's. It lives as long as this process: what it
    /// starts ends with it.
    pub fn new(account: Option<PluginUser>) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (orders, taken) = mpsc::channel::<Order>();
        let (tell, started) = mpsc::channel();
        let told = Arc::clone(&wake);
        thread::Builder::new()
            .name("plugins".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                for order in taken {
                    let Order {
                        id,
                        plugins,
                        name,
                        slot,
                    } = order;
                    let run =
                        Running::start(&plugins, account.as_ref(), &name, slot, Instant::now());
                    let run = run.map_err(|error| error.to_string());
                    // If nobody listens any more, the run ends with what is sent.
                    let _ = tell.send(Started { id, run });
                    let _ = told.write(1);
                }
                // The results of a process that ends are still read; until then its plugins live.
                loop {
                    thread::park();
                }
            })?;
        Ok(Starter {
            orders,
            started,
            wake,
            waiting: Vec::new(),
            next_id: 0,
        })
    }

    /// Orders the start of the plugin `name`. A failure is one sentence.
    pub fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(HANGS.to_owned());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push(Waiting {
            id,
            slot,
            by: now + plugins.time_limit + KILL_AFTER,
            state: State::Wanted,
        });
        // The thread does not end.
        let _ = self.orders.send(Order {
            id,
            plugins: plugins.clone(),
            name: name.to_owned(),
            slot,
        });
        Ok(())
    }

    /// Whether a plugin of `slot` waits for its start.
    pub fn has(&self, slot: usize) -> bool {
        self.counted().any(|it| it.slot == slot)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.counted().count()
    }

    fn counted(&self) -> impl Iterator<Item = &Waiting> {
        let waiting = self.waiting.iter();
        waiting.filter(|it| it.state != State::Unwanted)
    }

    /// From now on whatever is started for `slot` is ended at once.
    pub fn stop(&mut self, slot: usize) {
        for waiting in self.waiting.iter_mut().filter(|it| it.slot == slot) {
            waiting.state = State::Unwanted;
        }
    }

    /// What to poll for reading while something waits.
    pub fn interest(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then(|| self.wake.as_fd())
    }

    /// When the next is to be given up.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.waiting.iter().filter(|it| it.state == State::Wanted);
        due.map(|it| it.by).min()
    }

    /// What has been started, and what could not be.
    pub fn attend(
        &mut self,
        now: Instant,
    ) -> (heapless::Vec<Running, MAX_RUNNING>, Vec<RunOutcome>) {
        let mut runs = heapless::Vec::new();
        let mut failed = Vec::new();
        if self.waiting.is_empty() {
            return (runs, failed);
        }
        let _ = self.wake.read();
        while let Ok(Started { id, run }) = self.started.try_recv() {
            let Some(index) = self.waiting.iter().position(|it| it.id == id) else {
                continue;
            };
            let Waiting { slot, state, .. } = self.waiting.swap_remove(index);
            match run {
                // Dropped, it is ended.
                _ if state != State::Wanted => {}
                // There is room: those that wait count as running.
                Ok(run) => drop(runs.push(run)),
                Err(sentence) => failed.push(RunOutcome::failed(slot, sentence)),
            }
        }
        for waiting in self
            .waiting
            .iter_mut()
            .filter(|it| it.state == State::Wanted && it.by <= now)
        {
            waiting.state = State::GivenUp;
            failed.push(RunOutcome::failed(waiting.slot, HANGS));
        }
        (runs, failed)
    }
}
