//! The counters of many named items, such as interfaces, in this reading and in the one before.

/// The longest name the kernel gives a block device, in bytes; an interface's has at most 15.
const MAX_NAME: usize = 32;

/// Counters by name, of two readings. Never allocates after [`Counters::new`].
pub struct Counters<C> {
    now: Vec<Entry<C>>,
    before: Vec<Entry<C>>,
    /// Index in `before` where the next item probably is.
    expected: usize,
    capacity: usize,
}

struct Entry<C> {
    name: Name,
    counters: C,
    /// Found in this reading already.
    taken: bool,
}

/// Filled up with zeros, so that two names are compared in one go.
type Name = [u8; MAX_NAME];

impl<C: Copy> Counters<C> {
    /// Room for `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Counters {
            now: Vec::with_capacity(capacity),
            before: Vec::with_capacity(capacity),
            expected: 0,
            capacity,
        }
    }

    /// Starts a reading: the last one becomes the one before.
    pub fn start(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.expected = 0;
    }

    /// Undoes [`Counters::start`] after a reading that failed.
    pub fn undo(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.iter_mut().for_each(|entry| entry.taken = false);
    }

    /// Takes the counters of `name` in the reading before.
    ///
    /// The kernel keeps its order, so the place after the last find is tried first. An item that
    /// comes twice, because another one vanished while the kernel listed them page by page, is
    /// found once.
    pub fn before(&mut self, name: &[u8]) -> Option<C> {
        let name = padded(name)?;
        let places = (self.expected..self.before.len()).chain(0..self.expected);
        for place in places {
            let entry = self.before.get_mut(place)?;
            if entry.name == name {
                self.expected = place + 1;
                return (!std::mem::replace(&mut entry.taken, true)).then_some(entry.counters);
            }
        }
        None
    }

    /// The names of the last reading, in its order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.now.iter().map(|entry| {
            let end = entry.name.iter().position(|byte| *byte == 0);
            entry
                .name
                .get(..end.unwrap_or(MAX_NAME))
                .unwrap_or_default()
        })
    }

    /// Keeps the counters of `name` for the next reading; `false` if there is no room for them.
    #[must_use]
    pub fn keep(&mut self, name: &[u8], counters: C) -> bool {
        match padded(name) {
            Some(name) if self.now.len() < self.capacity => {
                self.now.push(Entry {
                    name,
                    counters,
                    taken: false,
                });
                true
            }
            _ => false,
        }
    }
}

fn padded(name: &[u8]) -> Option<Name> {
    let mut padded = [0; MAX_NAME];
    padded.get_mut(..name.len())?.copy_from_slice(name);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(counters: &mut Counters<u32>, items: &[(&str, u32)]) -> Vec<Option<u32>> {
        counters.start();
        let mut before = Vec::new();
        for (name, value) in items {
            before.push(counters.before(name.as_bytes()));
            assert!(counters.keep(name.as_bytes(), *value));
        }
        before
    }

    #[test]
    fn items_are_found_wherever_they_moved() {
        let mut counters = Counters::new(9);
        assert_eq!(
            read(&mut counters, &[("a", 1), ("b", 2), ("c", 3)]),
            [None; 3]
        );
        let before = read(&mut counters, &[("c", 4), ("x", 5), ("a", 6), ("a", 7)]);
        assert_eq!(before, [Some(3), None, Some(1), None]);
        let before = read(&mut counters, &[("x", 8), ("b", 9)]);
        assert_eq!(before, [Some(5), None], "b was away");
        assert_eq!(counters.names().collect::<Vec<_>>(), [b"x", b"b"]);
    }

    #[test]
    fn a_failed_reading_leaves_the_one_before() {
        let mut counters = Counters::new(9);
        read(&mut counters, &[("a", 1), ("b", 2)]);
        read(&mut counters, &[("a", 9)]);
        counters.undo();
        assert_eq!(
            read(&mut counters, &[("a", 3), ("b", 4)]),
            [Some(1), Some(2)]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut counters = Counters::new(1);
        assert!(!counters.keep(&[b'x'; MAX_NAME + 1], 0));
        assert!(counters.keep(&[b'x'; MAX_NAME], 0));
        assert!(!counters.keep(b"y", 0));
    }
}
