//! Bodies that come packed: in gzip (RFC 1952) or zstd (RFC 8878), each in one piece and with nothing behind it.

use std::io::Read;

use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::FrameDecoderError;

use super::refusal::Refusal;

/// What is unpacked from zstd may look back so far, in bytes: RFC 8878 asks for that much, and packers keep to it unless
/// they are told otherwise. It is held while one body is unpacked, and nothing else runs meanwhile.
pub const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// How a body is packed.
#[derive(Clone, Copy)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// That of a `Content-Encoding`.
    pub fn of(name: &[u8]) -> Option<Coding> {
        let codings = [(&b"gzip"[..], Coding::Gzip), (b"zstd", Coding::Zstd)];
        let mut codings = codings.into_iter();
        codings
            .find(|(it, _)| name.eq_ignore_ascii_case(it))
            .map(|(_, coding)| coding)
    }

    fn broken(self) -> Refusal {
        Refusal::bad(match self {
            Coding::Gzip => "the body is not one whole gzip, as its Content-Encoding says",
            Coding::Zstd => "the body is not one whole frame of zstd, as its Content-Encoding says",
        })
    }
}

/// Unpacks a body piece by piece, for as long as `take` takes them.
pub fn unpack(
    coding: Coding,
    packed: &[u8],
    take: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let rest = match coding {
        Coding::Gzip => {
            let mut gzip = GzDecoder::new(packed);
            copy(coding, &mut gzip, take)?;
            gzip.into_inner()
        }
        Coding::Zstd => {
            let zstd = StreamingDecoder::new_with_max_window_size(packed, MAX_WINDOW_BYTES);
            let mut zstd = zstd.map_err(|cause| match cause {
                FrameDecoderError::WindowSizeTooBig { .. } => Refusal::bad(format!(
                    "the zstd of the body looks back further than {} MiB; pack it with a lower level",
                    MAX_WINDOW_BYTES >> 20
                )),
                _ => coding.broken(),
            })?;
            copy(coding, &mut zstd, take)?;
            let (rest, frame) = zstd.into_parts();
            let sum = frame.get_checksum_from_data();
            if sum.is_some_and(|it| frame.get_calculated_checksum() != Some(it)) {
                return Err(coding.broken());
            }
            rest
        }
    };
    match rest {
        [] => Ok(()),
        _ => Err(coding.broken()),
    }
}

fn copy(
    coding: Coding,
    from: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut piece = [0; 8 << 10];
    loop {
        let count = from.read(&mut piece).map_err(|_| coding.broken())?;
        if count == 0 {
            return Ok(());
        }
        take(piece.get(..count).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `reports ` and a line's end, a hundred times, packed by `zstd --check`.
    const PACKED: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0x85, 0x00, 0x00, 0x48, 0x72, 0x65, 0x70, 0x6f, 0x72,
        0x74, 0x73, 0x20, 0x0a, 0x01, 0x00, 0x78, 0x59, 0x95, 0x23, 0x6d, 0xae, 0x6d, 0x8b,
    ];

    fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let done = unpack(Coding::Zstd, packed, |piece| {
            all.extend_from_slice(piece);
            match all.len() > 1 << 20 {
                true => Err(Refusal::bad("too large")),
                false => Ok(()),
            }
        });
        done.ok().map(|()| all)
    }

    #[test]
    fn what_another_program_packed_comes_out() {
        assert_eq!(unpacked(PACKED).unwrap(), b"reports \n".repeat(100));
    }

    #[test]
    fn a_window_that_is_too_large_is_refused_before_it_is_made() {
        // No single segment, no checksum; 2^(10 + 14) bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 0x01, 0x00, 0x00];
        let told = unpack(Coding::Zstd, &frame, |_| Ok(()))
            .unwrap_err()
            .sentence;
        assert!(told.contains("further than 8 MiB"), "{told}");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_flipped_bit_shows(at in 0..PACKED.len() * 8, cut in 0..PACKED.len()) {
            let mut broken = PACKED.to_vec();
            broken[at / 8] ^= 1 << (at % 8);
            // Of the header a bit may say nothing of what is in it, such as a larger window.
            let whole = b"reports \n".repeat(100);
            prop_assert!(unpacked(&broken).is_none_or(|it| it == whole));
            prop_assert!(unpacked(&PACKED[..cut]).is_none());
        }

        #[test]
        fn anything_behind_the_magic_is_unpacked_or_refused(rest in proptest::collection::vec(any::<u8>(), 0..400)) {
            unpacked(&[&[0x28, 0xb5, 0x2f, 0xfd], &rest[..]].concat());
        }
    }
}
