//! One alarm over time: from good to pending, firing and good again, and what to make of one that goes to and fro.
//!
//! ```text
//!        bad            bad for as long as the rule says
//! good ───────► pending ───────────────────────────────► firing
//!  ▲  ◄─────────┘   not bad any more                        │
//!  └────────────────────────────────────────────────────────┘ good, which may be further than not bad
//! ```
//!
//! It has no clock: every call says what time it is, by a clock that nobody can set.

use std::collections::VecDeque;

/// What a look at the figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Beyond the limit.
    Bad,
    /// Not bad, and not good enough to end an alarm; or nobody knows.
    Between,
    /// Good.
    Good,
}

/// Where an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wrong.
    Good,
    /// It is bad, but not for long enough.
    Pending,
    /// It is bad.
    Firing,
}

/// What people should know, or know already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing is wrong.
    Nothing,
    /// It fires.
    Firing,
    /// It comes and goes; each change is not worth a word.
    Flapping,
}

/// More firings than this within [`FLAP_WINDOW_MS`] are flapping.
pub const MAX_FIRINGS: usize = 3;

/// See [`MAX_FIRINGS`], in milliseconds.
pub const FLAP_WINDOW_MS: i64 = 3_600_000;

/// What did not change for so long does not flap any more, in milliseconds.
pub const SETTLED_MS: i64 = 1_800_000;

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    phase: Phase,
    /// When it came into this phase.
    since_ms: i64,
    /// When it fired lately, oldest first.
    firings: VecDeque<i64>,
    is_flapping: bool,
}

impl Machine {
    /// One of which nothing was wrong so far.
    pub fn new(now_ms: i64) -> Machine {
        Machine::restored(Phase::Good, now_ms, [], false)
    }

    /// One that was in `phase` since then, and fired at these times before.
    pub fn restored(
        phase: Phase,
        since_ms: i64,
        firings: impl IntoIterator<Item = i64>,
        is_flapping: bool,
    ) -> Machine {
        Machine {
            phase,
            since_ms,
            firings: firings.into_iter().collect(),
            is_flapping,
        }
    }

    /// Takes a look at the figure. It fires once it was bad for `hold_ms`.
    pub fn look(&mut self, verdict: Judgement, hold_ms: i64, now_ms: i64) {
        if self.phase == Phase::Good && verdict == Judgement::Bad {
            self.enter(Phase::Pending, now_ms);
        }
        match (self.phase, verdict) {
            (Phase::Pending, Judgement::Bad) if now_ms - self.since_ms >= hold_ms => {
                self.enter(Phase::Firing, now_ms);
                self.firings.push_back(now_ms);
            }
            (Phase::Pending, Judgement::Between | Judgement::Good)
            | (Phase::Firing, Judgement::Good) => {
                self.enter(Phase::Good, now_ms);
            }
            _ => {}
        }
        self.pass(now_ms);
    }

    /// Lets time pass without a look.
    pub fn pass(&mut self, now_ms: i64) {
        let is_old = |at: &i64| now_ms - at >= FLAP_WINDOW_MS;
        while self.firings.front().is_some_and(is_old) {
            self.firings.pop_front();
        }
        let is_settled = self.phase != Phase::Pending && now_ms - self.since_ms >= SETTLED_MS;
        self.is_flapping = match self.firings.len() > MAX_FIRINGS {
            true => !is_settled,
            false => self.is_flapping && !is_settled,
        };
    }

    fn enter(&mut self, phase: Phase, now_ms: i64) {
        (self.phase, self.since_ms) = (phase, now_ms);
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What people should know.
    pub fn wants(&self) -> Told {
        match (self.is_flapping, self.phase) {
            (true, _) => Told::Flapping,
            (false, Phase::Firing) => Told::Firing,
            (false, _) => Told::Nothing,
        }
    }

    /// Since when.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Whether there is nothing to remember of it.
    pub fn is_forgettable(&self) -> bool {
        self.phase == Phase::Good && self.firings.is_empty() && !self.is_flapping
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Judgement::{Bad, Between, Good};
    use super::*;

    const MIN: i64 = 60_000;

    /// The phases after each look, at (minute, verdict).
    fn phases(hold_min: i64, looks: &[(i64, Judgement)]) -> Vec<Phase> {
        let mut machine = Machine::new(0);
        let look = |(minute, verdict): &(i64, Judgement)| {
            machine.look(*verdict, hold_min * MIN, minute * MIN);
            machine.phase()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn it_fires_once_it_was_bad_for_long_enough_without_a_break() {
        use Phase::{Firing, Good as Fine, Pending};
        assert_eq!(phases(0, &[(0, Bad), (1, Good)]), [Firing, Fine]);
        let broken = [
            (0, Bad),
            (4, Bad),
            (5, Between),
            (6, Bad),
            (10, Bad),
            (11, Bad),
        ];
        assert_eq!(
            phases(5, &broken),
            [Pending, Pending, Fine, Pending, Pending, Firing]
        );
        // It takes more than not bad to end it.
        let ends = [(0, Bad), (1, Between), (2, Between), (3, Good)];
        assert_eq!(phases(0, &ends), [Firing, Firing, Firing, Fine]);
    }

    #[test]
    fn what_comes_and_goes_is_flapping_until_it_settles() {
        let mut machine = Machine::new(0);
        let mut wants = Vec::new();
        for minute in 0..10 {
            machine.look([Bad, Good][minute as usize % 2], 0, minute * MIN);
            wants.push(machine.wants());
        }
        use Told::{Firing, Flapping, Nothing};
        let to_and_fro = [Firing, Nothing, Firing, Nothing, Firing, Nothing];
        assert_eq!(wants[..6], to_and_fro);
        assert_eq!(wants[6..], [Flapping; 4]);
        // The last change was in minute 9.
        machine.pass(39 * MIN - 1);
        assert_eq!(machine.wants(), Flapping);
        machine.pass(39 * MIN);
        assert_eq!(machine.wants(), Nothing);
        assert!(!machine.is_forgettable());
        machine.pass(68 * MIN);
        assert!(machine.is_forgettable());
    }

    fn verdicts() -> impl Strategy<Value = Vec<(i64, Judgement)>> {
        let verdict = prop_oneof![Just(Bad), Just(Between), Just(Good)];
        prop::collection::vec((0..40 * MIN, verdict), 0..200)
    }

    proptest! {
        /// Counted anew from the list of looks, by another road.
        #[test]
        fn it_fires_exactly_when_the_looks_say_so(looks in verdicts(), hold in 0..30 * MIN) {
            let mut machine = Machine::new(0);
            let (mut now, mut bad_since, mut fires) = (0, None, false);
            for (pause, verdict) in looks {
                now += pause;
                bad_since = if verdict == Bad { bad_since.or(Some(now)) } else { None };
                fires = match fires {
                    true => verdict != Good,
                    false => bad_since.is_some_and(|since| now - since >= hold),
                };
                machine.look(verdict, hold, now);
                prop_assert_eq!(machine.phase() == Phase::Firing, fires);
            }
        }

        /// However it comes and goes, people hear of a firing three times an hour, and then of flapping.
        #[test]
        fn people_hear_little_of_what_comes_and_goes(looks in verdicts()) {
            let mut machine = Machine::new(0);
            let (mut now, mut told, mut firings) = (0, Told::Nothing, Vec::new());
            for (pause, verdict) in looks {
                now += pause;
                machine.look(verdict, 0, now);
                let wants = machine.wants();
                if wants != told && wants == Told::Firing {
                    firings.push(now);
                }
                told = wants;
                let lately = firings.iter().filter(|at| now - **at < FLAP_WINDOW_MS);
                prop_assert!(lately.count() <= MAX_FIRINGS + 1, "{:?}", firings);
            }
        }

        /// A clock that is shifted as a whole changes nothing: only differences count.
        #[test]
        fn only_differences_of_time_count(looks in verdicts(), shift in -1_000_000_000_000_i64..1_000_000_000_000) {
            let (mut one, mut other) = (Machine::new(0), Machine::new(shift));
            let mut now = 0;
            for (pause, verdict) in looks {
                now += pause;
                one.look(verdict, 10 * MIN, now);
                other.look(verdict, 10 * MIN, now + shift);
                prop_assert_eq!(one.phase(), other.phase());
                prop_assert_eq!(one.wants(), other.wants());
            }
        }
    }
}
