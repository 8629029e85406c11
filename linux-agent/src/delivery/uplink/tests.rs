//! The uplink's rules one by one.

use std::time::Duration;

use super::*;
use crate::account::Dropped;

const SECOND: u64 = 1000;

fn at(ms: u64) -> Uptime {
    Uptime::from_millis(ms)
}

fn of(key: u64) -> Whose<'static> {
    Whose { key, name: "" }
}

fn uplink() -> Uplink {
    let mut uplink = Uplink::new(Queue::new(1 << 20, 3600 * SECOND), 7);
    uplink.set_rate(1.0);
    uplink
}

fn send(uplink: &mut Uplink, now: Uptime) -> Record {
    match uplink.next(now) {
        Next::Send(record) => record,
        Next::Wait(until) => panic!("nothing to send at {now:?} before {until:?}"),
    }
}

fn waits_until(uplink: &mut Uplink, now: Uptime) -> Uptime {
    match uplink.next(now) {
        Next::Wait(until) => until,
        Next::Send(record) => panic!("sends {record:?}"),
    }
}

fn balanced(uplink: &Uplink) -> Account {
    let account = uplink.account();
    let found = account.acknowledged + account.queued + account.dropped.total();
    assert_eq!(account.sampled, found, "{account:?}");
    account
}

#[test]
fn reports_of_one_tick_go_out_together() {
    let mut uplink = uplink();
    for report in [b"a", b"b", b"c"] {
        uplink.push(report, of(0), at(0));
    }
    for report in [b"a", b"b", b"c"] {
        let record = send(&mut uplink, at(0));
        assert_eq!(record.report, report);
        balanced(&uplink);
        uplink.delivered(record, Outcome::Acknowledged, at(0));
    }
    assert_eq!(waits_until(&mut uplink, at(0)), Uptime::NEVER);
    assert_eq!(balanced(&uplink).acknowledged, 3);
}

#[test]
fn an_unreachable_server_is_left_alone_longer_and_longer() {
    let mut uplink = uplink();
    uplink.push(b"a", of(0), at(0));
    let mut now = at(0);
    let mut delays = vec![];
    for _ in 0..12 {
        let record = send(&mut uplink, now);
        assert_eq!(record.report, b"a");
        uplink.delivered(record, Outcome::Unreachable, now);
        let until = waits_until(&mut uplink, now);
        delays.push(until.millis_since(now));
        now = until;
    }
    assert!(
        delays.iter().all(|delay| (625..=60_000).contains(delay)),
        "{delays:?}"
    );
    assert!(
        delays[8..].iter().any(|delay| *delay > 20_000),
        "{delays:?}"
    );
    assert_eq!(balanced(&uplink).queued, 1);
}

#[test]
fn the_backlog_is_sent_at_a_pace() {
    let mut uplink = uplink();
    let mut now = at(0);
    uplink.push(b"a", of(0), now);
    let record = send(&mut uplink, now);
    uplink.delivered(record, Outcome::Unreachable, now);
    for n in 0..100u8 {
        uplink.push(&[n], of(0), now);
    }
    now = waits_until(&mut uplink, now);
    for left in (0..101).rev() {
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Acknowledged, now);
        if left > 0 {
            let until = waits_until(&mut uplink, now);
            assert_eq!(until.millis_since(now), 625);
            now = until;
        }
    }
    // The backlog is gone, and with it the pace.
    uplink.push(b"x", of(0), now);
    uplink.push(b"y", of(0), now);
    for _ in 0..2 {
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Acknowledged, now);
    }
}

#[test]
fn a_backlog_keeps_the_pace_at_which_it_came() {
    let mut uplink = uplink();
    for n in 0..4u8 {
        uplink.push(&[n], of(0), at(0));
    }
    let record = send(&mut uplink, at(0));
    uplink.delivered(record, Outcome::Unreachable, at(0));
    // Nothing to monitor any more; then one report an hour.
    uplink.set_rate(0.0);
    uplink.set_rate(1.0 / 3600.0);
    let mut now = waits_until(&mut uplink, at(0));
    for _ in 0..3 {
        let record = send(&mut uplink, now);
        uplink.delivered(record, Outcome::Acknowledged, now);
        let until = waits_until(&mut uplink, now);
        assert_eq!(until.millis_since(now), 625);
        now = until;
    }
    let record = send(&mut uplink, now);
    uplink.delivered(record, Outcome::Acknowledged, now);

    // The next backlog comes at the new rate.
    uplink.push(b"x", of(0), now);
    uplink.push(b"y", of(0), now);
    let mut delays = vec![];
    for outcome in [Outcome::Unreachable, Outcome::Acknowledged] {
        let record = send(&mut uplink, now);
        uplink.delivered(record, outcome, now);
        let until = waits_until(&mut uplink, now);
        delays.push(until.millis_since(now));
        now = until;
    }
    assert_eq!(delays, [30_000, 300_000]);
}

#[test]
fn what_boards_report_counts_for_the_pace() {
    let mut uplink = uplink();
    uplink.set_rate(0.1);
    uplink.set_boards_rate(9.9);
    for n in 0..4u8 {
        uplink.push(&[n], of(0), at(0));
    }
    let record = send(&mut uplink, at(0));
    uplink.delivered(record, Outcome::Unreachable, at(0));
    let now = waits_until(&mut uplink, at(0));
    let record = send(&mut uplink, now);
    uplink.delivered(record, Outcome::Acknowledged, now);
    // Ten a second in all, and 1.6 times as fast.
    assert_eq!(waits_until(&mut uplink, now).millis_since(now), 62);
}

#[test]
fn a_poison_report_is_given_up_and_delays_nobody() {
    let mut uplink = uplink();
    uplink.push(b"poison", of(0), at(0));
    let mut failures = 0;
    for second in 0..200 {
        let now = at(second * SECOND);
        uplink.push(b"good", of(0), now);
        while let Next::Send(record) = uplink.next(now) {
            let poison = record.report == b"poison";
            failures += u32::from(poison);
            uplink.delivered(
                record,
                if poison {
                    Outcome::Failed
                } else {
                    Outcome::Acknowledged
                },
                now,
            );
        }
        assert!(uplink.account().queued <= 1, "{second}");
    }
    assert_eq!(failures, u32::from(ATTEMPTS));
    let account = balanced(&uplink);
    assert_eq!((account.acknowledged, account.dropped.gave_up), (200, 1));
}

/// Two services, sampled every so many seconds, and a server that fails on the second for an hour.
fn poison_service(good_s: u64, poison_s: u64) -> (Uplink, u64) {
    let (mut uplink, mut attempts) = (uplink(), 0);
    uplink.set_rate(1.0 / good_s as f64 + 1.0 / poison_s as f64);
    for ms in (0..3_600_000).step_by(100) {
        let now = at(ms);
        if ms % (good_s * SECOND) == 0 {
            uplink.push(b"good", of(0), now);
        }
        if ms % (poison_s * SECOND) == 0 {
            uplink.push(b"poison", of(1), now);
        }
        while let Next::Send(record) = uplink.next(now) {
            let outcome = match record.service {
                0 => Outcome::Acknowledged,
                _ => Outcome::Failed,
            };
            attempts += u64::from(record.service == 1);
            uplink.delivered(record, outcome, now);
        }
        let good = uplink.queue.records(now).filter(|(it, _)| it.service == 0);
        // The next one at a distance, at the latest.
        assert!(good.count() <= 1, "at {ms} ms");
        balanced(&uplink);
    }
    (uplink, attempts)
}

#[test]
fn a_poison_service_neither_delays_others_nor_fills_the_queue() {
    for (good_s, poison_s) in [(1, 1), (10, 1), (1, 10), (60, 5)] {
        let (uplink, attempts) = poison_service(good_s, poison_s);
        let account = uplink.account();
        let sampled = 3600 / poison_s;
        // Its first report takes half a minute and five reports of the other; then all of it goes at each.
        let waits = 5 * good_s.max(30) / poison_s + 5;
        assert!(account.queued <= waits, "{good_s} {poison_s}: {account:?}");
        assert_eq!(account.dropped.total(), account.dropped.gave_up);
        assert!(
            attempts <= 2 * sampled + 100,
            "{good_s} {poison_s}: {attempts}"
        );
    }
}

/// So many seconds with a report of two services in each; each call for the second lasts `took_ms` and ends so.
/// Gives the uplink and how often the second was tried.
fn fails_alone(uplink: &mut Uplink, seconds: u64, took_ms: u64, outcome: Outcome) -> u64 {
    uplink.set_rate(2.0);
    let (mut attempts, mut free_at) = (0, 0);
    for ms in (0..seconds * SECOND).step_by(100) {
        if ms % SECOND == 0 {
            uplink.push(b"good", of(0), at(ms));
            uplink.push(b"deadly", of(1), at(ms));
        }
        while ms >= free_at
            && let Next::Send(record) = uplink.next(at(ms))
        {
            if record.service == 0 {
                uplink.delivered(record, Outcome::Acknowledged, at(ms));
            } else {
                attempts += 1;
                free_at = ms + took_ms;
                uplink.delivered(record, outcome, at(free_at));
            }
        }
        balanced(uplink);
    }
    attempts
}

#[test]
fn calls_without_an_answer_for_one_service_leave_the_others_their_pace() {
    for took_ms in [0, 3000, 30_000] {
        let mut uplink = uplink();
        let attempts = fails_alone(&mut uplink, 900, took_ms, Outcome::Unanswered);
        let good = uplink
            .queue
            .records(at(0))
            .filter(|(it, _)| it.service == 0);
        // What came during the last call.
        assert!(good.count() as u64 <= 2 * took_ms / SECOND + 1, "{took_ms}");
        assert!((7..200).contains(&attempts), "{took_ms}: {attempts}");
    }
}

#[test]
fn the_way_to_the_server_gives_no_report_up_before_fifty_tries() {
    for outcome in [Outcome::Unanswered, Outcome::Busy { retry_after: None }] {
        let (mut uplink, mut tries) = (uplink(), 0);
        uplink.push(b"deadly", of(1), at(0));
        for ms in (0..2000 * SECOND).step_by(100) {
            if ms % SECOND == 0 {
                uplink.push(b"good", of(0), at(ms));
            }
            while let Next::Send(record) = uplink.next(at(ms)) {
                let is_good = record.service == 0;
                tries += u64::from(!is_good);
                let outcome = if is_good {
                    Outcome::Acknowledged
                } else {
                    outcome
                };
                let given_up = uplink.delivered(record, outcome, at(ms));
                assert!(!given_up || !is_good && tries >= 50, "{tries}");
            }
        }
        let account = balanced(&uplink);
        // Some of them at once, since it may be chance.
        assert!((50..=100).contains(&tries), "{tries}");
        assert_eq!(account.dropped.gave_up, 1);
        assert_eq!(uplink.take_dead().unwrap().report, b"deadly");
    }
}

#[test]
fn a_balancer_with_a_broken_server_behind_it_loses_nothing() {
    let mut uplink = uplink();
    uplink.set_rate(20.0);
    let mut dice = 1u32;
    for ms in (0..600 * SECOND).step_by(10) {
        if ms % 50 == 0 {
            uplink.push(b"report", of(ms / 50 % 20), at(ms));
        }
        while let Next::Send(record) = uplink.next(at(ms)) {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let outcome = match dice >> 31 {
                0 => Outcome::Acknowledged,
                _ => Outcome::Busy { retry_after: None },
            };
            uplink.delivered(record, outcome, at(ms));
        }
    }
    let account = balanced(&uplink);
    assert_eq!(account.dropped, Dropped::default());
    assert!(account.queued < 200, "{account:?}");
}

#[test]
fn a_balancer_that_takes_a_broken_server_each_second_time_holds_no_service_back() {
    for (services, interval_ms) in [(1, 1000), (2, 1000), (5, 5000), (20, 10_000)] {
        let mut uplink = uplink();
        uplink.set_rate(1000.0 * services as f64 / interval_ms as f64);
        let mut calls = 0;
        for ms in (0..600 * SECOND).step_by(10) {
            if ms % interval_ms == 0 {
                for service in 0..services {
                    uplink.push(b"report", of(service), at(ms));
                }
            }
            while let Next::Send(record) = uplink.next(at(ms)) {
                calls += 1;
                let outcome = match calls % 2 {
                    0 => Outcome::Busy { retry_after: None },
                    _ => Outcome::Acknowledged,
                };
                uplink.delivered(record, outcome, at(ms));
            }
        }
        let account = balanced(&uplink);
        assert_eq!(account.dropped, Dropped::default());
        assert!(account.queued <= services, "{services}: {account:?}");
    }
}

#[test]
fn a_report_that_may_be_at_fault_is_tried_as_often_as_is_set() {
    for attempts in [1, 2, 5, 100] {
        let (mut uplink, mut tries) = (uplink(), 0);
        uplink.set_attempts(attempts);
        for ms in (0..4000 * SECOND).step_by(100) {
            if ms == 10 * SECOND {
                uplink.push(b"poison", of(1), at(ms));
            }
            if ms % SECOND == 0 {
                uplink.push(b"good", of(0), at(ms));
            }
            while let Next::Send(record) = uplink.next(at(ms)) {
                let is_good = record.service == 0;
                tries += u64::from(!is_good);
                let outcome = if is_good {
                    Outcome::Acknowledged
                } else {
                    Outcome::Failed
                };
                uplink.delivered(record, outcome, at(ms));
            }
        }
        let account = balanced(&uplink);
        assert_eq!((tries, account.dropped.gave_up), (attempts.into(), 1));
    }
}

#[test]
fn a_refusal_that_may_hold_for_all_counts_only_while_others_are_taken() {
    for attempts in [1, 5] {
        let mut uplink = uplink();
        uplink.set_attempts(attempts);
        uplink.set_rate(6.0);
        // A server that was set up wrongly for some minutes, twice.
        for second in 0..3600 {
            for service in 0..6 {
                uplink.push(b"report", of(service), at(second * SECOND));
            }
            let is_wrong = (100..400).contains(&second) || (2000..2300).contains(&second);
            while let Next::Send(record) = uplink.next(at(second * SECOND)) {
                let outcome = match is_wrong {
                    true if attempts == 1 => Outcome::Failed,
                    true => Outcome::Doubtful,
                    false => Outcome::Acknowledged,
                };
                uplink.delivered(record, outcome, at(second * SECOND));
            }
        }
        assert_eq!(balanced(&uplink).dropped, Dropped::default());
    }
    let mut uplink = uplink();
    let attempts = fails_alone(&mut uplink, 600, 0, Outcome::Doubtful);
    let account = balanced(&uplink);
    assert!(account.queued <= 2, "{account:?}");
    // Twice at most, since it may be the server.
    assert!((600..=1200).contains(&attempts), "{attempts}");
    assert_eq!(account.dropped.refused, 600 - account.queued);
}

/// Five services a second each, and a server that answers so for a minute.
#[test]
fn after_an_outage_what_is_fresh_goes_first_and_the_backlog_oldest_first() {
    for outage in [
        Outcome::Unreachable,
        Outcome::Failed,
        Outcome::Doubtful,
        Outcome::Busy { retry_after: None },
        Outcome::Unanswered,
    ] {
        let mut uplink = uplink();
        uplink.set_rate(5.0);
        let mut first_success = None;
        let mut newest = [0; 5];
        let mut sent = Vec::new();
        for ms in (0..600 * SECOND).step_by(50) {
            if ms % SECOND == 0 {
                for service in 0..5 {
                    uplink.push(&ms.to_le_bytes(), of(service), at(ms + service));
                }
            }
            while let Next::Send(record) = uplink.next(at(ms + 10)) {
                let is_out = (10 * SECOND..70 * SECOND).contains(&ms);
                let outcome = if is_out {
                    outage
                } else {
                    Outcome::Acknowledged
                };
                if !is_out {
                    let sampled = u64::from_le_bytes(record.report.as_slice().try_into().unwrap());
                    let newest = &mut newest[record.service as usize];
                    if ms > 70 * SECOND {
                        first_success.get_or_insert(ms);
                        if sampled < *newest {
                            sent.push(sampled);
                        }
                    }
                    *newest = sampled.max(*newest);
                }
                uplink.delivered(record, outcome, at(ms + 10));
            }
            if first_success.is_some_and(|it| it + 2 * SECOND <= ms) {
                let oldest = newest.iter().min().unwrap();
                assert!(oldest + 2 * SECOND > ms, "{outage:?}: {newest:?} at {ms}");
            }
        }
        assert!(sent.is_sorted(), "{outage:?}: {sent:?}");
        assert!(sent.len() > 250, "{outage:?}: {}", sent.len());
        let account = balanced(&uplink);
        assert_eq!(account.dropped, Dropped::default(), "{outage:?}");
        assert_eq!(account.queued, 0, "{outage:?}");
    }
}

#[test]
fn an_only_service_without_an_answer_is_not_given_up() {
    let mut uplink = uplink();
    for ms in (0..600_000).step_by(100) {
        let now = at(ms);
        if ms % SECOND == 0 {
            uplink.push(b"report", of(0), now);
        }
        while let Next::Send(record) = uplink.next(now) {
            uplink.delivered(record, Outcome::Unanswered, now);
        }
    }
    assert_eq!(balanced(&uplink).queued, 600);
}

#[test]
fn a_service_that_works_again_is_taken_again() {
    let (mut uplink, _) = poison_service(1, 1);
    let before = uplink.account();
    for ms in (3_600_000..3_700_000).step_by(100) {
        let now = at(ms);
        if ms % SECOND == 0 {
            uplink.push(b"good", of(0), now);
            uplink.push(b"cured", of(1), now);
        }
        while let Next::Send(record) = uplink.next(now) {
            uplink.delivered(record, Outcome::Acknowledged, now);
        }
    }
    let account = balanced(&uplink);
    assert_eq!(account.dropped, before.dropped);
    assert_eq!(account.queued, 0);
    assert!(!uplink.failing.is_held(1));
}

#[test]
fn however_many_services_fail_so_many_are_remembered() {
    let mut uplink = uplink();
    for service in 0..2 * MAX_FAILING as u64 {
        let now = at(service * 700_000);
        uplink.push(b"report", of(service), now);
        let record = send(&mut uplink, now);
        assert_eq!(record.service, service);
        uplink.delivered(record, Outcome::Unanswered, now);
        let count = uplink.failing.len();
        assert_eq!(count, MAX_FAILING.min(service as usize + 1));
    }
    balanced(&uplink);
}

#[test]
fn a_server_that_is_busy_for_many_services_is_left_alone() {
    let mut uplink = uplink();
    uplink.set_rate(20.0);
    let mut attempts = 0;
    for second in 0..300 {
        let now = at(second * SECOND);
        for service in 0..20 {
            uplink.push(b"report", of(service), now);
        }
        while let Next::Send(record) = uplink.next(now) {
            attempts += 1;
            uplink.delivered(record, Outcome::Busy { retry_after: None }, now);
        }
    }
    // Some services, then one report at a time, after longer and longer delays.
    assert!((4 + 5..4 + 30).contains(&attempts), "{attempts}");
    assert_eq!(balanced(&uplink).dropped, Dropped::default());
}

#[test]
fn a_server_that_is_busy_for_all_loses_nothing() {
    let mut uplink = uplink();
    let mut attempts = 0;
    for second in 0..7200 {
        let now = at(second * SECOND);
        uplink.push(b"report", of(0), now);
        while let Next::Send(record) = uplink.next(now) {
            attempts += 1;
            uplink.delivered(record, Outcome::Busy { retry_after: None }, now);
        }
    }
    assert!((7200 / 60..7200 / 15).contains(&attempts), "{attempts}");
    let account = balanced(&uplink);
    assert_eq!((account.dropped.gave_up, account.dropped.refused), (0, 0));
}

#[test]
fn retry_after_is_honoured() {
    let mut uplink = uplink();
    uplink.push(b"a", of(0), at(0));
    uplink.push(b"b", of(0), at(0));
    let record = send(&mut uplink, at(0));
    let retry_after = Some(Duration::from_secs(120));
    uplink.delivered(record, Outcome::Busy { retry_after }, at(0));
    assert!(waits_until(&mut uplink, at(0)) >= at(120 * SECOND));
}

#[test]
fn another_server_does_not_inherit_the_delay_of_a_busy_one() {
    let mut uplink = uplink();
    for report in [b"a", b"b", b"c", b"d"] {
        uplink.push(report, of(0), at(0));
    }
    let fail = |uplink: &mut Uplink| {
        let record = send(uplink, at(0));
        uplink.delivered(record, Outcome::Busy { retry_after: None }, at(0));
    };
    fail(&mut uplink);
    fail(&mut uplink);
    assert!(waits_until(&mut uplink, at(0)) > at(0));
    uplink.retry_now(at(0));
    fail(&mut uplink);
    // One failure says nothing of the next report.
    send(&mut uplink, at(0));
}

#[test]
fn what_the_server_refuses_is_counted_and_gone() {
    let mut uplink = uplink();
    uplink.push(b"a", of(0), at(0));
    let record = send(&mut uplink, at(0));
    uplink.delivered(record, Outcome::Refused, at(0));
    let account = balanced(&uplink);
    assert_eq!((account.sampled, account.dropped.refused), (1, 1));
}

/// Of three services the server refuses one, fails on another, and takes the third.
#[test]
fn a_refused_service_does_not_gather_beside_one_that_fails() {
    let mut uplink = uplink();
    uplink.set_rate(6.0);
    for ms in (0..600 * SECOND).step_by(10) {
        if ms % 500 == 0 {
            for service in 0..3 {
                uplink.push(b"report", of(service), at(ms));
            }
        }
        while let Next::Send(record) = uplink.next(at(ms)) {
            let outcome = match record.service {
                0 => Outcome::Doubtful,
                1 => Outcome::Failed,
                _ => Outcome::Acknowledged,
            };
            uplink.delivered(record, outcome, at(ms));
        }
    }
    let account = balanced(&uplink);
    // Those that fail wait for the next try, half a minute at most; those that are refused do not.
    let waits = |service| {
        let records = uplink.queue().records(at(600 * SECOND));
        records.filter(|(it, _)| it.service == service).count()
    };
    assert!(waits(0) < 10, "{} {account:?}", waits(0));
}
