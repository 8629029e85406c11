//! Starts plugins on threads of its own: looking at a plugin's file and executing it may hang, with the file system that
//! it is on. Then only the plugins of that folder wait: a thread that hangs is left to its folder, and another one takes
//! its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::limits::{KILL_AFTER, MAX_HANGING, MAX_RUNNING, MAX_STARTING, START_HANGS_AFTER};
use super::listed::Plugins;
use super::output::RunOutcome;
use super::running::Running;
use super::user::PluginUser;

/// It looks at files, forks and waits.
const STACK_BYTES: usize = 256 << 10;

const HANGS: &str =
    "the plugin could not be started in its time: the file system that it is on does not answer";

const CROWDED: &str = "the plugin could not be started in its time: too many folders of plugins are on file systems \
                       that do not answer";

/// The threads, and the plugins that they have not started yet.
#[derive(Debug)]
pub struct Starter {
    account: Option<PluginUser>,
    threads: Vec<Thread>,
    tell: Sender<Started>,
    started: Receiver<Started>,
    /// Readable when something has been started.
    wake: Arc<EventFd>,
    /// The oldest first.
    waiting: Vec<Waiting>,
    /// When one that waits may get a thread beside those that hang.
    more_at: Option<Instant>,
    next_id: u64,
}

#[derive(Debug)]
struct Thread {
    orders: Sender<Order>,
    /// What it is starting, and since when.
    busy_with: Option<(u64, Instant)>,
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
    /// The folder of the plugin. At a time one thread looks there.
    place: PathBuf,
    /// When it is given up.
    by: Instant,
    state: State,
    /// Until a thread has it.
    order: Option<Order>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Wanted,
    /// It was reported as a failure; its service is not started again meanwhile.
    GivenUp,
    /// What is started ends at once.
    Unwanted,
}

impl Starter {
    /// Starts plugins as the user `account`, or as this process's. Its threads live as long as this process: what they
    /// start ends with them.
    pub fn new(account: Option<PluginUser>) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let (tell, started) = mpsc::channel();
        let mut starter = Starter {
            account,
            threads: Vec::new(),
            tell,
            started,
            wake: Arc::new(EventFd::from_value_and_flags(0, flags)?),
            waiting: Vec::new(),
            more_at: None,
            next_id: 0,
        };
        starter.add_thread()?;
        Ok(starter)
    }

    fn add_thread(&mut self) -> io::Result<()> {
        let (orders, taken) = mpsc::channel::<Order>();
        let (tell, wake) = (self.tell.clone(), Arc::clone(&self.wake));
        let account = self.account.clone();
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
                    let _ = wake.write(1);
                }
                // The results of a process that ends are still read; until then its plugins live.
                loop {
                    thread::park();
                }
            })?;
        self.threads.push(Thread {
            orders,
            busy_with: None,
        });
        Ok(())
    }

    /// Orders the start of the plugin `name`. A failure is one sentence.
    pub fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        let place = plugins.place(name).to_owned();
        let hangs = |it: &Waiting| it.place == place && it.by <= now;
        if self.waiting.iter().any(hangs) {
            return Err(HANGS.to_owned());
        }
        let id = self.next_id;
        self.next_id += 1;
        let order = Order {
            id,
            plugins: plugins.clone(),
            name: name.to_owned(),
            slot,
        };
        self.waiting.push(Waiting {
            id,
            slot,
            place,
            by: now + plugins.time_limit + KILL_AFTER,
            state: State::Wanted,
            order: Some(order),
        });
        self.hand_over(now);
        Ok(())
    }

    /// Gives the oldest orders to threads that are free, none to a second thread for the same folder.
    fn hand_over(&mut self, now: Instant) {
        self.more_at = None;
        for next in 0..self.waiting.len() {
            let is_there =
                |it: &Waiting| Some(&it.place) == self.waiting.get(next).map(|it| &it.place);
            let mut with_threads = self.waiting.iter().filter(|it| it.order.is_none());
            if with_threads.any(is_there) {
                continue;
            }
            let is_free = |it: &Thread| it.busy_with.is_none();
            // Without one more, those that are there follow the orders when they can.
            if !self.threads.iter().any(is_free)
                && (!self.may_have_more(now) || self.add_thread().is_err())
            {
                self.more_at = self.hang_at().filter(|at| *at > now).min();
                return;
            }
            let free = self.threads.iter_mut().find(|it| it.busy_with.is_none());
            let waiting = self.waiting.get_mut(next);
            if let (Some(thread), Some(waiting)) = (free, waiting)
                && let Some(order) = waiting.order.take()
            {
                thread.busy_with = Some((order.id, now));
                // The thread does not end.
                let _ = thread.orders.send(order);
            }
        }
    }

    fn may_have_more(&self, now: Instant) -> bool {
        let hanging = self.hang_at().filter(|at| *at <= now).count();
        self.threads.len() < MAX_STARTING + hanging.min(MAX_HANGING)
    }

    /// When each thread that starts something hangs.
    fn hang_at(&self) -> impl Iterator<Item = Instant> {
        let since = self.threads.iter().filter_map(|it| it.busy_with);
        since.map(|(_, since)| since + START_HANGS_AFTER)
    }

    /// Whether a plugin of `slot` waits for its start, or was given up and hangs.
    pub fn has(&self, slot: usize) -> bool {
        let waiting = self.waiting.iter();
        let mut wanted = waiting.filter(|it| it.state != State::Unwanted);
        wanted.any(|it| it.slot == slot)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        let waiting = self.waiting.iter();
        waiting.filter(|it| it.state == State::Wanted).count()
    }

    /// From now on whatever is started for `slot` is ended at once.
    pub fn stop(&mut self, slot: usize) {
        self.waiting
            .retain(|it| it.slot != slot || it.order.is_none());
        for waiting in self.waiting.iter_mut().filter(|it| it.slot == slot) {
            waiting.state = State::Unwanted;
        }
    }

    /// What to poll for reading while something waits.
    pub fn interest(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then(|| self.wake.as_fd())
    }

    /// When to attend though nothing has been started: the next is to be given up, or may get a thread.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.waiting.iter().filter(|it| it.state == State::Wanted);
        let given_up = due.map(|it| it.by).min();
        given_up.into_iter().chain(self.more_at).min()
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
            for thread in &mut self.threads {
                thread.busy_with = thread.busy_with.filter(|(it, _)| *it != id);
            }
            let Some(index) = self.waiting.iter().position(|it| it.id == id) else {
                continue;
            };
            let Waiting { slot, state, .. } = self.waiting.remove(index);
            match run {
                // Dropped, it is ended.
                _ if state != State::Wanted => {}
                // There is room: those that wait count as running.
                Ok(run) => drop(runs.push(run)),
                Err(sentence) => failed.push(RunOutcome::failed(slot, sentence)),
            }
        }
        let with_threads = self.waiting.iter().filter(|it| it.order.is_none());
        let asked: Vec<PathBuf> = with_threads.map(|it| it.place.clone()).collect();
        for waiting in self
            .waiting
            .iter_mut()
            .filter(|it| it.state == State::Wanted && it.by <= now)
        {
            waiting.state = State::GivenUp;
            let why = if asked.contains(&waiting.place) {
                HANGS
            } else {
                CROWDED
            };
            failed.push(RunOutcome::failed(waiting.slot, why));
        }
        // A thread would start it for nobody.
        self.waiting
            .retain(|it| it.state == State::Wanted || it.order.is_none());
        self.hand_over(now);
        (runs, failed)
    }
}
