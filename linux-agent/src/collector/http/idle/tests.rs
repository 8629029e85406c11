use super::*;

fn told(visit: &Visit) -> Option<Closing> {
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
    head.hears(1);
    let (_busy, upload) = (body.begin(), body.upload(Body::empty()));
    body.awaits_body(None, Instant::now());
    assert!(close_one(&idle));
    assert_eq!(told(&next), Some(Closing::WhenDone));
    assert!(!close_one(&idle), "they may go on");
    let late = || idle.close_one_at(Instant::now() + STALL);
    assert!(late());
    assert_eq!(
        (told(&head), is_told(&body)),
        (Some(Closing::AtOnce), false)
    );
    // Nobody wants the rest any more.
    drop(upload);
    assert!(!late());
    body.awaits_body(None, Instant::now());
    assert!(late());
    assert_eq!(told(&body), Some(Closing::AtOnce));
}

/// In which second one that sends so many bytes in each gives way.
fn gives_way(is_body: bool, bytes: usize) -> Option<u64> {
    let (idle, begin) = (Idle::default(), Instant::now());
    let visit = idle.visit();
    let _busy = is_body.then(|| visit.begin());
    let send = |now| {
        visit.hears_at(bytes, now);
        visit.awaits_body(Some(bytes), now);
        visit.awaits_body(None, now);
    };
    send(begin);
    (1..=20).find(|second| {
        let now = begin + Duration::from_secs(*second);
        send(now);
        idle.close_one_at(now)
    })
}

#[test]
fn one_that_drips_closes_as_one_that_stalls_does_and_a_slow_one_does_not() {
    for is_body in [false, true] {
        assert_eq!(gives_way(is_body, 1), Some(6));
        assert_eq!(gives_way(is_body, MIN_PACE as usize / 2), Some(10));
        assert_eq!(gives_way(is_body, MIN_PACE as usize), None);
    }
}

#[test]
fn a_time_in_which_nobody_asks_for_more_costs_nothing() {
    let (idle, begin) = (Idle::default(), Instant::now());
    let visit = idle.visit();
    let _busy = visit.begin();
    visit.awaits_body(None, begin);
    visit.awaits_body(Some(1), begin);
    let later = begin + 10 * STALL;
    visit.awaits_body(None, later);
    // It is asked again without a byte more.
    visit.awaits_body(None, later + STALL / 2);
    assert!(!idle.close_one_at(later + STALL - Duration::from_secs(1)));
    assert!(idle.close_one_at(later + STALL));
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
