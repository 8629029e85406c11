use super::*;

const HOUR_S: u32 = 3600;

/// A host that has run for long.
fn at(seconds: u32) -> Uptime {
    Uptime::from_millis(1_000_000_000 + u64::from(seconds) * 1000)
}

fn sample(seq: u32, uptime_s: u32, age_s: u32) -> BoardSample {
    BoardSample {
        seq,
        uptime_s,
        after_ms: 0,
        age_s,
        run: None,
        digest: u64::from(seq) << 32 | u64::from(uptime_s),
    }
}

/// A board that was reset at 0 s and has reported up to number 19 at 100 s.
fn runs() -> BoardRuns {
    let mut runs = BoardRuns::default();
    for seq in 0..20 {
        let uptime_s = 5 + 5 * seq;
        let verdict = runs.report(sample(seq, uptime_s, 0), at(uptime_s));
        assert_eq!(verdict, Verdict::New);
    }
    runs
}

/// In seconds after the reset.
fn instant(runs: &BoardRuns, uptime_s: u32, now: Uptime) -> f64 {
    (runs.instant(uptime_s, 0, now) - 1_000_000_000) as f64 / 1000.0
}

#[test]
fn what_was_kept_has_the_time_of_its_sample_with_or_without_its_age() {
    for tells_age in [true, false] {
        let mut runs = runs();
        // The line was cut for an hour; then the first ones come again and the others for the first time.
        let now_s = 100 + HOUR_S;
        for seq in 15..52 {
            let uptime_s = 5 + 5 * seq;
            let age_s = if tells_age { now_s - uptime_s } else { 0 };
            let verdict = runs.report(sample(seq, uptime_s, age_s), at(now_s));
            let is_known = seq < 20;
            assert_eq!(verdict == Verdict::Duplicate, is_known, "{seq}");
            let error = instant(&runs, uptime_s, at(now_s)) - f64::from(uptime_s);
            // What passed of the board's time since it was heard last.
            let drift = f64::from(uptime_s.saturating_sub(100)) / 30.0;
            let allowed = if tells_age { 0.0 } else { drift + 0.001 };
            assert!((0.0..=allowed).contains(&error), "{seq}: {error}");
        }
        assert_eq!(runs.missing(), 0);
    }
}

#[test]
fn an_ask_tells_of_a_reset() {
    // It was heard 100 s ago, so it has been reset since if it has run for as long at most; a thirtieth of them,
    // and 2 s, are granted. A board that stood still meanwhile has run for longer.
    for (uptime_s, is_new) in [(200, false), (106, false), (105, true), (0, true)] {
        assert_eq!(runs().ask(uptime_s, at(200)), is_new, "{uptime_s}");
    }
    assert!(!BoardRuns::default().ask(0, at(0)));
    // Unless it lay unread; but less than was seen before is a reset.
    for (uptime_s, is_new) in [(104, true), (110, false), (96, true)] {
        let mut runs = runs();
        runs.may_have_lain(90_000);
        assert_eq!(runs.ask(uptime_s, at(200)), is_new, "{uptime_s}");
    }
    let mut runs = runs();
    assert!(runs.ask(1, at(200)));
    // It counts from 0.
    assert_eq!(runs.report(sample(3, 5, 0), at(204)), Verdict::New);
    assert_eq!(runs.missing(), 3);
    assert_eq!(runs.report(sample(0, 2, 3), at(204)), Verdict::New);
    assert_eq!(runs.missing(), 2);
    let error = instant(&runs, 5, at(204)) - 204.0;
    assert!((-1.0..=0.0).contains(&error), "{error}");
}

#[test]
fn what_comes_again_is_told_from_what_is_late_and_from_a_new_run() {
    use Verdict::{Duplicate, New, NewRun};
    let now = at(130);
    for (it, verdict) in [
        (sample(19, 100, 0), Duplicate),
        (sample(19, 100, 30), Duplicate),
        (sample(0, 5, 125), Duplicate),
        // Another sample of that number.
        (
            BoardSample {
                digest: 1,
                ..sample(0, 5, 0)
            },
            NewRun,
        ),
        (sample(0, 0, 0), NewRun),
        (sample(19, 105, 0), NewRun),
        (sample(20, 105, 0), New),
        (sample(25, 105, 25), New),
        // Later numbers are not earlier samples.
        (sample(20, 97, 0), NewRun),
        (sample(20, 98, 0), New),
        (sample(300, 20, 10), NewRun),
        (sample(300, 105, 5), New),
        (sample(300, 105, 25), New),
    ] {
        assert_eq!(runs().report(it, now), verdict, "{it:?}");
    }
    let run = |id| BoardSample {
        run: Some(id),
        ..sample(20, 105, 0)
    };
    let mut runs = runs();
    assert_eq!(runs.report(run(1), now), New);
    assert_eq!(runs.report(run(1), now), Duplicate);
    assert_eq!(runs.report(run(2), now), NewRun);
}

#[test]
fn gaps_are_filled_by_what_comes_late() {
    let mut runs = runs();
    assert_eq!(runs.report(sample(30, 155, 0), at(155)), Verdict::New);
    assert_eq!(runs.missing(), 10);
    assert_eq!(runs.report(sample(22, 115, 41), at(156)), Verdict::New);
    assert_eq!(
        runs.report(sample(22, 115, 42), at(157)),
        Verdict::Duplicate
    );
    // Without its age, by its place between the others.
    assert_eq!(runs.report(sample(25, 130, 0), at(157)), Verdict::New);
    assert_eq!(runs.missing(), 8);
    assert_eq!(
        runs.clone().report(sample(26, 3, 0), at(157)),
        Verdict::NewRun
    );
    // Farther back than is remembered, its age shows that it is of this run.
    assert_eq!(runs.report(sample(200, 1005, 0), at(1005)), Verdict::New);
    assert_eq!(runs.missing(), 8 + 169);
    assert_eq!(runs.report(sample(40, 205, 800), at(1005)), Verdict::New);
    assert_eq!(runs.missing(), 8 + 168);
    assert_eq!(runs.report(sample(41, 210, 0), at(1005)), Verdict::NewRun);
}

#[test]
fn what_was_sampled_before_the_agent_came_is_no_gap() {
    let mut runs = BoardRuns::default();
    assert_eq!(runs.report(sample(1000, 5000, 0), at(5000)), Verdict::New);
    assert_eq!(runs.report(sample(990, 4950, 50), at(5000)), Verdict::New);
    assert_eq!(
        runs.report(sample(990, 4950, 50), at(5000)),
        Verdict::Duplicate
    );
    assert_eq!(runs.missing(), 0);
    assert_eq!(runs.report(sample(1002, 5010, 0), at(5010)), Verdict::New);
    assert_eq!(runs.missing(), 1);
}

#[test]
fn the_ends_of_all_ranges_are_safe() {
    let ends = [0, 1, 63, 64, u32::MAX - 1, u32::MAX];
    let instants = [0, 1, 1_000_000_000, u64::MAX - 1, u64::MAX];
    for now in instants {
        let mut runs = BoardRuns::default();
        for seq in ends {
            for uptime_s in ends {
                for age_s in ends {
                    runs.report(sample(seq, uptime_s, age_s), Uptime::from_millis(now));
                    runs.ask(uptime_s, Uptime::from_millis(now));
                    runs.instant(uptime_s, 0, Uptime::from_millis(now));
                }
            }
        }
    }
}
