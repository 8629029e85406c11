//! A model of a board with a clock of its own, a ring of unsent reports, a line that is cut and loses
//! lines, and resets: what the gateway makes of its lines is compared with what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mote_agent::gateway::run::{BoardRuns, BoardSample, Verdict, WINDOW};
use mote_core::Uptime;
use proptest::prelude::*;

/// What a board keeps until it is acknowledged.
const RING: usize = 32;

#[derive(Clone, Debug)]
enum Step {
    /// So many samples at this distance; of a hundred lines each way as many are lost.
    Sample {
        count: u32,
        interval_ms: u64,
        lost: u32,
    },
    Cut,
    Join,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (
        1..80u32,
        200..20_000u64,
        prop_oneof![Just(0), Just(10), Just(60)],
    );
    let sample = sample.prop_map(|(count, interval_ms, lost)| Step::Sample {
        count,
        interval_ms,
        lost,
    });
    let step = prop_oneof![
        6 => sample,
        2 => Just(Step::Cut),
        3 => Just(Step::Join),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 1..20)
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    seq: u32,
    uptime_ms: u64,
    sampled_ms: u64,
    digest: u64,
}

struct Model {
    now_ms: u64,
    tells_age: bool,
    /// The board's clock runs this much faster, in parts of a thousand.
    gain: i64,
    random: u32,
    // The board.
    run: u32,
    reset_ms: u64,
    seq: u32,
    ring: VecDeque<Kept>,
    joined: bool,
    asked: bool,
    /// The uptime that the last reset ended.
    lost_ms: u64,
    // The gateway, and what it is to have.
    runs: BoardRuns,
    id: u32,
    run_of_id: BTreeMap<u32, u32>,
    /// Of each run, what arrived and from which number on it should.
    arrived: BTreeMap<u32, (u32, BTreeSet<u32>)>,
    /// When a line came last as soon as it was sent.
    heard_ms: u64,
}

impl Model {
    fn new(tells_age: bool, gain: i64, random: u32) -> Self {
        Model {
            now_ms: 5_000_000_000,
            tells_age,
            gain,
            random,
            run: 0,
            reset_ms: 5_000_000_000,
            seq: 0,
            ring: VecDeque::new(),
            joined: true,
            asked: false,
            lost_ms: u64::MAX,
            runs: BoardRuns::default(),
            id: 0,
            run_of_id: BTreeMap::new(),
            arrived: BTreeMap::new(),
            heard_ms: 5_000_000_000,
        }
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random >> 16) % 100 < of_hundred
    }

    fn uptime_ms(&self) -> u64 {
        let passed = i64::try_from(self.now_ms - self.reset_ms).unwrap();
        u64::try_from(passed + passed * self.gain / 1000).unwrap()
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            // Without its age, what was sampled before the first report that the agent knows of cannot be told
            // from a new run. So there is none.
            Step::Cut => self.joined = !self.tells_age && self.arrived.is_empty(),
            Step::Join => self.joined = true,
            Step::Reset => {
                self.lost_ms = self.uptime_ms();
                self.run += 1;
                self.reset_ms = self.now_ms;
                self.seq = 0;
                self.ring.clear();
                self.asked = false;
            }
            Step::Sample {
                count,
                interval_ms,
                lost,
            } => {
                for _ in 0..count {
                    self.now_ms += interval_ms;
                    self.sample(lost)?;
                }
            }
        }
        Ok(())
    }

    fn sample(&mut self, lost: u32) -> Result<(), TestCaseError> {
        let kept = Kept {
            seq: self.seq,
            uptime_ms: self.uptime_ms(),
            sampled_ms: self.now_ms,
            digest: u64::from(self.run) << 32 | u64::from(self.seq),
        };
        self.seq += 1;
        self.ring.push_back(kept);
        // Nothing comes later than the line's rules allow.
        let is_too_late = |it: &Kept| self.seq - it.seq > WINDOW;
        if self.ring.len() > RING || self.ring.front().is_some_and(is_too_late) {
            self.ring.pop_front();
        }
        if !self.joined {
            return Ok(());
        }
        if !self.asked {
            // At its start, and until it is answered.
            self.asked = true;
            // Two runs cannot be told apart that differ by less than clocks do.
            let unheard_ms = self.now_ms - self.heard_ms;
            if self.lost_ms < 4000 + unheard_ms / 25 {
                return Err(TestCaseError::reject("nobody can tell"));
            }
            let uptime_s = u32::try_from(self.uptime_ms() / 1000).unwrap();
            if self.runs.ask(uptime_s, Uptime::from_millis(self.now_ms)) {
                self.id += 1;
            }
            self.heard_ms = self.now_ms;
        }
        let may_be_lost = self.tells_age || !self.arrived.is_empty();
        if may_be_lost && self.chance(lost) {
            return Ok(());
        }
        let acknowledged = self.arrives(kept, lost)?;
        if acknowledged {
            // Whatever else waits is sent again, in order.
            for kept in self.ring.clone() {
                if kept.seq != self.seq - 1 && !self.chance(lost) {
                    self.arrives(kept, lost)?;
                }
            }
        }
        Ok(())
    }

    /// Gives whether the board gets the acknowledgement.
    fn arrives(&mut self, kept: Kept, lost: u32) -> Result<bool, TestCaseError> {
        let now = Uptime::from_millis(self.now_ms);
        let age_ms = self.uptime_ms() - kept.uptime_ms;
        let sample = BoardSample {
            seq: kept.seq,
            uptime_s: u32::try_from(kept.uptime_ms / 1000).unwrap(),
            // A board says it of some services only.
            after_ms: match kept.seq % 2 {
                0 => 0,
                _ => u16::try_from(kept.uptime_ms % 1000).unwrap(),
            },
            age_s: if self.tells_age {
                u32::try_from(age_ms / 1000).unwrap()
            } else {
                0
            },
            run: None,
            digest: kept.digest,
        };
        let verdict = self.runs.report(sample, now);
        if verdict == Verdict::NewRun {
            self.id += 1;
        }
        // What was sampled before the first line that the agent knows of, nobody knows.
        let first = if self.id == 0 { kept.seq } else { 0 };
        let (_, arrived) = self
            .arrived
            .entry(self.run)
            .or_insert((first, BTreeSet::new()));
        let is_new = arrived.insert(kept.seq);
        prop_assert_eq!(verdict != Verdict::Duplicate, is_new, "{:?}", kept);
        // Each run of the board has one id, and each id is of one run.
        let run = *self.run_of_id.entry(self.id).or_insert(self.run);
        prop_assert_eq!(run, self.run, "{:?} {:?}", verdict, kept);
        let ids = self.run_of_id.values().filter(|run| **run == self.run);
        prop_assert_eq!(ids.count(), 1);

        if age_ms == 0 {
            self.heard_ms = self.now_ms;
        }
        let instant = self.runs.instant(sample.uptime_s, sample.after_ms, now);
        let error_ms = instant - i64::try_from(kept.sampled_ms).unwrap();
        // Two whole numbers of seconds, and the drift since the last time that is certain.
        let drift_ms = i64::try_from(self.heard_ms.abs_diff(kept.sampled_ms)).unwrap() / 30;
        prop_assert!(
            (-1100 - drift_ms..=2100 + drift_ms).contains(&error_ms),
            "{} ms, drift {}: {:?}",
            error_ms,
            drift_ms,
            kept
        );

        let acknowledged = !self.chance(lost);
        if acknowledged {
            self.ring.retain(|it| it.seq != kept.seq);
        }
        Ok(acknowledged)
    }

    /// Reports that did not come, although a later one of their run did.
    fn missing(&self) -> u64 {
        let of_run = |(first, arrived): &(u32, BTreeSet<u32>)| {
            let last = arrived.last().copied().unwrap_or(0);
            let missing = (*first..=last).filter(|seq| !arrived.contains(seq));
            missing.count() as u64
        };
        self.arrived.values().map(of_run).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5000,
        failure_persistence: None,
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_report_is_taken_once_in_its_run_and_at_its_time(
        steps in steps(),
        tells_age: bool,
        gain in -8..=8i64,
        random: u32,
    ) {
        let mut model = Model::new(tells_age, gain, random);
        for step in &steps {
            model.step(step)?;
            prop_assert_eq!(model.runs.missing(), model.missing());
        }
    }
}
