//! JSON (RFC 8259) as mote writes and reads it: into a buffer, out of a buffer, without allocation.
//!
//! [`serde_json_core`] writes it, on boards and hosts alike. The reader is the crate's own; its first lines say why.

pub(crate) mod number;
mod reader;

use serde::Serialize;

pub use reader::{MAX_DEPTH, Malformed, Reader, unescape};

/// The buffer is too small for this report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report is larger than its buffer")]
pub struct TooLarge;

/// Writes `value` into `buffer` and returns its length in bytes. What `value` may be: see
/// [`crate::Envelope::encode`].
pub fn to_slice<T: Serialize + ?Sized>(value: &T, buffer: &mut [u8]) -> Result<usize, TooLarge> {
    serde_json_core::to_slice(value, buffer).map_err(|_| TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serializer;
    use std::collections::BTreeMap;
    use std::string::String;
    use std::vec::Vec;

    #[derive(Serialize)]
    struct Everything<'a> {
        text: &'a str,
        integers: (i8, i16, i32, i64, u8, u16, u32, u64),
        floats: (f32, f64),
        map: BTreeMap<String, Option<bool>>,
        list: &'a [Unit],
        unit: (),
    }

    #[derive(Serialize)]
    enum Unit {
        One,
    }

    fn written<T: Serialize>(value: &T) -> Vec<u8> {
        let mut buffer = std::vec![0; 10_000];
        let length = to_slice(value, &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    proptest! {
        /// serde_json reads the same values from our text as from its own.
        #[test]
        fn values_come_back(
            text in ".*",
            seed in any::<u64>(),
            float in any::<f64>(),
            map in proptest::collection::btree_map(".*", any::<Option<bool>>(), 0..4),
        ) {
            // Few and many digits alike.
            let seed = seed >> (seed % 64);
            let value = Everything {
                text: &text,
                integers: (
                    seed as i8, seed as i16, seed as i32, seed as i64,
                    seed as u8, seed as u16, seed as u32, seed,
                ),
                floats: (float as f32, float),
                map,
                list: &[Unit::One, Unit::One],
                unit: (),
            };
            let read: serde_json::Value = serde_json::from_slice(&written(&value)).unwrap();
            let expected = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<serde_json::Value>(&expected).unwrap());
        }
    }

    #[test]
    fn integers_at_their_ends() {
        let ends = (i64::MIN, i64::MAX, u64::MAX, i32::MIN, 0, 1_000_000_000u64);
        let text = "[-9223372036854775808,9223372036854775807,18446744073709551615,-2147483648,0,1000000000]";
        assert_eq!(written(&ends), text.as_bytes());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let value = (1, "two", [3.5], BTreeMap::from([("k", Unit::One)]));
        let length = written(&value).len();
        for size in 0..length {
            assert_eq!(to_slice(&value, &mut std::vec![0; size]), Err(TooLarge));
        }
        assert_eq!(to_slice(&value, &mut std::vec![0; length]), Ok(length));
    }

    #[test]
    fn what_is_displayed_is_escaped() {
        struct Quoted;
        impl Serialize for Quoted {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{:?}\u{1f}", "ü"))
            }
        }
        assert_eq!(written(&Quoted), "\"\\\"ü\\\"\\u001F\"".as_bytes());
        assert_eq!(to_slice(&Quoted, &mut [0; 10]), Err(TooLarge));
    }
}
