//! A set of numbers, most of which follow one another.

use std::ops::{Range, RangeInclusive};

/// Numbers as ranges that neither overlap nor touch, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The first number of each and the one after its last.
    ranges: Vec<Range<u64>>,
}

impl Ranges {
    /// Adds numbers. Returns how many were not in the set before.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let begin = self.ranges.partition_point(|it| it.end < range.start);
        let end = self.ranges.partition_point(|it| it.start <= range.end);
        let touched = self.ranges.get(begin..end).unwrap_or_default();
        let before: u64 = touched.iter().map(|it| it.end - it.start).sum();
        let start = touched
            .first()
            .map_or(range.start, |it| it.start.min(range.start));
        let last = touched.last().map_or(range.end, |it| it.end.max(range.end));
        self.ranges.splice(begin..end, std::iter::once(start..last));
        last - start - before
    }

    /// Removes numbers. Returns how many were in the set.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let begin = self.ranges.partition_point(|it| it.end <= range.start);
        let end = self.ranges.partition_point(|it| it.start < range.end);
        let touched = self.ranges.get(begin..end).unwrap_or_default();
        let before: u64 = touched.iter().map(|it| it.end - it.start).sum();
        let left = touched.first().map(|it| it.start..range.start);
        let right = touched.last().map(|it| range.end..it.end);
        let rest: Vec<_> = left
            .into_iter()
            .chain(right)
            .filter(|it| !it.is_empty())
            .collect();
        let after: u64 = rest.iter().map(|it| it.end - it.start).sum();
        self.ranges.splice(begin..end, rest);
        before - after
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let index = self.ranges.partition_point(|it| it.end <= number);
        self.ranges.get(index).is_some_and(|it| it.start <= number)
    }

    /// The part of the set that lies in `range`.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let begin = self.ranges.partition_point(|it| it.end <= range.start);
        let rest = self.ranges.get(begin..).unwrap_or_default().iter();
        rest.map(move |it| it.start.max(range.start)..it.end.min(range.end))
            .take_while(|it| !it.is_empty())
    }

    /// How many numbers of the set lie in `range`.
    pub fn count_within(&self, range: Range<u64>) -> u64 {
        self.within(range).map(|it| it.end - it.start).sum()
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|it| it.end - it.start).sum()
    }

    /// How many ranges they take.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Empties the set and keeps its memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The lowest number.
    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|it| it.start)
    }

    /// The number after the highest.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |it| it.end)
    }

    /// The ranges in their order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().cloned()
    }
}

/// A range by its first and last number.
pub fn inclusive(range: Range<u64>) -> RangeInclusive<u64> {
    range.start..=range.end.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_are_a_set(
            changes in prop::collection::vec((any::<bool>(), 0..60u64, 0..9u64), 1..40),
            probe in (0..70u64, 0..70u64),
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (adds, start, length) in changes {
                let range = start..start + length;
                let before = set.len();
                if adds {
                    let added = ranges.insert(range.clone());
                    set.extend(range);
                    prop_assert_eq!(added, (set.len() - before) as u64);
                } else {
                    let removed = ranges.remove(range.clone());
                    set.retain(|it| !range.contains(it));
                    prop_assert_eq!(removed, (before - set.len()) as u64);
                }
                let listed: Vec<u64> = ranges.iter().flatten().collect();
                prop_assert_eq!(listed, set.iter().copied().collect::<Vec<_>>());
                let gaps = ranges.ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
                prop_assert!(gaps, "{:?}", ranges);
                prop_assert_eq!(ranges.contains(start), set.contains(&start));
            }
            let probe = probe.0..probe.1;
            let expected = set.iter().filter(|it| probe.contains(it)).count() as u64;
            prop_assert_eq!(ranges.count_within(probe), expected);
            prop_assert_eq!(ranges.count(), set.len() as u64);
        }
    }
}
