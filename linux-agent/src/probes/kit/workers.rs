//! Asks questions that may never be answered, such as the size of a file system whose server is
//! gone, or of a driver that hangs, without ever waiting longer than a given time.
//!
//! ```text
//! ask() ── asked ──► queue ──► worker threads (0 to MAX_WORKERS) ──► answers in time
//!                                   │
//!                                   └── one that hangs keeps its subject: quarantined, not asked
//!                                       again until the worker comes back
//! ```
//!
//! A thread inside a system call that hangs can be neither stopped nor taken back, so each hanging
//! subject costs one. They are few, and subjects beyond them are not asked. Nor can it always be
//! killed: such a thread outlives the process, so it gives up its share of the open files. It outlives its owner
//! too, so threads are also counted over all owners there ever were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::system::sandbox::give_up_files;

/// No more threads than this exist for one owner, stuck or not.
pub const MAX_WORKERS: usize = 4;

/// No more threads than this exist for all owners that ask the same question, those of owners that are gone among them.
pub const MAX_THREADS: usize = 32;

/// While subjects wait because all workers are busy for this long, another worker is started.
const PATIENCE: Duration = Duration::from_millis(10);

/// A system call and a callback need little of it.
const STACK_BYTES: usize = 64 << 10;

/// Subjects of type `S`, each with the same question, whose answer is an `A`.
///
/// Threads are started when first needed, and end with the last of them that is not stuck.
pub struct Workers<S, A> {
    shared: Arc<Shared<S, A>>,
}

struct Shared<S, A> {
    question: fn(&S) -> A,
    /// Those of all owners.
    threads: &'static AtomicUsize,
    desk: Mutex<Desk<S, A>>,
    /// Workers wait for subjects to ask here.
    work: Condvar,
    /// The caller waits for answers here.
    answered: Condvar,
}

struct Desk<S, A> {
    cases: Vec<Case<S, A>>,
    next_id: u64,
    workers: usize,
    /// Workers that wait for work; the others are on a case, or about to look for one.
    idle: usize,
    /// Workers whose answer is late.
    stuck: usize,
    closed: bool,
}

struct Case<S, A> {
    /// A worker finds its case by this, wherever the list has moved meanwhile.
    id: u64,
    subject: Arc<S>,
    state: State<A>,
}

enum State<A> {
    Resting,
    Queued,
    Asked,
    Answered(A),
    /// Asked, and late.
    Quarantined,
}

impl<S, A> Workers<S, A>
where
    S: PartialEq + Send + Sync + 'static,
    A: Send + 'static,
{
    /// No subjects yet, no thread yet. `threads` counts those of all owners that ask this question.
    pub fn new(question: fn(&S) -> A, threads: &'static AtomicUsize) -> Self {
        Workers {
            shared: Arc::new(Shared {
                question,
                threads,
                desk: Mutex::new(Desk {
                    cases: Vec::new(),
                    next_id: 0,
                    workers: 0,
                    idle: 0,
                    stuck: 0,
                    closed: false,
                }),
                work: Condvar::new(),
                answered: Condvar::new(),
            }),
        }
    }

    /// Replaces the subjects. One that is equal to a quarantined one stays in quarantine.
    pub fn set_subjects(&mut self, subjects: impl IntoIterator<Item = S>) {
        let mut desk = self.shared.desk();
        let mut before = std::mem::take(&mut desk.cases);
        for subject in subjects {
            let known = before.iter().position(|case| *case.subject == subject);
            let case = known.map(|index| before.swap_remove(index));
            let case = case.unwrap_or_else(|| {
                desk.next_id += 1;
                Case {
                    id: desk.next_id,
                    subject: Arc::new(subject),
                    state: State::Resting,
                }
            });
            desk.cases.push(case);
        }
    }

    /// Asks about every subject that is not quarantined, and tells each with its answer in the order
    /// in which they were set. `None`: there was no answer within `budget`, or none of an earlier time yet.
    ///
    /// Allocates only when it starts a thread.
    pub fn ask(&mut self, budget: Duration, mut each: impl FnMut(&S, Option<A>)) {
        let started = Instant::now();
        let mut desk = self.shared.desk();
        for case in &mut desk.cases {
            if !matches!(case.state, State::Quarantined) {
                case.state = State::Queued;
            }
        }
        if desk.has_queued() && desk.idle == 0 {
            self.start_worker(&mut desk);
        }
        self.shared.work.notify_one();
        // Where every worker is stuck there is nothing to wait for.
        while desk.workers > desk.stuck && desk.has_open() {
            let left = budget.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            let wait = if desk.has_queued() {
                left.min(PATIENCE)
            } else {
                left
            };
            let woken = self.shared.answered.wait_timeout(desk, wait);
            let timeout;
            (desk, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && desk.has_queued() {
                self.start_worker(&mut desk);
            }
        }
        let desk = &mut *desk;
        for case in &mut desk.cases {
            let (after, answer) = match std::mem::replace(&mut case.state, State::Resting) {
                State::Answered(answer) => (State::Resting, Some(answer)),
                State::Asked => {
                    desk.stuck += 1;
                    (State::Quarantined, None)
                }
                State::Quarantined => (State::Quarantined, None),
                State::Queued | State::Resting => (State::Resting, None),
            };
            case.state = after;
            each(&case.subject, answer);
        }
    }

    fn start_worker(&self, desk: &mut Desk<S, A>) {
        if desk.workers == MAX_WORKERS {
            return;
        }
        let Some(permit) = Permit::take(self.shared.threads) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let worker = thread::Builder::new()
            .name("mote-asks".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _permit = permit;
                give_up_files(None);
                shared.work();
            });
        // Without a thread nothing is asked, which the caller is told as "no answer".
        if worker.is_ok() {
            desk.workers += 1;
        }
    }
}

impl<S, A> Drop for Workers<S, A> {
    fn drop(&mut self) {
        self.shared.desk().closed = true;
        self.shared.work.notify_all();
    }
}

impl<S, A> Desk<S, A> {
    fn has_queued(&self) -> bool {
        let queued = |case: &Case<S, A>| matches!(case.state, State::Queued);
        self.cases.iter().any(queued)
    }

    fn has_open(&self) -> bool {
        let open = |case: &Case<S, A>| matches!(case.state, State::Queued | State::Asked);
        self.cases.iter().any(open)
    }
}

impl<S, A> Shared<S, A> {
    fn desk(&self) -> MutexGuard<'_, Desk<S, A>> {
        // Nothing that holds the lock can leave the desk half changed.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's life.
    fn work(&self) {
        let mut desk = self.desk();
        while !desk.closed {
            let queued = |case: &&mut Case<S, A>| matches!(case.state, State::Queued);
            if let Some(case) = desk.cases.iter_mut().find(queued) {
                case.state = State::Asked;
                let (id, subject) = (case.id, Arc::clone(&case.subject));
                drop(desk);
                let answer = (self.question)(&subject);
                desk = self.desk();
                match desk.cases.iter_mut().find(|case| case.id == id) {
                    Some(case) if matches!(case.state, State::Asked) => {
                        case.state = State::Answered(answer);
                    }
                    // Late: the answer is too old to be told, but the next one may be in time.
                    late => {
                        if let Some(case) = late {
                            case.state = State::Resting;
                        }
                        desk.stuck -= 1;
                    }
                }
                self.answered.notify_one();
            } else if desk.idle > 0 {
                // One that waits is enough: this one was started while others hung.
                break;
            } else {
                desk.idle += 1;
                desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
                desk.idle -= 1;
            }
        }
        desk.workers -= 1;
    }
}

/// One of the threads of all owners.
struct Permit(&'static AtomicUsize);

impl Permit {
    fn take(threads: &'static AtomicUsize) -> Option<Permit> {
        let one_more = |count| (count < MAX_THREADS).then_some(count + 1);
        let taken = threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Permit(threads))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
