//! Data per item, such as per interface: `{"status":0,"data":{"eth0":{…},"lo":{…}},"omitted":2}`.

use mote_core::{Envelope, Status, TooLarge};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::sample::Encode;

/// No probe reports more items than this.
pub const MAX_ITEMS: usize = 512;

/// All names of one list together, in bytes: half of the largest report.
const NAME_BYTES: usize = super::sample::MAX_REPORT / 2;

/// A list of named items that never allocates after [`Items::new`]. What does not fit is counted.
///
/// It is the whole data of a report; `omitted` is left out while it is 0.
pub struct Items<T> {
    /// All names, back to back.
    names: String,
    /// Each item with the end of its name in `names`.
    items: Vec<(usize, T)>,
    max_items: usize,
    omitted: usize,
}

impl<T> Items<T> {
    /// An empty list for up to `max_items` items.
    pub fn new(max_items: usize) -> Self {
        Items {
            names: String::with_capacity(NAME_BYTES),
            items: Vec::with_capacity(max_items),
            max_items,
            omitted: 0,
        }
    }

    /// Forgets all items and what was omitted.
    pub fn clear(&mut self) {
        self.names.clear();
        self.items.clear();
        self.omitted = 0;
    }

    /// Appends an item, or counts it as omitted if it does not fit. Names must differ.
    ///
    /// Bytes of the name that are not UTF-8 become U+FFFD. Where that makes two names the same, the
    /// second item is omitted: a reader of JSON keeps only one of two equal keys.
    pub fn push(&mut self, name: &[u8], item: T) {
        let start = self.names.len();
        let mut exact = true;
        for chunk in name.utf8_chunks() {
            let replacement = if chunk.invalid().is_empty() {
                ""
            } else {
                exact = false;
                "\u{fffd}"
            };
            if self.names.len() + chunk.valid().len() + replacement.len() > NAME_BYTES {
                return self.give_up(start);
            }
            self.names.push_str(chunk.valid());
            self.names.push_str(replacement);
        }
        let taken = |name| self.iter().any(|(other, _)| other == name);
        if self.items.len() == self.max_items
            || !exact && self.names.get(start..).is_some_and(taken)
        {
            return self.give_up(start);
        }
        self.items.push((self.names.len(), item));
    }

    fn give_up(&mut self, start: usize) {
        self.names.truncate(start);
        self.omit(1);
    }

    /// Counts items that the caller could not take.
    pub fn omit(&mut self, count: usize) {
        self.omitted = self.omitted.saturating_add(count);
    }

    /// How many items did not fit.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Whether there is no item and none was omitted.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.omitted == 0
    }

    /// The items in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        let mut start = 0;
        self.items.iter().map(move |(end, item)| {
            let name = self.names.get(start..*end).unwrap_or_default();
            start = *end;
            (name, item)
        })
    }
}

/// If not all items fit, the last are omitted until they do.
impl<T: Serialize> Encode for &mut Items<T> {
    fn encode(self, envelope: &Envelope<'_>, buffer: &mut [u8]) -> Result<usize, TooLarge> {
        loop {
            match envelope.encode(&Whole(self), buffer) {
                Err(TooLarge) if !self.items.is_empty() => self.omit_an_eighth(),
                result => return result,
            }
        }
    }
}

impl<T> Items<T> {
    fn omit_an_eighth(&mut self) {
        let before = self.items.len();
        self.items.truncate(before - before.div_ceil(8));
        self.omit(before - self.items.len());
        self.names
            .truncate(self.items.last().map_or(0, |(end, _)| *end));
    }
}

/// The whole data of a report.
struct Whole<'a, T>(&'a Items<T>);

impl<T: Serialize> Serialize for Whole<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_struct("Items", 3)?;
        data.serialize_field("status", &Status::OK)?;
        data.serialize_field("data", &Map(self.0))?;
        if self.0.omitted > 0 {
            data.serialize_field("omitted", &self.0.omitted)?;
        }
        data.end()
    }
}

struct Map<'a, T>(&'a Items<T>);

impl<T: Serialize> Serialize for Map<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mote_core::{ClientId, Stamp};

    const ENVELOPE: Envelope<'static> = Envelope {
        client_id: ClientId::Number(1),
        service_name: "S",
        stamp: Stamp::Uptime {
            seconds: 0,
            millis: None,
            age: 0,
            boot: None,
        },
        seq: 0,
    };

    fn encoded(items: &mut Items<u32>, buffer: &mut [u8]) -> serde_json::Value {
        let length = items.encode(&ENVELOPE, buffer).unwrap();
        let mut report: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
        report["data"].take()
    }

    #[test]
    fn becomes_a_map_and_counts_what_does_not_fit() {
        let mut items = Items::new(2);
        items.push(b"eth0", 1);
        items.push(b"eth1", 2);
        let mut buffer = [0; 256];
        assert_eq!(
            encoded(&mut items, &mut buffer),
            serde_json::json!({"status": 0, "data": {"eth0": 1, "eth1": 2}})
        );
        items.push(b"eth2", 3);
        assert_eq!(encoded(&mut items, &mut buffer)["omitted"], 1);
    }

    #[test]
    fn odd_bytes_are_replaced_and_never_make_equal_keys() {
        let mut items = Items::new(9);
        items.push(b"a\xffb\"\n", 1);
        items.push(b"a\xfeb\"\n", 2);
        items.push(b"", 3);
        let names: Vec<_> = items.iter().map(|(name, item)| (name, *item)).collect();
        assert_eq!(names, [("a\u{fffd}b\"\n", 1), ("", 3)]);
        assert_eq!(items.omitted(), 1);
    }

    #[test]
    fn names_have_a_bound_together() {
        let mut items = Items::new(9);
        items.push(&[b'x'; NAME_BYTES - 1], 1);
        items.push(b"yz", 2);
        items.push(b"y", 3);
        assert_eq!(items.iter().map(|(_, item)| *item).sum::<u32>(), 4);
        assert_eq!(items.omitted(), 1);
    }

    #[test]
    fn a_small_buffer_takes_fewer_items() {
        let mut items = Items::new(100);
        for item in 0..100u32 {
            items.push(item.to_string().as_bytes(), item);
        }
        let data = encoded(&mut items, &mut [0; 600]);
        let kept = data["data"].as_object().unwrap().len();
        assert!((40..100).contains(&kept), "{kept} items kept");
        assert_eq!(data["omitted"], 100 - kept);
        assert_eq!(items.encode(&ENVELOPE, &mut [0; 20]), Err(TooLarge));
    }
}
