//! Threads that ask file systems which hang and answer.

use super::*;

/// Far longer than an answer takes, even on a busy machine.
const AMPLE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

static THREADS: AtomicUsize = AtomicUsize::new(0);

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
            workers: Workers::new(question, &THREADS),
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
    while owners < 2 * MAX_THREADS / MAX_WORKERS || THREADS.load(Ordering::Relaxed) < MAX_THREADS {
        owners += 1;
        let mut workers = Workers::new(question, &THREADS);
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
    let mut workers = Workers::new(question, &THREADS);
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
