//! JSON read piece by piece.
//!
//! This reader is the crate's own: serde-json-core, which writes, was measured for reading too and falls short. It
//! has no limit of depth, so that `[[[…` overflows the stack; its errors do not name the faulty service; it gives
//! no number as the text that it is, and numbers with decimals cost a board 20 KB of floating point; it takes `[,1
//! 2]` for a list and refuses `"\ud83d\ude00"`. The core that reads services documents had 12 712 bytes of flash
//! with it, on a Cortex-M0+, and 10 436 with this.

use heapless::String;

/// How deep arrays and objects of a text may nest. What nests deeper is refused, so that a hostile text cannot
/// exhaust the stack.
pub const MAX_DEPTH: u8 = 8;

/// Why a text cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is not JSON, or not of the expected shape.
    Json,
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// A text of JSON and how far it was read.
///
/// ```
/// use mote_core::json::Reader;
///
/// let mut json = Reader::new(br#"{"more": [1, {}], "ack": 17}"#);
/// let mut ack = None;
/// json.open(b'{').unwrap();
/// while let Some(key) = json.next_key().unwrap() {
///     match key {
///         "ack" => ack = Some(json.scalar()),
///         _ => json.skip().unwrap(),
///     }
/// }
/// assert_eq!(ack, Some(&b"17"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'d> {
    rest: &'d [u8],
    depth: u8,
    /// The last thing read was an opening bracket.
    first: bool,
}

impl<'d> Reader<'d> {
    /// A reader at the beginning of a text.
    pub const fn new(text: &'d [u8]) -> Self {
        Reader {
            rest: text,
            depth: 0,
            first: false,
        }
    }

    /// Goes into an object (`{`) or an array (`[`).
    pub fn open(&mut self, bracket: u8) -> Result<(), Malformed> {
        self.take(bracket)?;
        if self.depth == MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// The key of the object's next member, still escaped. Read its value next. `None` at the object's end.
    pub fn next_key(&mut self) -> Result<Option<&'d str>, Malformed> {
        if !self.next(b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        self.take(b':')?;
        Ok(Some(key))
    }

    /// Whether the array has another element. If so, read it next.
    pub fn next_element(&mut self) -> Result<bool, Malformed> {
        self.next(b']')
    }

    /// A string, still escaped.
    pub fn string(&mut self) -> Result<&'d str, Malformed> {
        self.take(b'"')?;
        let mut escaped = false;
        let length = self.rest.iter().position(|byte| {
            let end = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            end
        });
        let text = length.and_then(|length| self.advance(length));
        self.advance(1);
        text.and_then(|text| core::str::from_utf8(text).ok())
            .ok_or(Malformed::Json)
    }

    /// The text of a number or word up to its end; empty if something else comes. The caller checks whether it is
    /// valid.
    pub fn scalar(&mut self) -> &'d [u8] {
        self.peek();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        self.advance(length).unwrap_or_default()
    }

    /// Skips a value. Numbers and words are not checked.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'{') => {
                self.open(b'{')?;
                while self.next_key()?.is_some() {
                    self.skip()?;
                }
            }
            Some(b'[') => {
                self.open(b'[')?;
                while self.next_element()? {
                    self.skip()?;
                }
            }
            Some(b'"') => {
                self.string()?;
            }
            _ => {
                if self.scalar().is_empty() {
                    return Err(Malformed::Json);
                }
            }
        }
        Ok(())
    }

    /// Fails if anything follows.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(_) => Err(Malformed::Json),
            None => Ok(()),
        }
    }

    /// The next byte that is no white space.
    pub fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(Malformed::Json);
        }
        self.advance(1);
        Ok(())
    }

    /// Moves to what is next between the brackets, or leaves them at `close`.
    fn next(&mut self, close: u8) -> Result<bool, Malformed> {
        let first = core::mem::take(&mut self.first);
        if self.peek() == Some(close) {
            self.advance(1);
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if !first {
            self.take(b',')?;
        }
        Ok(true)
    }

    fn advance(&mut self, length: usize) -> Option<&'d [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Resolves the escapes of a JSON string. `None` if it is longer than `L` bytes, or holds a control character or an
/// invalid escape.
pub fn unescape<const L: usize>(raw: &str) -> Option<String<L, u8>> {
    let mut text = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '/') => c,
                'u' => {
                    let unit = hex4(&mut chars)?;
                    match unit {
                        0xD800..=0xDBFF => {
                            let low = match (chars.next()?, chars.next()?) {
                                ('\\', 'u') => hex4(&mut chars)?,
                                _ => return None,
                            };
                            let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                            char::from_u32(0x10000 + ((unit - 0xD800) << 10) + low)?
                        }
                        _ => char::from_u32(unit)?,
                    }
                }
                _ => return None,
            },
            c => c,
        };
        if c.is_control() {
            return None;
        }
        text.push(c).ok()?;
    }
    Some(text)
}

fn hex4(chars: &mut core::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String as StdString, ToString};

    fn passes(text: &[u8]) -> Result<(), Malformed> {
        let mut json = Reader::new(text);
        json.skip()?;
        json.end()
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(|text: StdString| text.into()),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::btree_map(".*", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_passes(value in any_json()) {
            prop_assert_eq!(passes(value.to_string().as_bytes()), Ok(()));
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(passes(spaced.as_bytes()), Ok(()));
        }

        #[test]
        fn a_cut_text_does_not_pass(value in any_json(), cut in 0usize..100) {
            let text = value.to_string();
            if (text.starts_with(['{', '[', '"'])) && cut < text.len() {
                prop_assert_eq!(passes(&text.as_bytes()[..cut]), Err(Malformed::Json));
            }
        }

        #[test]
        fn strings_come_back(text in "[^\\p{Cc}]{0,20}") {
            let json = serde_json::to_string(&text).unwrap();
            let raw = Reader::new(json.as_bytes()).string().unwrap();
            prop_assert_eq!(unescape::<80>(raw).unwrap(), text.as_str());
        }

        #[test]
        fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = passes(&junk);
        }
    }

    #[test]
    fn structure_is_checked_where_nobody_looks() {
        for text in [
            "",
            "[",
            "]",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{1:1}",
            "[\"\u{1}",
            "\"\\\"",
            "[] []",
            "{\"a\":1:2}",
            "[:]",
        ] {
            assert_eq!(passes(text.as_bytes()), Err(Malformed::Json), "{text}");
        }
        assert_eq!(passes(b"\"\xFF\""), Err(Malformed::Json));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(passes(nested(8).as_bytes()), Ok(()));
        assert_eq!(passes(nested(9).as_bytes()), Err(Malformed::TooDeep));
        // It counts what is open, not what was.
        let beside = std::format!("[{},{}]", nested(7), nested(7));
        assert_eq!(passes(beside.as_bytes()), Ok(()));
        assert_eq!(
            passes("[".repeat(1_000_000).as_bytes()),
            Err(Malformed::TooDeep)
        );
    }
}
