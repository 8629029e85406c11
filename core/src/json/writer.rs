//! Values that know serde, as JSON bytes.

use core::fmt;

use serde::ser::{
    Error, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};

use crate::report::TooLarge;

/// Writes `value` into `buffer` and gives its length in bytes.
///
/// What has no value in JSON, a number that is not finite or an `Option` that is `None`, is written as `null`.
/// Bytes and enums with data are refused like what is too large, as JSON has no one way to write them.
pub fn to_slice<T: Serialize + ?Sized>(value: &T, buffer: &mut [u8]) -> Result<usize, TooLarge> {
    let mut writer = Writer::new(buffer);
    value.serialize(&mut writer)?;
    Ok(writer.written())
}

/// Fills a buffer.
pub struct Writer<'b> {
    size: usize,
    room: &'b mut [u8],
}

impl<'b> Writer<'b> {
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Writer {
            size: buffer.len(),
            room: buffer,
        }
    }

    /// Bytes.
    pub fn written(&self) -> usize {
        self.size - self.room.len()
    }

    /// Begins an object.
    pub fn object(&mut self) -> Result<Items<'_, 'b>, TooLarge> {
        Items::begin(self, b"{", b"}")
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let room = core::mem::take(&mut self.room);
        let (place, room) = room.split_at_mut_checked(bytes.len()).ok_or(TooLarge)?;
        place.copy_from_slice(bytes);
        self.room = room;
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), TooLarge> {
        self.bytes(b"\"")?;
        self.escaped(text)?;
        self.bytes(b"\"")
    }

    #[inline(never)]
    fn escaped(&mut self, text: &str) -> Result<(), TooLarge> {
        let mut rest = text.as_bytes();
        loop {
            let plain = rest.iter().take_while(|byte| !is_escaped(**byte)).count();
            let (run, after) = rest.split_at_checked(plain).unwrap_or_default();
            self.bytes(run)?;
            let Some((byte, after)) = after.split_first() else {
                return Ok(());
            };
            self.escape(*byte)?;
            rest = after;
        }
    }

    fn escape(&mut self, byte: u8) -> Result<(), TooLarge> {
        let letter = match byte {
            0x08 => b'b',
            0x09 => b't',
            0x0A => b'n',
            0x0C => b'f',
            0x0D => b'r',
            0..=0x1F => {
                self.bytes(b"\\u00")?;
                return self.bytes(&[b'0' + (byte >> 4), hex_digit(byte & 0xF)]);
            }
            _ => byte,
        };
        self.bytes(&[b'\\', letter])
    }

    #[inline(never)]
    fn unsigned(&mut self, value: u32) -> Result<(), TooLarge> {
        self.digits(value, 1)
    }

    /// At least so many digits, with zeros before them.
    fn digits(&mut self, value: u32, least: usize) -> Result<(), TooLarge> {
        let mut digits = [b'0'; 10];
        let mut rest = value;
        let mut unused = digits.len();
        for digit in digits.iter_mut().rev() {
            if rest == 0 && 10 - unused >= least {
                break;
            }
            *digit += (rest % 10) as u8;
            rest /= 10;
            unused -= 1;
        }
        self.bytes(digits.get(unused..).unwrap_or_default())
    }

    fn wide(&mut self, value: u64) -> Result<(), TooLarge> {
        const PART: u64 = 1_000_000_000;
        let (high, low) = (value / PART, (value % PART) as u32);
        if high == 0 {
            return self.unsigned(low);
        }
        self.wide(high)?;
        self.digits(low, 9)
    }

    fn minus(&mut self, negative: bool) -> Result<(), TooLarge> {
        if negative { self.bytes(b"-") } else { Ok(()) }
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'A' + nibble - 10,
    }
}

impl Error for TooLarge {
    fn custom<T: fmt::Display>(_: T) -> Self {
        TooLarge
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.escaped(text).map_err(|_| fmt::Error)
    }
}

impl<'w, 'b> Serializer for &'w mut Writer<'b> {
    type Ok = ();
    type Error = TooLarge;
    type SerializeSeq = Items<'w, 'b>;
    type SerializeTuple = Items<'w, 'b>;
    type SerializeTupleStruct = Items<'w, 'b>;
    type SerializeTupleVariant = Impossible<(), TooLarge>;
    type SerializeMap = Items<'w, 'b>;
    type SerializeStruct = Items<'w, 'b>;
    type SerializeStructVariant = Impossible<(), TooLarge>;

    fn serialize_bool(self, value: bool) -> Result<(), TooLarge> {
        self.bytes(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), TooLarge> {
        self.serialize_i32(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), TooLarge> {
        self.serialize_i32(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), TooLarge> {
        self.minus(value < 0)?;
        self.unsigned(value.unsigned_abs())
    }

    fn serialize_i64(self, value: i64) -> Result<(), TooLarge> {
        self.minus(value < 0)?;
        self.wide(value.unsigned_abs())
    }

    fn serialize_u8(self, value: u8) -> Result<(), TooLarge> {
        self.unsigned(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), TooLarge> {
        self.unsigned(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), TooLarge> {
        self.unsigned(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), TooLarge> {
        self.wide(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), TooLarge> {
        if !value.is_finite() {
            return self.serialize_none();
        }
        self.bytes(ryu::Buffer::new().format_finite(value).as_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result<(), TooLarge> {
        if !value.is_finite() {
            return self.serialize_none();
        }
        self.bytes(ryu::Buffer::new().format_finite(value).as_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), TooLarge> {
        self.string(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), TooLarge> {
        self.string(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), TooLarge> {
        Err(TooLarge)
    }

    fn serialize_none(self) -> Result<(), TooLarge> {
        self.bytes(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TooLarge> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), TooLarge> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), TooLarge> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), TooLarge> {
        self.string(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), TooLarge> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), TooLarge> {
        Err(TooLarge)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'w, 'b>, TooLarge> {
        Items::begin(self, b"[", b"]")
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'w, 'b>, TooLarge> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'w, 'b>, TooLarge> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, TooLarge> {
        Err(TooLarge)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'w, 'b>, TooLarge> {
        self.object()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'w, 'b>, TooLarge> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, TooLarge> {
        Err(TooLarge)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), TooLarge> {
        self.bytes(b"\"")?;
        fmt::write(self, format_args!("{value}")).map_err(|_| TooLarge)?;
        self.bytes(b"\"")
    }
}

/// What stands between brackets.
pub struct Items<'w, 'b> {
    writer: &'w mut Writer<'b>,
    close: &'static [u8; 1],
    first: bool,
}

impl<'w, 'b> Items<'w, 'b> {
    fn begin(
        writer: &'w mut Writer<'b>,
        open: &[u8; 1],
        close: &'static [u8; 1],
    ) -> Result<Self, TooLarge> {
        writer.bytes(open)?;
        Ok(Items {
            writer,
            close,
            first: true,
        })
    }

    fn next(&mut self) -> Result<&mut Writer<'b>, TooLarge> {
        if !core::mem::take(&mut self.first) {
            self.writer.bytes(b",")?;
        }
        Ok(self.writer)
    }

    #[inline(never)]
    fn key(&mut self, key: &str) -> Result<&mut Writer<'b>, TooLarge> {
        self.next()?.string(key)?;
        self.writer.bytes(b":")?;
        Ok(self.writer)
    }

    #[inline(never)]
    fn finish(self) -> Result<(), TooLarge> {
        self.writer.bytes(self.close)
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = TooLarge;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooLarge> {
        value.serialize(self.next()?)
    }

    fn end(self) -> Result<(), TooLarge> {
        self.finish()
    }
}

impl SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = TooLarge;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooLarge> {
        value.serialize(self.next()?)
    }

    fn end(self) -> Result<(), TooLarge> {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_, '_> {
    type Ok = ();
    type Error = TooLarge;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooLarge> {
        value.serialize(self.next()?)
    }

    fn end(self) -> Result<(), TooLarge> {
        self.finish()
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = TooLarge;

    /// The key has to be text.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TooLarge> {
        key.serialize(self.next()?)?;
        self.writer.bytes(b":")
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooLarge> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), TooLarge> {
        self.finish()
    }
}

impl SerializeStruct for Items<'_, '_> {
    type Ok = ();
    type Error = TooLarge;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), TooLarge> {
        value.serialize(self.key(key)?)
    }

    fn end(self) -> Result<(), TooLarge> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;
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
        char: char,
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
        /// What another's reader makes of it is what another's writer would have written.
        #[test]
        fn values_come_back(
            text in ".*",
            seed in any::<u64>(),
            float in any::<f64>(),
            map in proptest::collection::btree_map(".*", any::<Option<bool>>(), 0..4),
            char in any::<char>(),
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
                char,
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
        let value = (1, "two", [3.5]);
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
    }
}
