//! Asks questions that may never be answered, such as the size of a file system whose server is
//! gone, without ever waiting longer than a given time.
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

/// No more threads than this exist for all owners of the process, those of owners that are gone among them.
pub const MAX_THREADS: usize = 32;

static THREADS: AtomicUsize = AtomicUsize::new(0);

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
    /// The threads of the process.
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
    /// No subjects yet, no thread yet.
    pub fn new(question: fn(&S) -> A) -> Self {
        Workers::counted(question, &THREADS)
    }

    fn counted(question: fn(&S) -> A, threads: &'static AtomicUsize) -> Self {
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
            .name("mote-statfs".to_owned())
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

/// One of the threads of the process.
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
mod tests {
    use super::*;

    /// Far longer than an answer takes, even on a busy machine.
    const AMPLE: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// A file server: while it is down, whoever asks it hangs.
    #[derive(Default)]
    struct Server {
        down: Mutex<bool>,
        changed: Condvar,
    }

    impl Server {
        fn set_down(&self, down: bool) {
            *self.down.lock().unwrap() = down;
            self.changed.notify_all();
        }
    }

    #[derive(Clone)]
    struct Subject {
        number: u32,
        server: Arc<Server>,
    }

    impl PartialEq for Subject {
        fn eq(&self, other: &Self) -> bool {
            self.number == other.number
        }
    }

    fn question(subject: &Subject) -> u32 {
        let server = &subject.server;
        let down = server.down.lock().unwrap();
        drop(server.changed.wait_while(down, |down| *down).unwrap());
        subject.number * 10
    }

    struct Fixture {
        up: Arc<Server>,
        down: Arc<Server>,
        workers: Workers<Subject, u32>,
    }

    impl Fixture {
        /// The subjects of `down` are on a server that is down, those of `up` on one that works.
        fn new(down: std::ops::Range<u32>, up: std::ops::Range<u32>) -> Self {
            let mut fixture = Fixture {
                up: Arc::default(),
                down: Arc::default(),
                workers: Workers::new(question),
            };
            fixture.down.set_down(true);
            let subjects = fixture.subjects(down, up);
            fixture.workers.set_subjects(subjects);
            fixture
        }

        fn subjects(&self, down: std::ops::Range<u32>, up: std::ops::Range<u32>) -> Vec<Subject> {
            let on = |server: &Arc<Server>, number| Subject {
                number,
                server: Arc::clone(server),
            };
            let down = down.map(|number| on(&self.down, number));
            down.chain(up.map(|number| on(&self.up, number))).collect()
        }

        fn ask(&mut self, budget: Duration) -> Vec<(u32, Option<u32>)> {
            let mut answers = Vec::new();
            let each = |subject: &Subject, answer| answers.push((subject.number, answer));
            self.workers.ask(budget, each);
            answers
        }

        /// Waits until the desk is as wanted: the workers need a moment to come back.
        fn wait_until(&self, wanted: impl Fn(&Desk<Subject, u32>) -> bool) {
            while !wanted(&self.workers.shared.desk()) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            self.down.set_down(false);
        }
    }

    #[test]
    fn who_answers_in_time_is_told_in_order_by_one_thread() {
        let mut fixture = Fixture::new(0..0, 1..4);
        for _ in 0..3 {
            let answers = fixture.ask(AMPLE);
            assert_eq!(answers, [(1, Some(10)), (2, Some(20)), (3, Some(30))]);
        }
        fixture.wait_until(|desk| desk.workers == 1 && desk.idle == 1);
    }

    #[test]
    fn without_subjects_there_is_no_thread() {
        let mut fixture = Fixture::new(0..0, 0..0);
        assert_eq!(fixture.ask(AMPLE), []);
        assert_eq!(fixture.workers.shared.desk().workers, 0);
    }

    #[test]
    fn one_that_hangs_does_not_keep_the_others_from_being_asked() {
        let mut fixture = Fixture::new(1..3, 3..5);
        let expected = [(1, None), (2, None), (3, Some(30)), (4, Some(40))];
        assert_eq!(fixture.ask(Duration::from_secs(2)), expected);
        // From now on nobody waits for the first two: with this budget that would take minutes.
        assert_eq!(fixture.ask(AMPLE), expected);
        assert_eq!(fixture.workers.shared.desk().stuck, 2);
    }

    #[test]
    fn a_late_answer_ends_the_quarantine_and_is_not_told() {
        let mut fixture = Fixture::new(1..2, 0..0);
        assert_eq!(fixture.ask(SHORT), [(1, None)]);
        assert_eq!(fixture.ask(AMPLE), [(1, None)]);
        fixture.down.set_down(false);
        fixture.wait_until(|desk| desk.stuck == 0 && desk.idle == 1);
        assert!(matches!(
            fixture.workers.shared.desk().cases[0].state,
            State::Resting
        ));
        assert_eq!(fixture.ask(AMPLE), [(1, Some(10))]);
    }

    #[test]
    fn owners_that_come_and_go_leave_no_more_than_so_many_threads_behind() {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let down = Arc::new(Server::default());
        down.set_down(true);
        let subjects = || {
            (0..MAX_WORKERS as u32).map(|number| Subject {
                number,
                server: Arc::clone(&down),
            })
        };
        let mut told = 0;
        let mut owners = 0;
        // A busy machine may not start all of an owner's threads in its time.
        while owners < 2 * MAX_THREADS / MAX_WORKERS
            || THREADS.load(Ordering::Relaxed) < MAX_THREADS
        {
            owners += 1;
            let mut workers = Workers::counted(question, &THREADS);
            workers.set_subjects(subjects());
            workers.ask(Duration::from_millis(200), |_, answer| {
                assert_eq!(answer, None);
                told += 1;
            });
            assert!(THREADS.load(Ordering::Relaxed) <= MAX_THREADS);
        }
        assert_eq!(told, owners * MAX_WORKERS);
        // They end once they are not held up, and then others may begin.
        down.set_down(false);
        while THREADS.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let mut workers = Workers::counted(question, &THREADS);
        workers.set_subjects(subjects());
        let mut answers = vec![];
        workers.ask(AMPLE, |_, answer| answers.push(answer));
        assert_eq!(answers, [Some(0), Some(10), Some(20), Some(30)]);
    }

    #[test]
    fn no_more_than_four_are_ever_stuck() {
        let mut fixture = Fixture::new(1..10, 10..11);
        let answers = fixture.ask(Duration::from_secs(2));
        assert!(answers.iter().all(|(_, answer)| answer.is_none()));
        let stuck = |fixture: &Fixture| {
            let desk = fixture.workers.shared.desk();
            (desk.workers, desk.stuck)
        };
        assert_eq!(stuck(&fixture), (MAX_WORKERS, MAX_WORKERS));
        // Even the healthy one is not asked, and nobody waits for it.
        assert_eq!(fixture.ask(AMPLE), answers);
        assert_eq!(stuck(&fixture), (MAX_WORKERS, MAX_WORKERS));

        fixture.down.set_down(false);
        fixture.wait_until(|desk| desk.workers == 1 && desk.idle == 1);
        let answers = fixture.ask(AMPLE);
        assert!(
            answers
                .iter()
                .all(|(number, answer)| *answer == Some(number * 10))
        );
    }

    #[test]
    fn new_subjects_keep_the_quarantine_of_old_ones() {
        let mut fixture = Fixture::new(1..3, 3..4);
        fixture.ask(Duration::from_secs(2));
        // 1 is gone and its worker is still stuck; 2 stays; 4 is new.
        let subjects = fixture.subjects(2..3, 3..5);
        fixture.workers.set_subjects(subjects);
        assert_eq!(
            fixture.ask(AMPLE),
            [(2, None), (3, Some(30)), (4, Some(40))]
        );
        assert_eq!(fixture.workers.shared.desk().stuck, 2);
        fixture.down.set_down(false);
        fixture.wait_until(|desk| desk.stuck == 0);
        assert_eq!(fixture.ask(AMPLE)[0], (2, Some(20)));
    }

    #[test]
    fn the_threads_end_with_their_owner() {
        let mut fixture = Fixture::new(1..2, 2..4);
        fixture.ask(Duration::from_secs(2));
        let shared = Arc::clone(&fixture.workers.shared);
        drop(fixture);
        while shared.desk().workers > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
